"""FrameMac of frames, once both ends proved that they know the token. Pure.

Owns the numbers of frames: what is left out, repeated or sent back is noticed as what was changed.
"""

from __future__ import annotations

import struct

from braft_core.errors import DecodeError
from braft_core.proof import MAC_SIZE, Keys
from braft_tcp.frames import Kind

__all__ = ["MAC_SIZE", "FrameMac"]

#: Bytes of the seal at the beginning of a body.
MAC_SIZE = MAC_SIZE
_HEADER = struct.Struct("!QBQ")
#: What a server that refuses a proof sends without a seal, which it could not make.
_UNSEALED = frozenset({Kind.REFUSED, Kind.GOAWAY})


class FrameMac:
    """Both directions of one connection.

    :param client: whether this is the end that connected.
    """

    def __init__(self, keys: Keys, client: bool) -> None:
        self._client = client
        self._ours, self._theirs = (
            (keys.client, keys.server) if client else (keys.server, keys.client)
        )
        self._sent = self._received = 0

    def sign(self, kind: int, request_id: int, body: bytes) -> bytes:
        """Return the body of the next frame with its seal."""
        header = _HEADER.pack(self._sent, kind, request_id)
        self._sent += 1
        return self._ours.tag(header, body) + body

    def verify(self, kind: int, request_id: int, body: bytes) -> bytes:
        """Return the body that arrived, without its seal.

        :raises DecodeError: it was not sent like this.
        """
        if self._client and not self._received and kind in _UNSEALED:
            return body
        header = _HEADER.pack(self._received, kind, request_id)
        if not self._theirs.check(header, body[MAC_SIZE:], body[:MAC_SIZE]):
            raise DecodeError(f"frame {kind} has a wrong MAC")
        self._received += 1
        return body[MAC_SIZE:]
