"""Limits on the size and number of things that peers send.

All transports share them.
"""

from __future__ import annotations

from typing import Final

from braft_core import peer

__all__ = ["MAX_CALL", "MAX_COMMANDS", "MAX_CONTROL", "call_limit", "has_more_fields"]

#: Bytes of a vote, a heartbeat or TimeoutNow: a header with ids and an address, some numbers.
MAX_CONTROL: Final = 64 << 10
#: Bytes of a peer call that carries no commands. The largest are configurations.
MAX_CALL: Final = 1 << 20
#: Commands, or outcomes, of one peer call. A node sends 1,024 at most.
MAX_COMMANDS: Final = 4096


def call_limit(request: type[peer.PeerRequest]) -> int | None:
    """Return the size limit of that type of request, in bytes; ``None``: the transport's own."""
    return None if request is peer.ProposeRequest else MAX_CALL


def has_more_fields(data: bytes, most: int) -> bool:
    """Return whether a protobuf message has more than ``most`` fields, repeated ones counted each.

    Two bytes of a message can become an object of a hundred bytes. This reads no more than it has
    to, and leaves malformed messages to the parser.
    """
    at = number = 0
    try:
        while at < len(data):
            number += 1
            if number > most:
                return True
            tag, at = _varint(data, at)
            kind = tag & 7
            if kind == _VARINT:
                _, at = _varint(data, at)
            elif kind == _BYTES:
                length, at = _varint(data, at)
                at += length
            elif kind in _FIXED:
                at += _FIXED[kind]
            else:
                return False
    except IndexError:
        pass
    return False


_VARINT, _BYTES = 0, 2
#: Kind of field → its length.
_FIXED: Final = {1: 8, 5: 4}


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the varint at ``at``, and the position after it. :raises IndexError: it is cut off."""
    value = shift = 0
    while shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
    return value, at
