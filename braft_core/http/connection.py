"""uvicorn's HTTP connection, with limits that uvicorn lacks.

uvicorn parses, keeps the order of pipelined requests and applies back-pressure. Added here are
timeouts for head, body, idling and a reader that stalls; a size limit for the head; a refusal while
too many requests are being processed; and a lingering close after a request that was not read to
its end. Runs on the event loop of the HTTP server.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Mapping
from typing import Any, Final

from braft_core.errors import Busy
from braft_core.half_close import half_close
from braft_core.http.auth import OPEN_PATHS
from braft_core.http.connection_table import ConnectionSlot, ConnectionTable, Phase
from braft_core.http.json_body import SERVER_BODY_LIMIT
from braft_core.http.memory_budget import UNCOUNTED_BYTES, MemoryBudget
from braft_core.http.problems import PROBLEM_JSON, ClientDisconnected, error_problem, problem_body
from braft_core.http.request_guard import MAX_HEAD, MAX_TARGET, Receive, Scope, Send

__all__ = ["Connection", "SharedState", "protocol_base"]

#: Seconds for the head of a request, and for the first request of a connection to begin.
HEAD_SECONDS: Final = 10.0
#: Seconds for which a connection may be idle between requests.
IDLE_SECONDS: Final = 60.0
#: A body may take this many seconds, and one more for each ``BODY_RATE`` bytes received.
BODY_SECONDS: Final = 10.0
BODY_RATE: Final = 16 << 10
#: Seconds for which a reader may stall, reading no byte of an answer.
STALL_SECONDS: Final = 30.0
#: Seconds for which the rest of a refused request is read and discarded, so that the answer
#: arrives; and at most as many bytes as an accepted body has.
LINGER_SECONDS: Final = 2.0
#: Most bytes of large answers in memory, over all connections.
ANSWER_BUDGET: Final = 256 << 20
#: An answer is written to the transport in chunks of this size.
CHUNK_BYTES: Final = 64 << 10
_TOO_MANY: Final = "too many requests are being processed; try again"
#: Most pipelined requests of one connection.
_PIPELINED: Final = 64
_HEAD: Final = MAX_HEAD + MAX_TARGET


def protocol_base() -> Any:
    """Return uvicorn's protocol class: httptools, or h11 where that is not installed."""
    try:
        module = importlib.import_module("uvicorn.protocols.http.httptools_impl")
    except ImportError:
        module = importlib.import_module("uvicorn.protocols.http.h11_impl")
        return module.H11Protocol
    return module.HttpToolsProtocol


class SharedState:
    """State that all connections of one server share."""

    def __init__(self, table: ConnectionTable) -> None:
        self.table = table
        self.answer_budget = MemoryBudget(ANSWER_BUDGET)
        #: Whether the server drains: each answer carries ``Connection: close``.
        self.draining = False


class _NullLogger:
    """A logger for uvicorn that discards everything, as callers could flood the log."""

    level = 100

    def log(self, *_: object, **__: object) -> None:
        """Discard a message."""

    debug = info = warning = error = log


