"""An application with a handler of each shape, and a server of it on a loop of its own thread."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Self

import pytest

from braft_core.http2 import frames
from braft_core.http2.calls import (
    Application,
    Call,
    HttpRequest,
    HttpResponse,
    Peer,
    bidirectional,
    client_streaming,
    server_streaming,
    unary,
)
from braft_core.http2.connection import Http2Connection
from braft_core.http2.frames import PREFACE
from braft_core.http2.host import Host
from braft_core.http2.hpack import encode
from braft_core.http2.http1 import Http1Connection
from braft_core.http2.limits import Limits
from braft_core.http2.server import Server
from braft_core.http2.status import CallFailed, Status

PATIENCE = 60.0


@dataclass
class Handlers:
    """Plain handlers of bytes; what they saw, for assertions."""

    events: list[str] = field(default_factory=list)
    seen: threading.Condition = field(default_factory=threading.Condition)

    def note(self, event: str) -> None:
        with self.seen:
            self.events.append(event)
            self.seen.notify_all()

    def wait_for(self, event: str) -> None:
        with self.seen:
            assert self.seen.wait_for(lambda: event in self.events, PATIENCE), self.events

    def echo(self, request: bytes, _call: Call) -> bytes:
        return request

    async def later(self, request: bytes, _call: Call) -> bytes:
        await asyncio.sleep(0)
        return request

    def refuse(self, request: bytes, _call: Call) -> bytes:
        raise CallFailed(Status.NOT_FOUND, request.decode())

    def crash(self, _request: bytes, _call: Call) -> bytes:
        raise RuntimeError("a fault of the handler")

    async def hang(self, _request: bytes, call: Call) -> bytes:
        self.note("hangs")
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            self.note("cancelled")
            self.note(f"cancelled {call.cancelled()}")
            raise
        return b""

    def big(self, request: bytes, _call: Call) -> bytes:
        return b"x" * int(request)

    def metadata(self, _request: bytes, call: Call) -> bytes:
        left = call.time_remaining()
        rows = [[name.decode(), value.decode("latin-1")] for name, value in call.metadata]
        return json.dumps({"metadata": rows, "deadline": left is not None}).encode()

    async def count(self, request: bytes, _call: Call) -> AsyncIterator[bytes]:
        for number in range(int(request)):
            yield str(number).encode()

    async def forever(self, request: bytes, _call: Call) -> AsyncIterator[bytes]:
        self.note("streams")
        try:
            while True:
                yield request
                await asyncio.sleep(0)
        finally:
            self.note("stream closed")

    async def add(self, requests: AsyncIterator[bytes], _call: Call) -> bytes:
        return str(sum([len(request) async for request in requests])).encode()

    async def chat(self, requests: AsyncIterator[bytes], _call: Call) -> AsyncIterator[bytes]:
        try:
            async for request in requests:
                if request == b"fail":
                    raise CallFailed(Status.ABORTED, "as asked")
                yield request
        finally:
            self.note("chat ended")

    def http(self, request: HttpRequest) -> HttpResponse:
        if request.path == "/parts":
            return HttpResponse(body=self._parts(int(request.query or "3")))
        if request.path == "/large-head":
            return HttpResponse(headers=((b"large", b"x" * 40_000),))
        if request.path == "/crash":
            raise RuntimeError("a fault of the handler")
        body = {
            "method": request.method,
            "path": request.path,
            "query": request.query,
            "body": len(request.body),
            "host": (request.header(b"host") or b"").decode(),
            "certificate": request.peer.certificate is not None,
        }
        return HttpResponse(body=json.dumps(body).encode(), headers=((b"x-test", b"1"),))

    async def _parts(self, number: int) -> AsyncIterator[bytes]:
        try:
            for each in range(number):
                yield b"part %d\n" % each
                await asyncio.sleep(0)
        finally:
            self.note("parts ended")

    def application(self) -> Application:
        methods = {
            "Echo": unary(self.echo),
            "Later": unary(self.later),
            "Refuse": unary(self.refuse),
            "Crash": unary(self.crash),
            "Hang": unary(self.hang),
            "Big": unary(self.big),
            "Metadata": unary(self.metadata),
            "Count": server_streaming(self.count),
            "Forever": server_streaming(self.forever),
            "Add": client_streaming(self.add),
            "Chat": bidirectional(self.chat),
        }
        return Application(
            {f"/test.Test/{name}": each for name, each in methods.items()}, self.http
        )


@dataclass
class Running:
    """A server that serves on a loop in a thread."""

    server: Server
    loop: asyncio.AbstractEventLoop
    port: int
    handlers: Handlers

    def stop(self, grace: float) -> None:
        asyncio.run_coroutine_threadsafe(self.server.stop(grace), self.loop).result(PATIENCE)


@pytest.fixture
def handlers() -> Handlers:
    return Handlers()


@pytest.fixture
def serve(handlers: Handlers) -> Iterator[Callable[..., Running]]:
    """Return ``serve(limits=None, tls=None)``, which starts a server."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="http2-server")
    thread.start()
    started: list[Running] = []

    def start(limits: Limits | None = None, tls: ssl.SSLContext | None = None) -> Running:
        server = Server(handlers.application(), limits)
        starting = server.start("127.0.0.1", 0, tls)
        asyncio.run_coroutine_threadsafe(starting, loop).result(PATIENCE)
        started.append(Running(server, loop, server.port, handlers))
        return started[-1]

    yield start
    for running in started:
        running.stop(0.0)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(PATIENCE)
    end_loop(loop)


