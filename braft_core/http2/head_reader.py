"""Reads the header blocks of one connection: what was read before costs a dictionary look-up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from braft_core.http2.calls import Method
from braft_core.http2.frames import COMPRESSION_ERROR, ConnectionFailed
from braft_core.http2.head import Head, read_head
from braft_core.http2.hpack import Decoder, Field, InvalidBlock

__all__ = ["HeadReader"]

#: Header blocks whose heads are kept, and the size of the largest of them.
_MAX_KNOWN: Final = 64
_MAX_KNOWN_BLOCK: Final = 512


class HeadReader:
    """Decodes blocks in their order.

    Args:
        methods: The gRPC methods by path.
        max_list_size: The largest header list, see :class:`~braft_core.http2.hpack.Decoder`.
    """

    def __init__(self, methods: Mapping[bytes, Method], max_list_size: int) -> None:
        #: Heads by their blocks, as long as equal blocks mean equal fields.
        self.known: Final[dict[bytes, Head]] = {}
        self._methods = methods
        self._decoder = Decoder(max_list_size=max_list_size)

    def read(self, block: bytes) -> Head | None:
        """Return the head of a block that is not known; None if its list is too large.

        Raises:
            ConnectionFailed: the block is malformed.
            StreamFailed: the request is.
        """
        version = self._decoder.version
        fields = self.decode(block)
        if fields is None:
            return None
        head = read_head(fields, self._methods)
        if version == self._decoder.version and len(block) <= _MAX_KNOWN_BLOCK:
            if len(self.known) >= _MAX_KNOWN:
                self.known.clear()
            self.known[block] = head
        return head

    def decode(self, block: bytes) -> list[Field] | None:
        """Return the fields of a block; None if they are too large.

        Raises:
            ConnectionFailed: the block is malformed.
        """
        version = self._decoder.version
        try:
            return self._decoder.decode(block)
        except InvalidBlock as error:
            raise ConnectionFailed(COMPRESSION_ERROR, str(error)) from None
        finally:
            if version != self._decoder.version:
                self.known.clear()
