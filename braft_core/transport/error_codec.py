"""Encodes errors of peer calls: msgpack of ``[code, message, data]``, of limited size.

Each transport decides where it puts the bytes.
"""

from __future__ import annotations

from typing import Any

import msgpack

from braft_core.errors import BraftError, DecodeError, from_wire, to_wire
from braft_core.escaping import printable, printable_values

__all__ = ["MAX_ERROR_BYTES", "decode_error", "encode_error"]

#: gRPC peers accept 8 KiB of metadata by default; this leaves room for the rest.
MAX_ERROR_BYTES = 4096
_MAX_MESSAGE = 768
#: Largest error that is read from a peer.
_MAX_READ = 4 * MAX_ERROR_BYTES


def encode_error(error: BraftError) -> bytes:
    """Serialize an error in at most :data:`MAX_ERROR_BYTES`; drop its data if it is too large."""
    code, message, data = to_wire(error)
    packed = _pack(code, message, data)
    if len(packed) > MAX_ERROR_BYTES:
        packed = _pack(code, message[:_MAX_MESSAGE], {})
    return packed


def _pack(code: str, message: str, data: dict[str, Any]) -> bytes:
    packed: bytes = msgpack.packb(
        [code, message, data], default=str, unicode_errors="backslashreplace"
    )
    return packed


def decode_error(packed: bytes) -> BraftError:
    """Rebuild an error with printable texts; unreadable bytes become a ``DecodeError``."""
    if len(packed) > _MAX_READ:
        return DecodeError(
            f"the peer sent an error of {len(packed)} bytes; at most {_MAX_READ} are accepted"
        )
    try:
        code, message, data = msgpack.unpackb(packed)
        return from_wire(str(code), printable(str(message)), printable_values(dict(data)))
    except (ValueError, TypeError, msgpack.exceptions.UnpackException) as error:
        return DecodeError(f"the peer sent an unreadable error: {error}")
