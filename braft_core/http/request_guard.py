"""Checks every request before the application sees it.

The head alone decides: sizes, ``Host``, origin, path, token, ``Content-Length``. The body of a
refused request is never read. Owns the order of these checks and the memory limit for bodies; other
modules hold the rules. Runs on the event loop of the HTTP server.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import falcon

from braft_core.errors import BraftError, Busy
from braft_core.http.auth import ROLE, BearerAuth
from braft_core.http.json_body import MAX_BODY_BYTES, body_too_large
from braft_core.http.memory_budget import UNCOUNTED_BYTES, MemoryBudget
from braft_core.http.origin_policy import SAFE_METHODS, OriginPolicy
from braft_core.http.problems import (
    PROBLEM_JSON,
    ClientDisconnected,
    Refused,
    error_problem,
    http_problem,
)
from braft_core.http.request_end import REQUEST_END, RequestEnd
from braft_core.http.url_decoding import check_query_encoding, decode_path

__all__ = ["MAX_HEAD", "MAX_HEADERS", "SECURITY_HEADERS", "RequestGuard"]

#: Most bytes of all header names and values of a request.
MAX_HEAD: Final = 32 << 10
#: Most headers of a request.
MAX_HEADERS: Final = 100
#: Most bytes of path and query.
MAX_TARGET: Final = 16 << 10
#: Most bytes of large bodies in memory, over all requests.
BODY_BUDGET: Final = 128 << 20

#: Headers of every answer: browsers must neither interpret nor cache nor embed it.
SECURITY_HEADERS: Final = (
    ("X-Content-Type-Options", "nosniff"),
    ("Cache-Control", "no-store"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
_RAW_HEADERS: Final = [(name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS]

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class RequestGuard:
    """The ASGI application that wraps the Falcon application."""

    def __init__(self, application: Application, origins: OriginPolicy, auth: BearerAuth) -> None:
        self.application = application
        self._origins = origins
        self._auth = auth
        self._budget = MemoryBudget(BODY_BUDGET)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.application(scope, receive, send)
            return
        try:
            has_body = self._admit(scope)
        except falcon.HTTPError as error:
            if isinstance(error, falcon.HTTPForbidden):
                await self._auth.delay_denial()
            problem = http_problem(error, scope["path"])
        except BraftError as error:
            problem = error_problem(error, scope["path"])
        else:
            body = _Body(receive, self._budget) if has_body else None
            if body is not None:
                receive = body.receive
            end = scope[REQUEST_END] = RequestEnd(receive)
            try:
                await self.application(scope, receive, send)
            except ClientDisconnected:
                return
            finally:
                end.run()
                if body is not None:
                    body.close()
            return
        await _answer(scope, send, *problem)

    def _admit(self, scope: Scope) -> bool:
        """Check the head; return whether a body may follow."""
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        if not isinstance(headers, list):  # ASGI allows any iterable; we iterate twice
            scope["headers"] = headers = [(name, value) for name, value in headers]
        authorization, length, chunked, has_host, size = None, b"0", False, False, 0
        for name, value in headers:
            size += len(name) + len(value)
            if name == b"authorization":
                authorization = value.decode("latin-1")
            elif name == b"content-length":
                length = value
            elif name == b"transfer-encoding":
                chunked = True
            elif name == b"host":
                has_host = True
        if size > MAX_HEAD or len(headers) > MAX_HEADERS:
            raise Refused(431, "headers_too_large", _HEADERS_ACCEPTED)
        raw = _raw_path(scope)
        query: bytes = scope["query_string"]
        if len(raw) + len(query) > MAX_TARGET:
            raise Refused(414, "uri_too_long", f"accepted: {MAX_TARGET} bytes of path and query")
        scope["path"] = path = decode_path(raw)
        if query:
            check_query_encoding(query, path)
        if not has_host and scope["http_version"] == "1.1":
            raise Refused(400, "bad_request", "the Host header is missing")
        method: str = scope["method"]
        if path != _ALIVE or method not in SAFE_METHODS:
            refusal = self._origins.refusal(method, headers)
            if refusal is not None:
                raise Refused(*refusal)
        client = scope.get("client") or ("?",)
        scope[ROLE] = self._auth.authorize(method, path, authorization, str(client[0]))
        if chunked:
            return True
        if not (length.isdigit() and len(length) < 20):
            raise Refused(400, "bad_request", "Content-Length is not a number of bytes")
        announced = int(length)
        if announced > MAX_BODY_BYTES:
            raise body_too_large(announced)
        return announced > 0


#: Load balancers send any Host, and the answer reveals nothing.
_ALIVE: Final = "/healthz"
_HEADERS_ACCEPTED: Final = (
    f"the request has too many headers; accepted: {MAX_HEADERS}, with {MAX_HEAD} bytes of names "
    "and values"
)


class _Body:
    """Receives the body of one request within the memory budget."""

    def __init__(self, receive: Receive, budget: MemoryBudget) -> None:
        self._receive = receive
        self._budget = budget
        self._size = self._taken = 0
        self._complete = False

    async def receive(self) -> Mapping[str, Any]:
        """Return the next part.

        :raises ClientDisconnected: the caller has gone. Falcon would take that for the end of the
            body, and accept a truncated one.
        :raises Busy: too many large bodies are in memory.
        """
        event = await self._receive()
        if event["type"] == "http.disconnect":
            if self._complete:
                return event
            raise ClientDisconnected
        self._size += len(event.get("body", b""))
        self._complete = not event.get("more_body", False)
        missing = self._size - self._taken - UNCOUNTED_BYTES
        if missing > 0:
            if not self._budget.reserve(missing):
                raise Busy("too many large request bodies are in memory; try again")
            self._taken += missing
        return event

    def close(self) -> None:
        """Release the memory budget at the end of the request."""
        self._budget.release(self._taken)
        self._taken = 0


def _raw_path(scope: Scope) -> bytes:
    """Return the path as it was sent, without the query."""
    raw: bytes | None = scope.get("raw_path")
    if raw is None:
        environ: dict[str, Any] = scope["wsgi_environ"]
        target = str(environ["REQUEST_URI"]).partition("?")[0]
        if "://" in target:  # absolute form, as sent to proxies
            target = "/" + target.partition("://")[2].partition("/")[2]
        raw = target.encode("latin-1", "replace")
    return raw


async def _answer(
    scope: Scope, send: Send, status: int, body: bytes, extra: list[tuple[str, str]]
) -> None:
    headers = [
        (b"content-type", PROBLEM_JSON.encode()),
        (b"content-length", str(len(body)).encode()),
        *_RAW_HEADERS,
        *((name.lower().encode(), value.encode("latin-1")) for name, value in extra),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    shown = b"" if scope["method"] == "HEAD" else body
    await send({"type": "http.response.body", "body": shown})