class FakeTransport(asyncio.Transport):
    """Keeps what was written; its socket takes everything unless ``stuck``."""

    def __init__(self) -> None:
        super().__init__()
        self.taken = bytearray()
        self.waiting = bytearray()
        self.stuck = False
        self.reading = True
        self.closed = False
        self.aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        (self.waiting if self.stuck else self.taken).extend(data)

    def get_write_buffer_size(self) -> int:
        return len(self.waiting)

    def is_closing(self) -> bool:
        return self.closed

    def can_write_eof(self) -> bool:
        return False

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


def end_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Close a loop; what still runs on it is cancelled, so that it is not reported later."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


class Wire:
    """A connection of the server without a socket; the test is the peer."""

    def __init__(
        self, handlers: Handlers, limits: Limits | None = None, beside: Wire | None = None
    ) -> None:
        """Make a connection, ``beside`` another one of the same server."""
        self.loop: asyncio.AbstractEventLoop = beside.loop if beside else asyncio.new_event_loop()
        self.host: Host = (
            beside.host if beside else Host(handlers.application(), limits or Limits(), self.loop)
        )
        self._beside = beside
        self.transport = FakeTransport()
        self.connection = Http2Connection(self.transport, self.host, Peer("peer:1"))
        self._seen = 0

    def turn(self, times: int = 1) -> None:
        """Let the loop run what is due."""
        for _ in range(times):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()

    def greet(self, *settings: tuple[int, int]) -> None:
        self.connection.receive(PREFACE + frames.settings(settings))
        self.frames()

    def send(self, *sent: bytes) -> None:
        self.connection.receive(b"".join(sent))
        self.turn()

    def output(self) -> bytes:
        """Return what was written since the last call."""
        data = bytes(self.transport.taken[self._seen :])
        self._seen = len(self.transport.taken)
        return data

    def frames(self) -> list[tuple[int, int, int, bytes]]:
        """Return the frames written since the last call: kind, flags, stream, payload."""
        data, position, found = self.output(), 0, []
        while position < len(data):
            word, flags, stream = frames.HEADER.unpack_from(data, position)
            end = position + frames.HEADER_SIZE + (word >> 8)
            found.append((word & 0xFF, flags, stream, data[position + frames.HEADER_SIZE : end]))
            position = end
        return found

    def goaway(self) -> tuple[int, str] | None:
        """Return code and text of a GOAWAY among the frames written since the last call."""
        for kind, _, _, payload in self.frames():
            if kind == frames.GOAWAY:
                return int.from_bytes(payload[4:8], "big"), payload[8:].decode()
        return None

    def at(self, seconds: float) -> None:
        """Pass time, as the server's sweeps do."""
        self.host.now += seconds
        self.connection.sweep()
        self.turn()

    def check(self) -> None:
        """Assert that what the connection counts is what there is."""
        streams = self.connection.streams.values()
        assert self.host.unread == self.connection.sender.unread
        assert self.host.unread == sum(stream.queued for stream in streams)
        assert self.host.buffered == sum(stream.held for stream in streams)
        assert not any(stream.closed for stream in streams)
        assert len(streams) <= self.host.limits.max_concurrent_streams
        for stream in streams:
            assert stream.queued == sum(map(len, stream.queue or ()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.connection.lost()
        self.turn(10)
        assert not self.connection.streams
        if self._beside:
            return
        left = (self.connection.active, self.host.unread, self.host.buffered)
        end_loop(self.loop)
        assert left == (0, 0, 0)


@pytest.fixture
def wire(handlers: Handlers) -> Iterator[Callable[..., Wire]]:
    """Return ``wire(limits=None, beside=None)``, which makes a connection."""
    made: list[Wire] = []

    def make(limits: Limits | None = None, beside: Wire | None = None) -> Wire:
        made.append(Wire(handlers, limits, beside))
        return made[-1]

    yield make
    for each in reversed(made):
        each.close()


def request(stream: int, method: str = "Echo", *more: tuple[bytes, bytes]) -> bytes:
    """Return HEADERS of a gRPC call."""
    fields = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", b"/test.Test/" + method.encode()),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
        *more,
    ]
    return frames.frame(frames.HEADERS, frames.END_HEADERS, stream, encode(fields))


def message(stream: int, data: bytes = b"", *, end: bool = True) -> bytes:
    """Return DATA of one message."""
    flags = frames.END_STREAM if end else 0
    return frames.frame(frames.DATA, flags, stream, b"\0" + len(data).to_bytes(4, "big") + data)


class Http1Wire:
    """An HTTP/1.1 connection of the server without a socket; the test is the peer."""

    def __init__(self, handlers: Handlers, limits: Limits | None = None) -> None:
        self.loop = asyncio.new_event_loop()
        self.host = Host(handlers.application(), limits or Limits(), self.loop)
        self.transport = FakeTransport()
        self.connection = Http1Connection(self.transport, self.host, Peer("peer:1"))
        self._seen = 0

    def pass_turns(self, times: int = 1) -> bytes:
        """Let the loop run what is due; return what was written since the last call."""
        for _ in range(times):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()
        data = bytes(self.transport.taken[self._seen :])
        self._seen = len(self.transport.taken)
        return data

    def send(self, data: bytes) -> bytes:
        self.connection.receive(data)
        return self.pass_turns()

    def at(self, seconds: float) -> bytes:
        """Pass time, as the server's sweeps do."""
        self.host.now += seconds
        self.connection.sweep()
        return self.pass_turns()

    def close(self) -> None:
        self.connection.lost()
        self.pass_turns(5)
        end_loop(self.loop)
        assert self.host.buffered == 0


@pytest.fixture
def http1(handlers: Handlers) -> Iterator[Callable[..., Http1Wire]]:
    """Return ``http1(limits=None)``, which makes a connection."""
    made: list[Http1Wire] = []

    def make(limits: Limits | None = None) -> Http1Wire:
        made.append(Http1Wire(handlers, limits))
        return made[-1]

    yield make
    for each in made:
        each.close()
