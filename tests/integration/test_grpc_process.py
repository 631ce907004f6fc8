"""gRPC links between real processes: a killed peer is noticed and found again at once."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from braft_core.abc import TransportOptions, TransportTiming
from braft_core.raft.messages import AppendEntries
from braft_core.raft.types import Entry
from braft_core.transport.grpc import GrpcTransport
from braft_testing.processes import HOST, free_ports
from braft_testing.transport import Node, RecordingHandler, until
from braft_testing.transport_nodes import prompt

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]

CHILD = """
import asyncio, sys
from braft_core.abc import TransportOptions
from braft_testing.transport import RecordingHandler
from braft_core.transport.grpc import GrpcTransport

async def main(listen, parent):
    transport = GrpcTransport(TransportOptions(listen=(listen,)))
    handler = RecordingHandler("child", "", "cl")
    handler.transport = transport
    await transport.start(handler)
    handler.identify(address=transport.listening[0])
    transport.set_peer("parent", parent)
    print(transport.listening[0], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    await transport.stop()

asyncio.run(main(*sys.argv[1:]))
"""


class Child:
    """A node in a child process."""

    def __init__(self, process: asyncio.subprocess.Process, address: str) -> None:
        self.process = process
        self.address = address

    @classmethod
    async def start(cls, parent: str, listen: str = "127.0.0.1:0") -> Child:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            CHILD,
            listen,
            parent,
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        async with asyncio.timeout(40):
            address = (await process.stdout.readline()).decode().strip()
        return cls(process, address)

    async def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()

    async def leave(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        async with asyncio.timeout(40):
            await self.process.wait()


class Parent(Node):
    """The node in the test's process."""

    index = 0

    @classmethod
    async def start(cls, **options: Any) -> Parent:
        transport = GrpcTransport(TransportOptions(listen=("127.0.0.1:0",), **options))
        handler = RecordingHandler("parent", "", "cl")
        await transport.start(handler)
        handler.identify(address=transport.listening[0])
        return cls(transport, handler)

    async def exchange(self) -> None:
        """Send entries until a response comes."""
        self.handler.responses.clear()

        def act() -> object:
            self.index += 1
            entries = [Entry(self.index, 1, 0, b"x")]
            message = AppendEntries("parent", "child", 1, self.index - 1, 1, entries, 0, self.index)
            self.transport.send(message)
            return self.handler.responses

        await until(act)

    def finds_nobody(self) -> object:
        """Send a heartbeat; return whether one was dropped."""
        self.transport.send(AppendEntries("parent", "child", 1, 0, 0, [], 0))
        return self.handler.unreachable


def test_a_killed_process_is_missed_and_found_again() -> None:
    # Too long to wait for: the peer's own connection makes us reconnect earlier.
    timing = TransportTiming(reconnect_min=60.0, reconnect_max=60.0)

    async def scenario() -> None:
        parent = await Parent.start(timing=timing)
        # It restarts at the same port, which no other connection may take meanwhile.
        child = await Child.start(parent.address, f"{HOST}:{free_ports(1)[0]}")
        try:
            parent.transport.set_peer("child", child.address)
            await parent.exchange()
            child.process.kill()
            # Nothing is sent, so the broken connection alone reveals the death.
            await until(lambda: parent.handler.lost)
            await child.process.wait()
            child = await Child.start(parent.address, child.address)
            await parent.exchange()
        finally:
            await parent.transport.stop()
            await child.kill()

    asyncio.run(scenario())


def test_a_process_that_stops_orderly_is_not_reported_as_lost() -> None:
    async def scenario() -> None:
        parent = await Parent.start()
        child = await Child.start(parent.address)
        try:
            parent.transport.set_peer("child", child.address)
            await parent.exchange()
            await child.leave()
            await until(parent.finds_nobody)
            assert parent.handler.lost == []
            assert child.process.returncode == 0
        finally:
            await parent.transport.stop()
            await child.kill()

    asyncio.run(scenario())


def test_a_frozen_process_is_reported_and_reconnected_when_it_resumes() -> None:
    async def scenario() -> None:
        parent = await Parent.start(rpc_timeout=0.3)
        child = await Child.start(parent.address)
        try:
            parent.transport.set_peer("child", child.address)
            await parent.exchange()
            parent.handler.unreachable.clear()
            child.process.send_signal(signal.SIGSTOP)
            parent.transport.send(
                AppendEntries("parent", "child", 1, 98, 1, [Entry(99, 1, 0, b"")], 0)
            )
            await until(lambda: parent.handler.unreachable)
            assert set(parent.handler.unreachable) == {"child"}
            begun = asyncio.get_running_loop().time()
            await parent.transport.stop()
            assert asyncio.get_running_loop().time() - begun < prompt()
            parent = await Parent.start(rpc_timeout=0.3)
            parent.transport.set_peer("child", child.address)
            child.process.send_signal(signal.SIGCONT)
            await parent.exchange()
        finally:
            await parent.transport.stop()
            await child.kill()

    asyncio.run(scenario())
