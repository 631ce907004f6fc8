"""The head of a request over HTTP/2: its rules (RFC 9113, section 8), and what gRPC reads in it."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from braft_core.http2.calls import Metadata, Method
from braft_core.http2.frames import PROTOCOL_ERROR, StreamFailed
from braft_core.http2.hpack import Field
from braft_core.http2.status import Status, parse_timeout

__all__ = ["Head", "check_trailers", "read_head"]

_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_VALUE: Final = re.compile(rb"[^\x00\r\n]*")
_LENGTH: Final = re.compile(rb"[0-9]{1,18}")
_PSEUDO: Final = frozenset((b":method", b":scheme", b":path", b":authority"))
#: Fields that speak of one HTTP/1.1 connection (section 8.2.2).
_CONNECTION: Final = frozenset(
    (b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade")
)
#: A timeout that is as good as none, in seconds: three years.
_NO_TIMEOUT: Final = 1e8


@dataclass(frozen=True, slots=True)
class Head:
    """A request's head. Connections share it between calls whose heads are equal."""

    #: The handler of a gRPC call; None for other requests and for refused calls.
    method: Method | None
    metadata: Metadata
    #: Seconds for which the caller waits.
    timeout: float | None
    #: Why a gRPC call is refused, before its handler.
    refusal: tuple[Status, str] | None
    #: Method and target of a request that is not gRPC's.
    request: tuple[str, str] | None
    content_length: int | None


def _regular(name: bytes, value: bytes) -> None:
    if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
        raise StreamFailed(PROTOCOL_ERROR, f"malformed header field {name!r}")
    if name in _CONNECTION or (name == b"te" and value != b"trailers"):
        raise StreamFailed(PROTOCOL_ERROR, f"header field {name!r} is not HTTP/2's")


def check_trailers(fields: Iterable[Field]) -> None:
    """Check the fields that end a request.

    Raises:
        StreamFailed: they are malformed.
    """
    for name, value in fields:
        _regular(name, value)


def _split(fields: Iterable[Field]) -> tuple[dict[bytes, bytes], list[Field]]:
    """Return the pseudo-header fields, and the regular ones that follow."""
    pseudo: dict[bytes, bytes] = {}
    regular: list[Field] = []
    for name, value in fields:
        if name[:1] != b":":
            _regular(name, value)
            regular.append((name, value))
        elif regular or name in pseudo or name not in _PSEUDO or not _VALUE.fullmatch(value):
            raise StreamFailed(PROTOCOL_ERROR, f"misplaced or unknown header field {name!r}")
        else:
            pseudo[name] = value
    for name in (b":method", b":scheme", b":path"):
        if not pseudo.get(name):
            raise StreamFailed(PROTOCOL_ERROR, f"{name.decode()} is missing or empty")
    return pseudo, regular


def _content_length(regular: Iterable[Field]) -> int | None:
    values = {value for name, value in regular if name == b"content-length"}
    if not values:
        return None
    if len(values) > 1 or not _LENGTH.fullmatch(value := values.pop()):
        raise StreamFailed(PROTOCOL_ERROR, "malformed content-length")
    return int(value)


def _is_grpc(content_type: bytes) -> bool:
    prefix = b"application/grpc"
    return content_type.startswith(prefix) and content_type[len(prefix) :][:1] in b"+;"


def _decode_binary(value: bytes) -> bytes:
    try:
        return base64.b64decode(value + b"=" * (-len(value) % 4), validate=True)
    except binascii.Error:
        raise ValueError("not base64") from None


def _metadata(regular: Iterable[Field]) -> Metadata:
    """Return what a handler sees; raise ValueError for malformed binary values."""
    found: list[Field] = []
    for name, value in regular:
        if name.startswith(b"grpc-") or name in (b"te", b"content-type"):
            continue
        if name.endswith(b"-bin"):
            found += ((name, _decode_binary(part.strip())) for part in value.split(b","))
        else:
            found.append((name, value))
    return tuple(found)


def read_head(fields: Iterable[Field], methods: Mapping[bytes, Method]) -> Head:
    """Return the head that decoded fields make.

    Raises:
        StreamFailed: the request is malformed.
    """
    pseudo, regular = _split(fields)
    length = _content_length(regular)
    values = dict(reversed(regular))
    method, path = pseudo[b":method"], pseudo[b":path"]
    if not _is_grpc(values.get(b"content-type", b"")):
        if authority := pseudo.get(b":authority"):
            regular = [(b"host", authority), *(pair for pair in regular if pair[0] != b"host")]
        request = (method.decode("latin-1"), path.decode("latin-1"))
        return Head(None, tuple(regular), None, None, request, length)

    def refused(status: Status, message: str) -> Head:
        return Head(None, (), None, (status, message), None, length)

    if method != b"POST":
        return refused(Status.INTERNAL, f"the HTTP method is {method!r}, not POST")
    handler = methods.get(path)
    if handler is None:
        return refused(Status.UNIMPLEMENTED, f"unknown method {path.decode('latin-1')}")
    timeout = None
    if (given := values.get(b"grpc-timeout")) is not None:
        timeout = parse_timeout(given)
        if timeout is None:
            return refused(Status.INTERNAL, f"malformed grpc-timeout {given!r}")
        if timeout > _NO_TIMEOUT:
            timeout = None
    try:
        metadata = _metadata(regular)
    except ValueError:
        return refused(Status.INTERNAL, "malformed base64 in binary metadata")
    return Head(handler, metadata, timeout, None, None, length)
