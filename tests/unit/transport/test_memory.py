"""Faults of the memory network on demand, and nodes in separate threads."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from braft_core import peer
from braft_core.abc import TransportOptions
from braft_core.errors import ConfigError, Unreachable
from braft_core.raft.messages import AppendEntries, RequestVote
from braft_core.raft.types import Entry
from braft_core.transport.memory import MemoryNetwork, MemoryTransport
from braft_testing.transport import Node, RecordingHandler, until

TIMEOUT = 0.1


async def start(network: MemoryNetwork, server_id: str, cluster_id: str = "cl") -> Node:
    options = TransportOptions(
        listen=("node:0",), rpc_timeout=TIMEOUT, options={"network": network}
    )
    transport = MemoryTransport(options)
    handler = RecordingHandler(server_id, "", cluster_id)
    await transport.start(handler)
    handler.identify(address=transport.listening[0])
    return Node(transport, handler)


async def pair(network: MemoryNetwork) -> tuple[Node, Node]:
    a, b = await start(network, "a"), await start(network, "b")
    a.meets(b)
    b.meets(a)
    return a, b


def vote(request_id: int = 1) -> RequestVote:
    return RequestVote("a", "b", 1, 0, 0, request_id=request_id)


def test_a_cut_swallows_requests_until_it_heals() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        a, b = await pair(network)
        network.block(a.address, b.address)
        a.transport.send(vote())
        assert a.handler.unreachable == [], "a cut gives no sign at once"
        await until(lambda: a.handler.unreachable == ["b"])
        assert b.handler.requests == []
        network.heal(a.address, b.address)
        a.transport.send(vote(2))
        await until(lambda: a.handler.responses)
        assert a.handler.responses[0].request_id == 2
        assert a.handler.lost == b.handler.lost == []

    asyncio.run(scenario())


def test_a_one_way_cut_lets_requests_through_and_loses_answers() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        a, b = await pair(network)
        network.block(b.address, a.address, both=False)
        a.transport.send(vote())
        await until(lambda: b.handler.requests)
        await until(lambda: a.handler.unreachable == ["b"])
        assert a.handler.responses == []

    asyncio.run(scenario())


def test_healing_one_address_leaves_other_cuts() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        a, b = await pair(network)
        network.block(a.address, b.address)
        network.block("x", "y")
        network.heal("x")
        assert network.cut((a.address,), (b.address,))
        assert not network.cut(("x",), ("y",))
        network.heal()
        assert not network.cut((a.address,), (b.address,))

    asyncio.run(scenario())


def test_a_call_into_a_cut_may_have_arrived() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        a, b = await pair(network)
        network.block(a.address, b.address)
        with pytest.raises(Unreachable) as caught:
            await a.transport.call(b.address, peer.DetailsRequest(), 0.05)
        assert caught.value.data["sent"] is True

    asyncio.run(scenario())


def test_a_killed_node_is_missed_at_once_and_does_nothing_more() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        a, b = await pair(network)
        network.kill(b.address)
        network.kill(b.address)
        await until(lambda: a.handler.lost == ["b"])
        a.transport.send(vote())
        assert a.handler.unreachable == ["b"]
        b.transport.send(AppendEntries("b", "a", 1, 0, 0, [Entry(1, 1, 0, b"")], 0))
        await asyncio.sleep(0)
        assert a.handler.requests == []
        assert b.handler.lost == []

    asyncio.run(scenario())


def test_nobody_loses_a_connection_that_never_stood() -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        a, b = await start(network, "a"), await start(network, "b", "another")
        a.meets(b)
        b.meets(a)
        network.sever(a.address, b.address)
        network.kill(b.address)
        await asyncio.sleep(0.01)
        assert a.handler.lost == []

    asyncio.run(scenario())


def test_the_network_is_required() -> None:
    with pytest.raises(ConfigError, match="options\\['network'\\], got None"):
        MemoryTransport(TransportOptions(listen=("node:0",)))


def test_nodes_on_loops_of_their_own_reach_each_other() -> None:
    network, addresses, failures = MemoryNetwork(), dict[str, str](), list[BaseException]()
    met = threading.Barrier(2, timeout=40)

    async def live(own: str, other: str) -> None:
        node = await start(network, own)

        async def hello(_request: Any) -> Any:
            return peer.DetailsReply(own.encode())

        node.handler.on_called = hello
        addresses[own] = node.address
        await until(lambda: other in addresses)
        node.transport.set_peer(other, addresses[other])
        node.transport.send(RequestVote(own, other, 1, 0, 0, request_id=7))
        await until(lambda: node.handler.responses)
        reply = await node.transport.call(addresses[other], peer.DetailsRequest(), 20)
        assert reply == peer.DetailsReply(other.encode())
        await asyncio.to_thread(met.wait)
        await node.transport.stop()

    def run(own: str, other: str) -> None:
        try:
            asyncio.run(live(own, other))
        # The test's thread checks it below.
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=run, args=names) for names in (("a", "b"), ("b", "a"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []


def test_a_node_whose_loop_is_closed_counts_as_gone() -> None:
    network = MemoryNetwork()
    gone = asyncio.run(start(network, "b"))

    async def scenario() -> None:
        a = await start(network, "a")
        a.meets(gone)
        a.transport.send(vote())
        assert a.handler.unreachable == ["b"]
        with pytest.raises(Unreachable) as caught:
            await a.transport.call(gone.address, peer.DetailsRequest(), 1)
        assert caught.value.data["sent"] is False

    asyncio.run(scenario())