class Connection(protocol_base()):  # type: ignore[misc]  # chosen when it is imported
    """One HTTP connection."""

    def __init__(self, shared: SharedState, slot: ConnectionSlot, config: Any, state: Any) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(config, state, {}, loop)
        self._shared = shared
        self._slot = slot
        slot.close = self.abort
        self._serve: Any = config.loaded_app
        self.app = self._run
        self.logger = _NullLogger()
        self.access_log = False
        self._since = self._last = loop.time()
        self._raw = 0
        self._seen = self._active = 0
        self._lingering = False
        self._unsent, self._unsent_since = 0, 0.0

    # -- called by asyncio --------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:
        """See :meth:`asyncio.Protocol.connection_made`."""
        super().connection_made(transport)
        self._slot.move(Phase.IDLE)

    def connection_lost(self, exc: Exception | None) -> None:
        """See :meth:`asyncio.Protocol.connection_lost`."""
        self._shared.table.release(self._slot)
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See :meth:`asyncio.Protocol.data_received`."""
        if self._lingering:
            self._raw += len(data)
            if self._raw > SERVER_BODY_LIMIT:
                self.abort()
            return
        if self._slot.phase is Phase.IDLE:
            self._slot.move(Phase.TRANSFERRING)
            self._since = self.loop.time()
            self._raw = 0
        known = self.cycle
        self._raw += len(data)
        super().data_received(data)
        if self.cycle is not known:
            self._raw = 0
            self._seen += 1
            if len(getattr(self, "pipeline", ())) > _PIPELINED:
                self.abort()
        elif self._reads_head:
            if self._raw > _HEAD:
                self._refuse(431, "headers_too_large", f"accepted: a head of {_HEAD} bytes")
        elif self._raw > SERVER_BODY_LIMIT and self.cycle.more_body:
            # Chunk headers, mostly: the reader of the body limits the body itself.
            self.abort()

    def send_400_response(self, msg: str) -> None:
        """Answer a malformed request; called by uvicorn."""
        self._refuse(400, "bad_request", "the request is not valid HTTP")

    # -- called by the server -----------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether a request is pending or an answer is not sent completely."""
        return self._active > 0 or self.transport.get_write_buffer_size() > 0

    def recently_used(self, now: float, seconds: float) -> bool:
        """Return whether the connection was used within the last ``seconds``."""
        return now - max(self._since, self._last) < seconds

    def check(self, now: float) -> None:
        """Enforce the timeouts."""
        if self._is_stalled(now):
            self.abort()
        elif self._lingering:
            if now - self._last > LINGER_SECONDS:
                self.abort()
        elif self._slot.phase is Phase.IDLE:
            if now - max(self._since, self._last) > (IDLE_SECONDS if self._seen else HEAD_SECONDS):
                self.transport.close()
        elif self._reads_head:
            if now - self._since > HEAD_SECONDS:
                self._refuse(408, "request_timeout", f"accepted: a head within {HEAD_SECONDS:g} s")
        elif self._reads_body and now - self._since > BODY_SECONDS + self._raw / BODY_RATE:
            self.abort()

    def abort(self) -> None:
        """Close the connection at once."""
        if self.transport is not None:
            self.transport.abort()

    # -- requests ------------------------------------------------------------------------------

    @property
    def _reads_head(self) -> bool:
        """Whether the next input belongs to the head of a request."""
        return self._active == 0 and (self.cycle is None or self.cycle.response_complete)

    @property
    def _reads_body(self) -> bool:
        return bool(self.cycle.more_body) and not self.cycle.response_complete

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; uvicorn calls this as its application."""
        shared, slot = self._shared, self._slot
        answer = _AnswerSender(self, send)
        is_open = scope["path"] in OPEN_PATHS
        self._active += 1
        try:
            if is_open:
                slot.move(Phase.PROCESSING)  # short, so never refused
                await self._serve(scope, receive, answer.send)
            elif answer.reads_body:
                await self._serve(scope, _BodyReceiver(self, receive).receive, answer.send)
            elif shared.table.is_full:
                await answer.refuse(scope["path"])
            else:
                slot.move(Phase.PROCESSING)
                await self._serve(scope, receive, answer.send)
        except ClientDisconnected:
            return
        finally:
            self._active -= 1
            answer.close()
            self._last = self.loop.time()
            self._since = self._last
            self._raw = 0
            if not self._active:
                slot.move(Phase.TRANSFERRING if self._lingering or self._is_unsent else Phase.IDLE)

    def start_processing(self) -> None:
        """Record that the node processes a request.

        :raises Busy: too many requests are being processed.
        """
        if self._shared.table.is_full and self._slot.phase is not Phase.PROCESSING:
            raise Busy(_TOO_MANY)
        self._slot.move(Phase.PROCESSING)

    @property
    def _is_unsent(self) -> bool:
        return bool(self.transport.get_write_buffer_size())

    def _is_stalled(self, now: float) -> bool:
        """Whether the caller has read nothing of its answer for too long."""
        size = self.transport.get_write_buffer_size()
        if size != self._unsent or not size:
            self._unsent, self._unsent_since = size, now
            if not size and not self._active and self._slot.phase is Phase.TRANSFERRING:
                self._become_idle()
            return False
        return now - self._unsent_since > STALL_SECONDS

    def _become_idle(self) -> None:
        """Mark the connection idle if no part of another request has arrived."""
        if not self._lingering and self._raw == 0:
            self._slot.move(Phase.IDLE)

    def linger(self) -> None:
        """Close for writing and discard further input: a reset could overtake the answer."""
        self._lingering = True
        self._raw = 0
        self._last = self.loop.time()
        self._unset_keepalive_if_required()
        if half_close(self.transport):
            self.flow.resume_reading()

    def _refuse(self, status: int, code: str, detail: str) -> None:
        """Answer without the application, and close the connection."""
        if self.transport.is_closing():
            return
        body = problem_body(status, code.replace("_", " ").title(), detail, "", code, {})
        head = (
            f"HTTP/1.1 {status} {code.replace('_', ' ').title()}\r\n"
            f"Content-Type: {PROBLEM_JSON}\r\nContent-Length: {len(body)}\r\n"
            "X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n"
            "Connection: close\r\n\r\n"
        )
        cycle = self.cycle
        if cycle is None or not cycle.response_started or cycle.response_complete:
            self.transport.write(head.encode() + body)
        if cycle is not None:
            cycle.disconnected = True
            cycle.message_event.set()
        self.linger()


class _BodyReceiver:
    """Receives a body. Until it is complete, its connection may be evicted."""

    __slots__ = ("_connection", "_receive")

    def __init__(self, connection: Connection, receive: Receive) -> None:
        self._connection = connection
        self._receive = receive

    async def receive(self) -> Mapping[str, Any]:
        """Return the next part of the body.

        :raises Busy: the body is complete, but too many requests are being processed.
        """
        event = await self._receive()
        if event["type"] == "http.request" and not event.get("more_body", False):
            self._connection.start_processing()
        return event


class _AnswerSender:
    """Sends one answer."""

    __slots__ = ("_connection", "_cycle", "_held", "_lingers", "_send")

    def __init__(self, connection: Connection, send: Send) -> None:
        self._connection = connection
        self._send = send
        self._cycle: Any = send.__self__  # type: ignore[attr-defined]
        self._held = 0
        self._lingers = False

    @property
    def reads_body(self) -> bool:
        """Whether the request's body is not complete yet."""
        return bool(self._cycle.more_body)

    async def send(self, message: dict[str, Any]) -> None:
        """Send a part, once the caller has read most of the previous ones.

        :raises ClientDisconnected: the caller disconnected.
        """
        cycle = self._cycle
        if cycle.disconnected:
            raise ClientDisconnected
        if message["type"] == "http.response.start":
            if not await self._check_head(message):
                return
        elif cycle.response_complete:
            return  # a refusal was sent instead
        body = message.get("body", b"")
        if len(body) <= CHUNK_BYTES:
            await self._send_part(message)
            return
        more = bool(message.get("more_body", False))
        view = memoryview(body)
        for at in range(0, len(view), CHUNK_BYTES):
            if cycle.disconnected:
                raise ClientDisconnected
            last = at + CHUNK_BYTES >= len(view)
            chunk = {"body": bytes(view[at : at + CHUNK_BYTES]), "more_body": more or not last}
            await self._send_part({"type": "http.response.body", **chunk})

    async def refuse(self, path: str) -> None:
        """Answer that too many requests are being processed."""
        status, body, extra = error_problem(Busy(_TOO_MANY), path)
        await self._send_whole(status, body, extra)

    def close(self) -> None:
        """Release the memory budget at the end of the answer."""
        self._connection._shared.answer_budget.release(self._held)
        self._held = 0

    async def _check_head(self, message: dict[str, Any]) -> bool:
        """Check the head of an answer; return ``False`` if a refusal was sent instead."""
        cycle, connection = self._cycle, self._connection
        shared = connection._shared
        if cycle.more_body or shared.draining:
            cycle.keep_alive = False
            self._lingers = cycle.more_body
        for name, value in message["headers"]:
            if name == b"content-length" and len(value) > 4 and int(value) > UNCOUNTED_BYTES:
                if not shared.answer_budget.reserve(int(value)):
                    await self.refuse("")
                    return False
                self._held = int(value)
        return True

    async def _send_part(self, message: dict[str, Any]) -> None:
        is_last = message["type"] != "http.response.start" and not message.get("more_body", False)
        if is_last and self._lingers:
            # uvicorn would close at once. ``Connection: close`` was sent already, so linger.
            self._cycle.keep_alive = True
            await self._send(message)
            self._connection.linger()
            return
        await self._send(message)

    async def _send_whole(self, status: int, body: bytes, extra: list[tuple[str, str]]) -> None:
        headers = [(name.lower().encode(), value.encode()) for name, value in extra]
        headers += [
            (b"content-type", PROBLEM_JSON.encode()),
            (b"content-length", str(len(body)).encode()),
        ]
        start = {"type": "http.response.start", "status": status, "headers": headers}
        if self._cycle.more_body:
            self._cycle.keep_alive = False
            self._lingers = True
        await self._send_part(start)
        await self._send_part({"type": "http.response.body", "body": body})
