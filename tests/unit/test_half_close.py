"""A connection is closed for writing, whatever its peer has done meanwhile."""

from __future__ import annotations

import ast
import asyncio
import socket
import struct
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import braft_core
from braft_core.half_close import half_close
from braft_testing.processes import PATIENCE
from tests.syntax import parse
from tests.unit.http2.conftest import FakeTransport


class Accepted(asyncio.Protocol):
    """One connection that a server has accepted."""

    def __init__(self) -> None:
        self.transport: asyncio.Future[asyncio.Transport] = asyncio.Future()
        self.lost: asyncio.Future[None] = asyncio.Future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport.set_result(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(None)


def with_connection(
    act: Callable[[socket.socket, asyncio.Transport], Coroutine[Any, Any, None]],
) -> None:
    """Run with the caller's socket and the server's transport; then the transport must go."""

    async def scenario() -> None:
        loop, protocol = asyncio.get_running_loop(), Accepted()
        server = await loop.create_server(lambda: protocol, "127.0.0.1", 0)
        with socket.create_connection(server.sockets[0].getsockname()) as caller:
            caller.setblocking(False)
            await act(caller, await asyncio.wait_for(protocol.transport, PATIENCE))
        await asyncio.wait_for(protocol.lost, PATIENCE)
        server.close()

    asyncio.run(scenario())


def test_the_peer_reads_what_was_sent_and_the_end() -> None:
    async def act(caller: socket.socket, transport: asyncio.Transport) -> None:
        transport.write(b"last")
        assert half_close(transport)
        assert not transport.is_closing()
        loop = asyncio.get_running_loop()
        received = [await loop.sock_recv(caller, 10) for _ in range(2)]
        assert received == [b"last", b""]

    with_connection(act)


def test_a_connection_that_was_reset_in_this_turn_of_the_loop_is_dropped() -> None:
    async def act(caller: socket.socket, transport: asyncio.Transport) -> None:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        caller.close()
        assert not half_close(transport)
        assert transport.is_closing()

    with_connection(act)


def test_a_connection_without_halves_is_closed() -> None:
    transport = FakeTransport()
    assert not half_close(transport)
    assert transport.closed
    assert not transport.aborted


def test_nothing_else_closes_a_half() -> None:
    """Each place would have to know that the peer may be gone."""
    callers = {
        path.name
        for path in Path(braft_core.__file__).parent.rglob("*.py")
        for node in ast.walk(parse(path.read_text()))
        if isinstance(node, ast.Call)
        if isinstance(node.func, ast.Attribute)
        if node.func.attr == "write_eof"
    }
    assert callers == {"half_close.py"}
