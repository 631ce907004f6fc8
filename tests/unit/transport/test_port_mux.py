"""The mux in front of a gRPC server leaves no connection behind, whenever it is closed."""

from __future__ import annotations

import asyncio
import socket

import pytest

from braft_core.abc import TransportTiming
from braft_core.addresses import parse_listen
from braft_core.transport.grpc.port_mux import PortMux
from braft_testing.processes import PATIENCE

#: Callers that say nothing, and data that is not read, last longer than any test.
PATIENT = TransportTiming(first_bytes=3600.0)


async def _is_cut(caller: socket.socket) -> bool:
    loop = asyncio.get_running_loop()
    try:
        return not await asyncio.wait_for(loop.sock_recv(caller, 1), PATIENCE)
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("turns", range(6))
def test_a_connection_that_arrives_while_the_mux_closes_is_cut(turns: int) -> None:
    async def scenario() -> None:
        mux = PortMux(PATIENT)
        port = mux.listen(parse_listen("127.0.0.1:0"))
        await mux.open()
        with socket.create_connection(("127.0.0.1", port)) as caller:
            caller.setblocking(False)
            for _ in range(turns):  # the loop accepts it, and makes its transport, in steps
                await asyncio.sleep(0)
            await mux.close()
            assert await _is_cut(caller)

    asyncio.run(scenario())


def test_closing_cuts_what_a_server_does_not_read() -> None:
    """Even if the caller is gone: what it sent waits until the server takes it."""
    sent = b"P" * 900_000  # more than a socket takes, less than what stops the mux from reading

    async def scenario() -> int:
        loop = asyncio.get_running_loop()
        mux = PortMux(PATIENT)
        port = mux.listen(parse_listen("127.0.0.1:0"))
        await mux.open()
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(mux.path(tls=False))
            server.listen()
            server.setblocking(False)
            with socket.create_connection(("127.0.0.1", port)) as caller:
                caller.setblocking(False)
                await loop.sock_sendall(caller, sent)
                caller.shutdown(socket.SHUT_WR)
                assert await _is_cut(caller)  # the mux has all of it
            taken, _ = await loop.sock_accept(server)
            with taken:
                await mux.close()
                read = 0
                while part := await asyncio.wait_for(loop.sock_recv(taken, 65536), PATIENCE):
                    read += len(part)
                return read

    assert 0 < asyncio.run(scenario()) < len(sent)
