"""Servers for mixed clusters: braft's core and gRPC transport, and a HashiCorp raft process.

A braft server is the core with the real transport and a disk in memory. Calls between braft nodes
beyond Raft (bootstrap, joining, forwarding) have no counterpart in HashiCorp raft. Both kinds run
the same state machine, a list of commands; its snapshots are JSON of base64 texts.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
import shutil
import subprocess
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from braft_core.abc import Identity, SnapshotSink, TransportOptions
from braft_core.local_nodes import free_ports
from braft_core.peer import PeerReply, PeerRequest
from braft_core.raft import Entry, EntryType, HardState, RaftConfig, RaftCore, Role, SnapshotMeta
from braft_core.raft.messages import InstallSnapshot, Message, Request
from braft_core.raft.ready import ConfigurationChanged, Ready
from braft_core.raft.types import Configuration, Server, encode_configuration
from braft_core.storage.memory_snapshots import MemorySnapshots
from braft_core.transport.grpc import GrpcTransport

_SOURCES = Path(__file__).parent / "go"
_CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "braft" / "interop"
_TICK = 0.02
PATIENCE = 30.0


class BareServer:
    """A braft server without a node: core and transport handler."""

    def __init__(self, server_id: str, address: str, entries: Sequence[Entry] = ()) -> None:
        self.identity = Identity(server_id, address, "interop")
        self.applied: list[bytes] = []
        self.snapshots = MemorySnapshots()
        self.received: list[str] = []
        self.transport = GrpcTransport(TransportOptions(listen=(address,), reflection=False))
        self._loop = asyncio.get_running_loop()
        #: Set once it listens. A peer that connects earlier retries only after a second.
        self.listening = asyncio.Event()
        self.core = RaftCore(
            server_id,
            config=RaftConfig(),
            random=random.Random(server_id).random,
            now=self._loop.time(),
            hard_state=HardState(1) if entries else HardState(),
            entries=entries,
        )

    @property
    def id(self) -> str:
        return self.identity.server_id

    @property
    def address(self) -> str:
        return self.identity.address

    @property
    def leads(self) -> bool:
        return self.core.role is Role.LEADER

    async def run(self) -> None:
        """Serve until cancelled."""
        await self.transport.start(self)
        self.listening.set()
        try:
            self._meet(self.core.configuration)
            while True:
                self.core.tick(self._loop.time())
                self.flush()
                await asyncio.sleep(_TICK)
        finally:
            await self.transport.stop()

    def flush(self) -> None:
        """Perform all outputs of the core for the inputs so far."""
        while (ready := self.core.poll()) is not None:
            self._carry_out(ready)

    def _carry_out(self, ready: Ready) -> None:
        for event in ready.events:
            if isinstance(event, ConfigurationChanged):
                self._meet(event.configuration)
        self._send(ready.messages)
        self.core.persisted(ready.number)
        self._send(ready.messages_after_persist)
        if ready.snapshot is not None:
            self.applied = from_json(b"".join(self.snapshots.open(ready.snapshot.id)))
            self.core.applied(ready.snapshot.index)
        self.applied += [e.data for e in ready.committed if e.type == EntryType.COMMAND]
        if ready.committed:
            self.core.applied(ready.committed[-1].index)

    def _send(self, messages: Sequence[Message]) -> None:
        for message in messages:
            if isinstance(message, Request):
                self.transport.send(message)
            else:
                self.transport.reply(message)

    def _meet(self, configuration: Configuration) -> None:
        for server in configuration.servers:
            if server.id != self.id:
                self.transport.set_peer(server.id, server.address)

    def compact(self) -> None:
        """Take a snapshot of everything applied, and drop the entries it covers."""
        at = self.core.last_applied
        term = self.core.log.term_at(at)
        assert term is not None
        sink = self.snapshots.create(at, term, self.core.configuration, 1)
        sink.write(to_json(self.applied))
        self.core.snapshot_taken(sink.commit(), at)

    # The handler methods that the transport calls.

    def on_message(self, message: Message) -> None:
        self.received.append(type(message).__name__)
        self.core.step(message)
        self.flush()

    def on_connection_lost(self, server_id: str) -> None:
        self.core.connection_lost(server_id)

    def on_unreachable(self, server_id: str) -> None:
        self.core.unreachable(server_id)

    async def on_call(self, request: PeerRequest) -> PeerReply:
        raise NotImplementedError(f"no peer makes the call {request!r} here")

    def wants_snapshot(self, message: InstallSnapshot) -> bool:
        return True

    def create_snapshot(self, meta: SnapshotMeta) -> SnapshotSink:
        return self.snapshots.create(
            meta.index, meta.term, meta.configuration, meta.configuration_index, meta.size
        )

    def open_snapshot(self, snapshot_id: str) -> Iterator[bytes]:
        return self.snapshots.open(snapshot_id)

    async def on_apply_log(self, data: bytes) -> bytes:
        raise NotImplementedError("nothing applies through the transport here")

    async def on_details(self) -> dict[str, Any]:
        return {}


class GoServer:
    """A HashiCorp raft process, controlled by lines on its stdin."""

    def __init__(self, process: Process, server_id: str, address: str) -> None:
        self._process = process
        self.id = server_id
        self.address = address

    async def ask(self, *line: str) -> dict[str, Any]:
        """Run one command; fail with the message of the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(" ".join(line).encode() + b"\n")
        async with asyncio.timeout(PATIENCE):
            answer: dict[str, Any] = json.loads(await self._process.stdout.readline())
        assert "error" not in answer, (line, answer)
        return answer

    async def applied(self) -> list[bytes]:
        """Return the commands that its state machine holds."""
        return [base64.b64decode(text) for text in (await self.ask("status"))["applied"]]

    async def leads(self) -> bool:
        """Return whether it is the leader."""
        return bool((await self.ask("status"))["state"] == "Leader")


