"""Token rotation while nodes communicate, on both transports."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from braft_core.errors import AccessDenied, Unreachable
from braft_core.peer import DetailsReply, DetailsRequest
from braft_core.tokens import Keyring, Tokens
from braft_core.transport.grpc import GrpcTransport
from braft_tcp import TcpTransport
from braft_testing.transport import PATIENCE, Node, answer_to, listening_node, until
from braft_testing.transport_nodes import append

OLD, NEW = "the-old-secret-of-the-cluster", "the-new-secret-of-the-cluster"
TRANSPORTS = {"grpc": GrpcTransport, "tcp": TcpTransport}


def listening(transport: str, server_id: str, keyring: Keyring) -> Any:
    return listening_node(TRANSPORTS[transport], server_id, rpc_timeout=PATIENCE, keyring=keyring)


async def details(_request: object) -> DetailsReply:
    return DetailsReply(b"{}")


async def entries_arrive(a: Node, b: Node, index: int) -> None:
    def arrived() -> bool:
        found = [r for r in b.handler.requests if getattr(r, "prev_log_index", -1) == index - 1]
        if not found:
            a.transport.send(append("a", "b", index))
        return bool(found)

    b.handler.answer = answer_to
    await until(arrived)


@pytest.mark.parametrize("transport", list(TRANSPORTS))
def test_each_step_is_taken_while_nodes_talk(transport: str) -> None:
    rings = {name: Keyring.of(OLD) for name in ("a", "b")}

    async def scenario() -> None:
        async with (
            listening(transport, "a", rings["a"]) as a,
            listening(transport, "b", rings["b"]) as b,
        ):
            b.handler.on_called = details
            a.meets(b)
            await entries_arrive(a, b, 100)
            index = 200
            for step in (f"{OLD},{NEW}", f"{NEW},{OLD}", NEW):
                for name in ("b", "a"):
                    rings[name].current = Tokens.parse(step)
                    await a.transport.call(b.address, DetailsRequest(), 20)
                    index += 100
                    await entries_arrive(a, b, index)

    asyncio.run(scenario())


@pytest.mark.parametrize("transport", list(TRANSPORTS))
def test_who_has_the_old_token_alone_is_out(transport: str) -> None:
    """Also on its open connections."""
    ours, theirs = Keyring.of(f"{OLD},{NEW}"), Keyring.of(OLD)

    async def scenario() -> None:
        async with listening(transport, "a", theirs) as a, listening(transport, "b", ours) as b:
            b.handler.on_called = details
            a.meets(b)
            await entries_arrive(a, b, 100)
            await a.transport.call(b.address, DetailsRequest(), 20)
            ours.current = Tokens.parse(NEW)

            async with asyncio.timeout(PATIENCE):
                while True:
                    try:
                        await a.transport.call(b.address, DetailsRequest(), 20)
                    except AccessDenied:
                        break
                    except Unreachable:
                        pass  # the connection was cut in the middle
                    await asyncio.sleep(0.05)
            # An open stream accepts at most one more message, then ends.
            async with asyncio.timeout(PATIENCE):
                while True:
                    b.handler.requests.clear()
                    a.transport.send(append("a", "b", 300))
                    await asyncio.sleep(0.3)
                    if not b.handler.requests:
                        break

    asyncio.run(scenario())


@pytest.mark.parametrize("transport", list(TRANSPORTS))
def test_a_role_below_admin_makes_no_node(transport: str) -> None:
    writer = "only-for-writing-into-it"
    ours, theirs = Keyring.of(f"{OLD},write:{writer}"), Keyring.of(writer)

    async def scenario() -> None:
        async with listening(transport, "a", theirs) as a, listening(transport, "b", ours) as b:
            b.handler.on_called = details
            with pytest.raises(AccessDenied):
                await a.transport.call(b.address, DetailsRequest(), 20)
            assert b.handler.calls == []

    asyncio.run(scenario())
