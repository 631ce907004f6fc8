"""Processor time of one unary gRPC call in our HTTP/2 server and in grpcio's, in microseconds.

The same handler behind each server, in a process of its own; the same client, a few lines over
sockets, with 1, 64 and 1,024 calls outstanding.

``python -m benchmarks.http2`` takes about a minute. Other work on the machine changes the rates
more than the processor time.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import psutil

from benchmarks.machine import facts
from braft_core.http2 import frames
from braft_core.http2.calls import Application, Call, unary
from braft_core.http2.hpack import encode
from braft_core.http2.server import Server

__all__ = ["main"]

_HOST = "127.0.0.1"
_PATH = "/test.Test/Put"
_SERVERS = ("http2", "http2-uvloop", "grpcio", "grpc.aio")
_ACK_SETTINGS = frames.frame(frames.SETTINGS, frames.ACK, 0)
_WINDOW = 2**30
#: Octets after which the client opens the window of the connection again.
_REPLENISH = 2**20


class _Store:
    """A handler that does as little as a put can."""

    def __init__(self) -> None:
        self._values: dict[bytes, bytes] = {}
        self._revision = 0

    def put(self, request: bytes, _call: Call) -> bytes:
        self._revision += 1
        self._values[request[:16]] = request
        return b"revision %d" % self._revision

    def put_grpcio(self, request: bytes, _context: object) -> bytes:
        self._revision += 1
        self._values[request[:16]] = request
        return b"revision %d" % self._revision

    async def put_aio(self, request: bytes, context: object) -> bytes:
        return self.put_grpcio(request, context)


# ------------------------------------------------------------------ servers


def _generic(method: Callable[..., Any]) -> grpc.GenericRpcHandler:
    handler = grpc.unary_unary_rpc_method_handler(method)
    return grpc.method_handlers_generic_handler("test.Test", {"Put": handler})


async def _serve_http2() -> None:
    server = Server(Application({_PATH: unary(_Store().put)}))
    await server.start(_HOST, 0)
    print(server.port, flush=True)
    await asyncio.Event().wait()


async def _serve_aio() -> None:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_generic(_Store().put_aio),))
    port = server.add_insecure_port(f"{_HOST}:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


def _serve_grpcio() -> None:
    server = grpc.server(ThreadPoolExecutor(16))
    server.add_generic_rpc_handlers((_generic(_Store().put_grpcio),))
    port = server.add_insecure_port(f"{_HOST}:0")
    server.start()
    print(port, flush=True)
    server.wait_for_termination()


def _serve(name: str) -> None:
    if name == "grpcio":
        _serve_grpcio()
    elif name == "grpc.aio":
        asyncio.run(_serve_aio())
    elif name == "http2-uvloop":
        importlib.import_module("uvloop").run(_serve_http2())
    else:
        asyncio.run(_serve_http2())


@asynccontextmanager
async def _started(name: str) -> AsyncIterator[tuple[int, psutil.Process]]:
    command = (sys.executable, "-m", "benchmarks.http2", "--serve", name)
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    if process.stdout is None:
        raise RuntimeError("the server has no output")
    try:
        yield int(await process.stdout.readline()), psutil.Process(process.pid)
    finally:
        process.kill()
        await process.wait()


# ------------------------------------------------------------------ client


class _Client(asyncio.Protocol):
    """One connection that keeps a number of calls outstanding."""

    def __init__(self, outstanding: int, calls: int) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        #: Calls that the server reset instead of answering them.
        self.refused = 0
        self._left_to_send = calls
        self._left = calls
        self._outstanding = outstanding
        self._next = 1
        self._rest = b""
        self._received = 0
        fields = [
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", _PATH.encode()),
            (b":authority", b"localhost"),
            (b"te", b"trailers"),
            (b"content-type", b"application/grpc"),
        ]
        self._block = encode(fields)
        self._message = b"\0\0\0\0\x80" + b"k" * 128

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("the transport is not that of a stream")
        self._transport = transport
        start = frames.settings([(frames.SETTINGS_INITIAL_WINDOW_SIZE, _WINDOW)])
        self._transport.write(frames.PREFACE + start + frames.window_update(0, _WINDOW))
        self._send(self._outstanding)

    def _send(self, number: int) -> None:
        parts = []
        for _ in range(min(number, self._left_to_send)):
            parts.append(frames.frame(frames.HEADERS, frames.END_HEADERS, self._next, self._block))
            parts.append(frames.frame(frames.DATA, frames.END_STREAM, self._next, self._message))
            self._next += 2
            self._left_to_send -= 1
        self._transport.write(b"".join(parts))

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        position, ended = 0, 0
        while len(data) - position >= frames.HEADER_SIZE:
            word, flags, _ = frames.HEADER.unpack_from(data, position)
            end = position + frames.HEADER_SIZE + (word >> 8)
            if end > len(data):
                break
            kind = word & 0xFF
            if kind == frames.DATA:
                self._received += word >> 8
            elif kind == frames.PING and not flags:
                payload = data[position + frames.HEADER_SIZE : end]
                self._transport.write(frames.frame(frames.PING, frames.ACK, 0, payload))
            elif kind == frames.SETTINGS and not flags:
                self._transport.write(_ACK_SETTINGS)
            elif kind == frames.RST_STREAM:
                self.refused += 1
                ended += 1
            elif kind == frames.GOAWAY and not self.done.done():
                self.done.set_exception(RuntimeError("the server ended the connection"))
            ended += kind == frames.HEADERS and flags & frames.END_STREAM
            position = end
        self._rest = data[position:]
        if self._received >= _REPLENISH:
            self._transport.write(frames.window_update(0, self._received))
            self._received = 0
        self._left -= ended
        if self._left <= 0 and not self.done.done():
            self.done.set_result(None)
        elif ended:
            self._send(ended)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("the server closed the connection"))


async def _call(port: int, outstanding: int, calls: int) -> int:
    """Make ``calls`` calls, at most 64 outstanding on one connection; return how many failed."""
    connections = max(1, outstanding // 64)
    loop = asyncio.get_running_loop()
    made = [
        await loop.create_connection(
            lambda: _Client(outstanding // connections, calls // connections), _HOST, port
        )
        for _ in range(connections)
    ]
    await asyncio.gather(*(client.done for _, client in made))
    for transport, _ in made:
        transport.close()
    return sum(client.refused for _, client in made)


async def _measure(name: str, outstanding: int, calls: int) -> dict[str, float]:
    """Return the server's microseconds of processor time for a call, and calls per second."""
    async with _started(name) as (port, process):
        await _call(port, outstanding, max(outstanding, calls // 5))
        before, began = process.cpu_times(), time.monotonic()
        refused = await _call(port, outstanding, calls)
        after, seconds = process.cpu_times(), time.monotonic() - began
    spent = after.user + after.system - before.user - before.system
    found = {"cpu us": round(1e6 * spent / calls, 1), "calls/s": round(calls / seconds)}
    return found | ({"refused": refused} if refused else {})


def main() -> None:
    """Measure, and print one line of JSON for each server."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", choices=_SERVERS, help=argparse.SUPPRESS)
    parser.add_argument("--servers", nargs="+", choices=_SERVERS, default=_SERVERS)
    parser.add_argument("--outstanding", nargs="+", type=int, default=(1, 64, 1024))
    parser.add_argument("--calls", type=int, default=20_000, help="a tenth with one outstanding")
    options = parser.parse_args()
    if options.serve:
        _serve(options.serve)
        return
    for name in options.servers:
        row: dict[str, Any] = {"server": name}
        for outstanding in options.outstanding:
            calls = options.calls if outstanding > 1 else options.calls // 10
            row[str(outstanding)] = asyncio.run(_measure(name, outstanding, calls))
        row["load"] = round(os.getloadavg()[0], 1)
        print(json.dumps(row), flush=True)
    print(json.dumps(facts(Path.cwd())))


if __name__ == "__main__":
    main()
