"""Snapshots in the memory network: faults, and nodes on separate loops."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from braft_core.abc import TransportOptions, TransportTiming
from braft_core.raft.messages import InstallSnapshot, InstallSnapshotResponse
from braft_core.transport.memory import MemoryNetwork, MemoryTransport
from braft_testing.snapshots import pattern, put
from braft_testing.transport import Node, RecordingHandler, until
from braft_testing.transport_snapshots import WatchedSnapshots, transfer_threads

FAILED = InstallSnapshotResponse("b", "a", 0, success=False, request_id=7)
DONE = InstallSnapshotResponse("b", "a", 3, success=True, request_id=7)


async def start(network: MemoryNetwork, server_id: str) -> Node:
    options = TransportOptions(listen=("host:0",), rpc_timeout=0.2, options={"network": network})
    transport = MemoryTransport(options)
    handler = RecordingHandler(server_id, "", "cl")
    handler.snapshots = WatchedSnapshots()
    await transport.start(handler)
    handler.identify(address=transport.listening[0])
    return Node(transport, handler)


async def pair(network: MemoryNetwork) -> tuple[Node, Node]:
    a, b = await start(network, "a"), await start(network, "b")
    a.meets(b)
    b.meets(a)
    return a, b


def events(node: Node) -> list[str]:
    store = node.handler.snapshots
    assert isinstance(store, WatchedSnapshots)
    return store.events


def stalls_after(node: Node, seconds: float) -> None:
    """Make this node abandon transfers that make no progress for so long."""
    timing = TransportTiming(snapshot_stall=seconds)
    node.transport.options = replace(node.transport.options, timing=timing)


def install(node: Node) -> None:
    meta = put(node.handler.snapshots, 5, [pattern(1000)] * 4)
    node.transport.send(InstallSnapshot("a", "b", 3, meta, request_id=7))


def held_back(node: Node) -> threading.Event:
    """Hold the node's second chunk until the returned event is set."""
    go = threading.Event()

    def wait(chunks: Iterator[bytes]) -> Iterator[bytes]:
        yield next(chunks)
        go.wait(40)
        yield from chunks

    store: Any = node.handler.snapshots
    store.reading = wait
    return go


@pytest.mark.parametrize("source", ["a", "b"])
def test_a_cut_in_either_direction_fails(source: str) -> None:
    """The receiver's core handles a snapshot whose answer is lost."""

    async def scenario() -> None:
        network = MemoryNetwork()
        a, b = await pair(network)
        first, second = (a, b) if source == "a" else (b, a)
        network.block(first.address, second.address, both=False)
        install(a)
        await until(lambda: a.handler.responses == [FAILED], "the failure")
        assert len(b.handler.requests) == (source == "b")
        network.heal()
        a.handler.responses.clear()
        install(a)
        await until(lambda: a.handler.responses == [DONE], "the success")
        await a.transport.stop()
        await b.transport.stop()

    asyncio.run(scenario())


@pytest.mark.parametrize("fault", ["cut", "kill a", "kill b", "sever"])
def test_trouble_in_the_middle_leaves_nothing(fault: str) -> None:
    async def scenario() -> None:
        network = MemoryNetwork()
        a, b = await pair(network)
        go = held_back(a)
        install(a)
        await until(lambda: events(b), "the beginning")
        if fault == "cut":
            network.block(a.address, b.address)
        elif fault == "sever":
            network.sever(a.address, b.address)
        else:
            network.kill(a.address if fault == "kill a" else b.address)
        go.set()
        await until(lambda: events(b) == ["begun", "aborted"], "the receiver's end")
        if fault != "kill a":
            await until(lambda: a.handler.responses == [FAILED], "the failure")
        assert b.handler.requests == []
        await a.transport.stop()
        await b.transport.stop()
        assert a.handler.responses == ([] if fault == "kill a" else [FAILED])
        await until(lambda: not transfer_threads(), "no thread is left")

    asyncio.run(scenario())


def test_a_transfer_that_stands_still_fails() -> None:
    async def scenario() -> None:
        a, b = await pair(MemoryNetwork())
        stalls_after(a, 0.1)
        go = held_back(a)
        # On a busy machine a transfer may stall before the receiver's thread has begun it.
        while not events(b):
            a.handler.responses.clear()
            install(a)
            await until(lambda: a.handler.responses == [FAILED], "the failure")
        go.set()
        await until(
            lambda: events(b).count("begun") == events(b).count("aborted"), "the receiver's end"
        )
        assert set(events(b)) == {"begun", "aborted"}
        await a.transport.stop()
        await b.transport.stop()

    asyncio.run(scenario())


def test_nodes_on_loops_of_their_own() -> None:
    network = MemoryNetwork()
    up, over = threading.Event(), threading.Event()
    found: list[Node] = []

    async def other() -> None:
        node = await start(network, "b")
        found.append(node)
        up.set()
        await asyncio.get_running_loop().run_in_executor(None, over.wait, 60)
        # The loop ends without a stop, as if the thread had died.

    thread = threading.Thread(target=lambda: asyncio.run(other()))
    thread.start()

    async def scenario() -> None:
        a = await start(network, "a")
        await asyncio.get_running_loop().run_in_executor(None, up.wait, 40)
        a.meets(found[0])
        install(a)
        await until(lambda: a.handler.responses == [DONE], "the success")
        assert events(found[0]) == ["begun", "committed"]
        over.set()
        await asyncio.get_running_loop().run_in_executor(None, thread.join)
        a.handler.responses.clear()
        stalls_after(a, 0.2)
        install(a)
        await until(lambda: a.handler.responses == [FAILED], "the failure")
        await a.transport.stop()

    asyncio.run(scenario())
