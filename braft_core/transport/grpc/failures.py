"""Errors of peer calls on the wire: a gRPC status for everybody, the whole error for braft.

The error travels as trailing metadata ``braft-error-bin``: msgpack of ``[code, message, data]``.
"""

from __future__ import annotations

from typing import Any

import grpc
import msgpack

from braft_core.errors import (
    AccessDenied,
    BraftError,
    Busy,
    DecodeError,
    NotApplied,
    OutcomeUnknown,
    Rejected,
    StorageFull,
    TooLarge,
    TransportError,
    Unreachable,
    from_wire,
    to_wire,
)

__all__ = [
    "ERROR_KEY",
    "MAX_ERROR_BYTES",
    "decode_error",
    "details_of",
    "encode_error",
    "status_of",
]

ERROR_KEY = "braft-error-bin"
#: gRPC peers accept 8 KiB of metadata by default; this leaves room for the rest.
MAX_ERROR_BYTES = 4096
_MAX_MESSAGE = 768
_MAX_DETAILS = 100

#: First match wins.
_STATUS: tuple[tuple[type[BraftError], grpc.StatusCode], ...] = (
    (Busy, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (TooLarge, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (NotApplied, grpc.StatusCode.UNAVAILABLE),
    (OutcomeUnknown, grpc.StatusCode.UNKNOWN),
    (Rejected, grpc.StatusCode.ABORTED),
    (DecodeError, grpc.StatusCode.INVALID_ARGUMENT),
    (StorageFull, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (Unreachable, grpc.StatusCode.DEADLINE_EXCEEDED),
    (AccessDenied, grpc.StatusCode.PERMISSION_DENIED),
    (TransportError, grpc.StatusCode.FAILED_PRECONDITION),
)


def status_of(error: BraftError) -> grpc.StatusCode:
    """The status a foreign client sees."""
    for kind, status in _STATUS:
        if isinstance(error, kind):
            return status
    return grpc.StatusCode.INTERNAL


def details_of(error: BraftError) -> str:
    """The status's text: the message, short, for it shares the metadata limit with the error."""
    return error.message[:_MAX_DETAILS].encode(errors="backslashreplace").decode()


def encode_error(error: BraftError) -> bytes:
    """Serialize an error in at most :data:`MAX_ERROR_BYTES`; too much data is left out."""
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
    """Rebuild an error; raises nothing: what cannot be read is reported as such."""
    try:
        code, message, data = msgpack.unpackb(packed)
        return from_wire(str(code), str(message), dict(data))
    except (ValueError, TypeError, msgpack.exceptions.UnpackException) as error:
        return DecodeError(f"the peer sent an unreadable error: {error}")
