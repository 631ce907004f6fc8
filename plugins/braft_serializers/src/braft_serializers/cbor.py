"""CBOR (RFC 8949): plain values in canonical form.

Equal values have equal bytes, whatever the order of their dict keys. Decoding accepts neither tags
(dates, bignums, shared references) nor simple values other than true, false and null.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Final

import cbor2

from braft_core.abc import Serializer
from braft_core.errors import DecodeError
from braft_core.serializers import MAX_DEPTH, check_plain

__all__ = ["CborSerializer"]


class CborSerializer(Serializer):
    """Plain values as canonical CBOR. Stateless and thread-safe.

    Floats have the shortest exact form; NaN and infinities are included. Decoding accepts forms
    that are not canonical, so that logs stay readable if the canonical form changes.
    """

    name: ClassVar[str] = "cbor"
    tag: ClassVar[int] = 2

    def dumps(self, value: Any) -> bytes:
        """Encode a value. :raises TypeError: it is not plain; names what is wrong."""
        check_plain(value)
        return cbor2.dumps(value, canonical=True)

    def loads(self, data: bytes) -> Any:
        """Decode exactly one value. :raises DecodeError: the data is anything else."""
        try:
            value = _decode(data)
            check_plain(value)
        except Exception as error:  # the library raises many types
            detail = str(error) or type(error).__name__
            raise DecodeError(
                f"not a CBOR value ({len(data)} bytes): {detail}", size=len(data)
            ) from error
        return value


def _decode(data: bytes) -> Any:
    decoder = cbor2.CBORDecoder(
        io.BytesIO(data),
        semantic_decoders=_NO_TAGS,
        max_depth=MAX_DEPTH,
        allow_duplicate_keys=False,
    )
    value = decoder.decode()
    try:
        decoder.read(1)
    except cbor2.CBORDecodeEOF:
        return value
    raise ValueError("more bytes follow after the value")


def _refuse_tag(value: object, immutable: bool) -> object:
    raise ValueError("a tag, which no plain value has")


class _NoTags(Mapping[int, Callable[[Any, bool], Any]]):
    """Refuses every tag number, so that no built-in decoder creates an object."""

    def __getitem__(self, tag: int) -> Callable[[Any, bool], Any]:
        return _refuse_tag

    def __iter__(self) -> Iterator[int]:
        return iter(())

    def __len__(self) -> int:
        return 0


_NO_TAGS: Final = _NoTags()
