"""A server that closes loses no connection that it has just accepted."""

from __future__ import annotations

import asyncio
import socket

import pytest

from braft_core.listening import close_server
from braft_testing.processes import PATIENCE


@pytest.mark.parametrize("turns", range(6))
def test_what_was_accepted_before_the_end_is_served_or_cut(turns: int) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        made: list[asyncio.BaseTransport] = []

        class Greeting(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                made.append(transport)
                assert isinstance(transport, asyncio.Transport)
                transport.write(b"x")

        server = await loop.create_server(Greeting, "127.0.0.1", 0)
        with socket.create_connection(server.sockets[0].getsockname()) as caller:
            caller.setblocking(False)
            for _ in range(turns):  # the loop accepts it, and makes its transport, in steps
                await asyncio.sleep(0)
            await close_server(server)
            await close_server(server)
            try:
                greeting = await asyncio.wait_for(loop.sock_recv(caller, 1), PATIENCE)
            except ConnectionResetError:
                greeting = b""
            assert greeting == (b"x" if made else b"")
        for transport in made:
            transport.close()
        await asyncio.sleep(0)

    asyncio.run(scenario())
