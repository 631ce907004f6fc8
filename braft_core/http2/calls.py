"""What handlers see: calls, methods, and HTTP requests. They know no server.

A handler of gRPC takes and returns serialized messages. Its shape is that of ``grpc.aio``, so that
grpcio can serve it too:

- unary: ``handler(request, call) -> bytes``, or an awaitable of it;
- server streaming: ``handler(request, call) -> AsyncIterator[bytes]``;
- client streaming: ``handler(requests, call) -> Awaitable[bytes]``;
- both: ``handler(requests, call) -> AsyncIterator[bytes]``,

where ``requests`` is an ``AsyncIterator[bytes]``. Handlers run on the loop of the server and must
not block it. A unary handler that can answer at once should return bytes, which costs no task. A
handler raises :class:`~braft_core.http2.status.CallFailed` to answer with an error. When the
caller cancels, its deadline passes or its connection ends, the awaitable or the iterator is
cancelled.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

__all__ = [
    "Application",
    "Call",
    "HttpHandler",
    "HttpRequest",
    "HttpResponse",
    "Metadata",
    "Method",
    "Peer",
    "bidirectional",
    "client_streaming",
    "server_streaming",
    "unary",
]

_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_UNSAFE: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")

#: Names (lower case) and values as sent; those of names with ``-bin`` are decoded from base64.
Metadata = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True)
class Peer:
    """The other end of a connection."""

    #: Host and port as text; empty for a socket without.
    address: str
    #: The certificate that the client proved to own, as :meth:`ssl.SSLSocket.getpeercert` returns
    #: it; None without TLS or without one.
    certificate: Mapping[str, Any] | None = None


class Call(Protocol):
    """One call, as its handler sees it."""

    @property
    def metadata(self) -> Metadata:
        """What the caller sent beside the message."""

    @property
    def peer(self) -> Peer:
        """Who calls."""

    def time_remaining(self) -> float | None:
        """Return the seconds until the caller's deadline, at least 0; None without one."""

    def cancelled(self) -> bool:
        """Return True if nobody waits for the answer any more."""


UnaryHandler = Callable[[bytes, Call], bytes | Awaitable[bytes]]
ServerStreamingHandler = Callable[[bytes, Call], AsyncIterator[bytes]]
ClientStreamingHandler = Callable[[AsyncIterator[bytes], Call], Awaitable[bytes]]
BidirectionalHandler = Callable[[AsyncIterator[bytes], Call], AsyncIterator[bytes]]


@dataclass(frozen=True)
class Method:
    """A handler and its shape. Made by the four functions below."""

    handler: Callable[[Any, Call], Any]
    #: Whether the caller sends any number of messages, and whether it gets any number.
    streams_requests: bool
    streams_answers: bool


def unary(handler: UnaryHandler) -> Method:
    """Return a method with one message each way."""
    return Method(handler, streams_requests=False, streams_answers=False)


def server_streaming(handler: ServerStreamingHandler) -> Method:
    """Return a method that answers one message with any number."""
    return Method(handler, streams_requests=False, streams_answers=True)


def client_streaming(handler: ClientStreamingHandler) -> Method:
    """Return a method that answers any number of messages with one."""
    return Method(handler, streams_requests=True, streams_answers=False)


def bidirectional(handler: BidirectionalHandler) -> Method:
    """Return a method with any number of messages each way."""
    return Method(handler, streams_requests=True, streams_answers=True)


@dataclass(frozen=True)
class HttpRequest:
    """A request that is not gRPC's, over HTTP/1.1 or HTTP/2."""

    method: str
    #: As sent, without the query.
    path: str
    #: What follows the question mark; empty without one.
    query: str
    #: Names are in lower case.
    headers: Metadata
    body: bytes
    peer: Peer

    def header(self, name: bytes) -> bytes | None:
        """Return the first value of a field; None without one."""
        return next((value for each, value in self.headers if each == name), None)


@dataclass(frozen=True)
class HttpResponse:
    """The answer to an :class:`HttpRequest`.

    An iterator as the body is sent in parts, as they come; it is cancelled when the client goes.

    Raises:
        ValueError: the status is not one of an answer, or a field is malformed.
    """

    status: int = 200
    body: bytes | AsyncIterator[bytes] = b""
    content_type: str = "application/json"
    #: Further fields; names in lower case.
    headers: Metadata = ()

    def __post_init__(self) -> None:
        if not 200 <= self.status <= 599:
            raise ValueError(f"the status of an HTTP response is {self.status}, not 200 to 599")
        content_type = (b"content-type", self.content_type.encode("latin-1"))
        for name, value in (content_type, *self.headers):
            if not _NAME.fullmatch(name) or _UNSAFE.search(value):
                raise ValueError(f"malformed field of an HTTP response: {name!r}: {value!r}")


HttpHandler = Callable[[HttpRequest], HttpResponse | Awaitable[HttpResponse]]


def _not_found(_request: HttpRequest) -> HttpResponse:
    return HttpResponse(404, b"404 page not found\n", "text/plain; charset=utf-8")


NOT_FOUND: Final[HttpHandler] = _not_found


@dataclass(frozen=True)
class Application:
    """What a server serves: gRPC methods by path (``/package.Service/Method``), and the rest."""

    methods: Mapping[str, Method]
    http: HttpHandler = NOT_FOUND
