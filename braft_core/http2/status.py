"""Status codes, messages and timeouts of gRPC over HTTP/2 (its protocol description)."""

from __future__ import annotations

import re
from enum import IntEnum
from typing import Final

__all__ = ["CallFailed", "Status", "encode_message", "parse_timeout"]


class Status(IntEnum):
    """The codes of ``grpc-status``."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class CallFailed(Exception):
    """The answer of a call is an error: a handler raises it.

    Args:
        status: The code; not ``OK``.
        message: What the caller reads.
    """

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


_UNSAFE: Final = re.compile(rb"[^ -$&-~]")
_TIMEOUT: Final = re.compile(rb"([0-9]{1,8})([HMSmun])")
_UNITS: Final = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}


def encode_message(message: str) -> bytes:
    """Return the value of ``grpc-message``: UTF-8, percent-encoded outside printable ASCII."""
    data = message.encode("utf-8", "replace")
    return _UNSAFE.sub(lambda found: b"%%%02X" % found[0][0], data)


def parse_timeout(value: bytes) -> float | None:
    """Return the seconds of a ``grpc-timeout``; None if it is malformed."""
    found = _TIMEOUT.fullmatch(value)
    return int(found[1]) * _UNITS[found[2]] if found else None
