"""How large what arrives may be, and how much of it there may be at a time.

The numbers are shared by all transports: a node is bounded in the same way, however it is reached.
"""

from __future__ import annotations

from typing import Final

from braft_core import peer

__all__ = ["MAX_CALL", "MAX_COMMANDS", "MAX_CONTROL", "call_limit", "has_more_fields"]

#: Bytes of a vote, a heartbeat's like and TimeoutNow: a header of ids and an address, some numbers.
MAX_CONTROL: Final = 64 << 10
#: Bytes of a peer call that carries no commands. The largest are configurations.
MAX_CALL: Final = 1 << 20
#: Commands, or outcomes, of one peer call. A node sends 1,024 at most.
MAX_COMMANDS: Final = 4096


def call_limit(request: type[peer.PeerRequest]) -> int | None:
    """Return the largest request of that type in bytes; ``None``: the transport's own limit."""
    return None if request is peer.ProposeRequest else MAX_CALL


def has_more_fields(data: bytes, most: int) -> bool:
    """Return whether a protobuf message has more than ``most`` fields, repeated ones counted each.

    Two bytes of a message can be an object of a hundred when it is parsed. This looks at no more of
    it than it has to; what is no message at all is for the parser to say.
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
    """Return the number at that place, and the place behind it. :raises IndexError: it is cut."""
    value = shift = 0
    while shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
    return value, at