class Mixed:
    """Starts servers of both kinds, and stops all of them at the end of the test."""

    def __init__(self, binary: Path, group: asyncio.TaskGroup, log: Path) -> None:
        self._binary = binary
        self._group = group
        self._log = log
        self.processes: list[Process] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def braft(self, server_id: str) -> BareServer:
        """Return an empty braft server."""
        return await self._start(BareServer(server_id, new_address()))

    async def bootstrapped(self, server_id: str, *others: GoServer) -> BareServer:
        """Return a braft server whose log begins with a configuration of itself and those."""
        address = new_address()
        members = [(server_id, address), *((other.id, other.address) for other in others)]
        configuration = Configuration(tuple(Server(*member) for member in members))
        first = Entry(1, 1, EntryType.CONFIGURATION, encode_configuration(configuration))
        return await self._start(BareServer(server_id, address, [first]))

    async def _start(self, server: BareServer) -> BareServer:
        self.tasks.append(self._group.create_task(server.run()))
        await server.listening.wait()
        return server

    async def go(self, server_id: str) -> GoServer:
        """Return an empty HashiCorp server."""
        address = new_address()
        with self._log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                self._binary, "-id", server_id, "-address", address,
                stdin=PIPE, stdout=PIPE, stderr=log,
            )  # fmt: skip
        self.processes.append(process)
        return GoServer(process, server_id, address)


def new_address() -> str:
    """Return an address of this machine that nobody listens on."""
    return f"127.0.0.1:{free_ports(1)[0]}"


def to_json(commands: Sequence[bytes]) -> bytes:
    """Return the contents of a snapshot."""
    return json.dumps([base64.b64encode(command).decode() for command in commands]).encode()


def from_json(contents: bytes) -> list[bytes]:
    """Return the commands of a snapshot."""
    return [base64.b64decode(text) for text in json.loads(contents)]


@pytest.fixture(scope="session")
def go_binary() -> Path:
    """Build the peer; skip the test where Go or its modules are missing."""
    go = shutil.which("go") or shutil.which("/usr/local/go/bin/go")
    if go is None:
        pytest.skip("needs Go to build a HashiCorp raft peer")
    _CACHE.mkdir(parents=True, exist_ok=True)
    binary = _CACHE / "peer"
    environment = {**os.environ, "GOPATH": str(_CACHE), "GOTOOLCHAIN": "local"}
    modules = subprocess.run(
        [go, "mod", "download"],
        cwd=_SOURCES, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    if modules.returncode:
        pytest.skip(f"needs access to Go modules: {modules.stderr[-300:]}")
    subprocess.run(
        [go, "build", "-o", binary, "."], cwd=_SOURCES, env=environment, timeout=300, check=True
    )
    return binary


Scenario = Callable[[Mixed], Awaitable[None]]


@asynccontextmanager
async def _cluster(binary: Path, log: Path) -> AsyncIterator[Mixed]:
    async with asyncio.timeout(4 * PATIENCE), asyncio.TaskGroup() as group:
        mixed = Mixed(binary, group, log)
        try:
            yield mixed
        finally:
            for process in mixed.processes:
                if process.returncode is None:
                    process.kill()
                await process.wait()
            for task in mixed.tasks:
                task.cancel()


@pytest.fixture
def play(go_binary: Path, tmp_path: Path) -> Callable[[Scenario], None]:
    """Run a scenario with an empty mixed cluster."""

    def run(scenario: Scenario) -> None:
        async def whole() -> None:
            async with _cluster(go_binary, tmp_path / "go.log") as mixed:
                await scenario(mixed)

        asyncio.run(whole())

    return run
