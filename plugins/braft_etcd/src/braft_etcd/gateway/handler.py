"""Serves HTTP requests by the calls of the API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from braft_core.errors import BraftError
from braft_core.http2 import (
    Call,
    CallFailed,
    HttpRequest,
    HttpResponse,
    Metadata,
    Peer,
    Status,
)
from braft_etcd.errors import failed
from braft_etcd.gateway.routes import ROUTES
from braft_etcd.rpc import Gate, Rpc, answer, stream
from braft_etcd.wire import Values, WireError
from braft_etcd.wire.json import load, to_plain

__all__ = ["Gateway"]

_PREFIXES: Final = ("/v3/", "/v3beta/", "/v3alpha/")
_HTTP: Final[Mapping[Status, int]] = {
    Status.INVALID_ARGUMENT: 400,
    Status.FAILED_PRECONDITION: 400,
    Status.OUT_OF_RANGE: 400,
    Status.UNAUTHENTICATED: 401,
    Status.PERMISSION_DENIED: 403,
    Status.NOT_FOUND: 404,
    Status.RESOURCE_EXHAUSTED: 429,
    Status.UNIMPLEMENTED: 501,
    Status.UNAVAILABLE: 503,
    Status.DEADLINE_EXCEEDED: 504,
}
_PHRASES: Final[Mapping[int, str]] = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    429: "Too Many Requests",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}
_TEXT: Final = "text/plain; charset=utf-8"


@dataclass(frozen=True)
class _HttpCall:
    """A request as the handlers see it."""

    metadata: Metadata
    peer: Peer

    def time_remaining(self) -> float | None:
        """Return None: HTTP has no deadline."""
        return None

    def cancelled(self) -> bool:
        """Return False: the task is cancelled instead."""
        return False


class Gateway:
    """Handles HTTP requests. Belongs to the loop of the front end."""

    def __init__(self, calls: Mapping[str, Rpc], gate: Gate, version: str) -> None:
        """Prepare.

        :param calls: by gRPC path.
        :param version: of etcd, for ``/version``.
        """
        self._calls = calls
        self._gate = gate
        series = version.rpartition(".")[0]
        # Two keys: a client refuses a third one.
        self._version = _body({"etcdserver": version, "etcdcluster": f"{series}.0"})

    async def __call__(self, request: HttpRequest) -> HttpResponse:
        """Serve a request."""
        if request.header(b"origin") is not None:
            # A page of any site may send requests to any address, with a body that is JSON.
            return HttpResponse(403, b"requests of web pages are refused\n", _TEXT)
        if request.method in ("GET", "HEAD"):
            return await self._get(request)
        called = self._find(request.path)
        if called is None:
            return HttpResponse(404, b"404 page not found\n", _TEXT)
        if request.method != "POST":
            return HttpResponse(405, b"accepted: POST\n", _TEXT, ((b"allow", b"POST"),))
        call = _HttpCall(request.headers, request.peer)
        try:
            values = load(called.request, request.body)
            if called.unary is None:
                return await self._stream(called, values, call)
            found = await answer(called, self._gate, values, call)
        except WireError as error:
            return _refused(CallFailed(Status.INVALID_ARGUMENT, str(error)))
        except CallFailed as error:
            return _refused(error)
        return HttpResponse(200, _body(to_plain(called.response, found)))

    def _find(self, path: str) -> Rpc | None:
        for prefix in _PREFIXES:
            if path.startswith(prefix):
                return self._calls.get(ROUTES.get(path[len(prefix) :], ""))
        return None

    async def _get(self, request: HttpRequest) -> HttpResponse:
        if request.path == "/version":
            return HttpResponse(200, self._version)
        if request.path == "/health":
            return await self._health()
        return HttpResponse(404, b"404 page not found\n", _TEXT)

    async def _health(self) -> HttpResponse:
        called = self._calls["/etcdserverpb.KV/Range"]
        if called.unary is None:
            raise TypeError("Range answers one message")
        request = called.request.new() | {"key": b"health", "count_only": True}
        try:
            # Open to all: it says whether a linearizable read works, and nothing else.
            await called.unary(request, _HttpCall((), Peer("")))
        except (BraftError, CallFailed) as error:
            shown = failed(error) if isinstance(error, BraftError) else error
            return HttpResponse(503, _body({"health": "false", "reason": shown.message}))
        return HttpResponse(200, _body({"health": "true", "reason": ""}))

    async def _stream(self, called: Rpc, values: Values, call: Call) -> HttpResponse:
        """Answer with the first message, or its failure; the others follow as they come."""
        held = called.path.endswith("/Watch")
        answers = stream(called, self._gate, _requests(values, held), call)
        try:
            first = await anext(answers)
        except StopAsyncIteration:
            return HttpResponse(200, b"")
        return HttpResponse(200, _parts(called, first, answers))


async def _requests(values: Values, held: bool) -> AsyncIterator[Values]:
    """Yield one request.

    :param held: whether the stream of requests stays open after it.
    """
    yield values
    if held:
        await asyncio.Event().wait()


async def _parts(
    called: Rpc, first: Values, answers: AsyncIterator[Values]
) -> AsyncIterator[bytes]:
    try:
        yield _line({"result": to_plain(called.response, first)})
        async for values in answers:
            yield _line({"result": to_plain(called.response, values)})
    except CallFailed as error:
        status = _HTTP.get(error.status, 500)
        shown = {
            "grpc_code": int(error.status),
            "http_code": status,
            "message": error.message,
            "http_status": _PHRASES[status],
        }
        yield _line({"error": shown})
    finally:
        close = getattr(answers, "aclose", None)
        if close is not None:
            await close()


def _refused(error: CallFailed) -> HttpResponse:
    shown = {"error": error.message, "code": int(error.status), "message": error.message}
    return HttpResponse(_HTTP.get(error.status, 500), _body(shown))


def _body(plain: Any) -> bytes:
    return json.dumps(plain, separators=(",", ":")).encode()


def _line(plain: Any) -> bytes:
    return _body(plain) + b"\n"
