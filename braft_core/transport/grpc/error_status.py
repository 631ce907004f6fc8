"""Sends errors of peer calls: a gRPC status for every client, the whole error for braft nodes.

The error travels as trailing metadata ``braft-error-bin``, encoded as for every transport.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NoReturn

import grpc

from braft_core.errors import (
    AccessDenied,
    BraftError,
    Busy,
    DecodeError,
    NotApplied,
    OutcomeUnknown,
    ProtocolViolation,
    Rejected,
    StorageFull,
    TooLarge,
    TransportError,
    Unreachable,
)
from braft_core.transport.error_codec import encode_error

__all__ = ["ERROR_KEY", "details_of", "fail", "status_of"]

ERROR_KEY = "braft-error-bin"
_MAX_DETAILS = 100

#: First match wins.
_STATUS: tuple[tuple[type[BraftError] | tuple[type[BraftError], ...], grpc.StatusCode], ...] = (
    (Busy, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (TooLarge, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (NotApplied, grpc.StatusCode.UNAVAILABLE),
    (OutcomeUnknown, grpc.StatusCode.UNKNOWN),
    (Rejected, grpc.StatusCode.ABORTED),
    ((DecodeError, ProtocolViolation), grpc.StatusCode.INVALID_ARGUMENT),
    (StorageFull, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (Unreachable, grpc.StatusCode.DEADLINE_EXCEEDED),
    (AccessDenied, grpc.StatusCode.PERMISSION_DENIED),
    (TransportError, grpc.StatusCode.FAILED_PRECONDITION),
)


def status_of(error: BraftError) -> grpc.StatusCode:
    """Return the gRPC status of an error."""
    for kind, status in _STATUS:
        if isinstance(error, kind):
            return status
    return grpc.StatusCode.INTERNAL


def details_of(error: BraftError) -> str:
    """Return the status text: the message, short, since it shares the limit of metadata."""
    return error.message[:_MAX_DETAILS].encode(errors="backslashreplace").decode()


async def fail(
    context: Any,
    error: BraftError,
    status: grpc.StatusCode | None = None,
    further: Iterable[tuple[str, str]] = (),
) -> NoReturn:
    """End a call by ``error``. ``further``: more trailing metadata."""
    metadata = ((ERROR_KEY, encode_error(error)), *further)
    await context.abort(status or status_of(error), details_of(error), metadata)
    raise AssertionError("unreachable: abort raises")
