"""A real replica between a store, a transport and a state machine that a test controls.

Driver, writer, applier, snapshotter and core are those of production. Every fact about them goes
into one :class:`Journal` in the order in which it happened, whichever thread it happened on.
The clock stands still unless the test moves it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import count
from types import SimpleNamespace
from typing import Any, TypeVar, cast
from unittest.mock import patch

from braft_core.abc import (
    StorageOptions,
    Transport,
    TransportHandler,
    TransportOptions,
    WriteBatch,
)
from braft_core.config import Settings
from braft_core.errors import BraftError, Stopped
from braft_core.peer import PeerReply, PeerRequest
from braft_core.raft import (
    AppendEntries,
    AppendEntriesResponse,
    Entry,
    EntryType,
    HardState,
    InstallSnapshot,
    Message,
    Request,
    RequestVote,
    Response,
    Role,
    SnapshotMeta,
    TimeoutNow,
)
from braft_core.runtime import clock
from braft_core.runtime.applier import Applier
from braft_core.runtime.initial_state import InitialState
from braft_core.runtime.platform import THREADS
from braft_core.runtime.replica import Replica
from braft_core.runtime.requests import Command, Query
from braft_core.runtime.retry_queue import RetryQueue
from braft_core.runtime.timing import Timing
from braft_core.serializers.msgpack import MsgpackSerializer
from braft_core.services.envelope import encode_command
from braft_core.services.kv import KVService
from braft_core.services.state_machine import StateMachine
from braft_core.storage.memory import MemoryDisk, MemoryStorage
from braft_core.storage.recovery import recover_store
from braft_testing.core_harness import bootstrap_entry, configuration
from braft_testing.processes import PATIENCE
from braft_testing.transport_nodes import answer_to
from tests.contracts.held_store import Gate, HeldStore, Journal

__all__ = [
    "ME",
    "Bench",
    "ScriptedTransport",
    "bootstrapped_disk",
    "entries",
    "errors_of",
    "fresh_snapshot",
    "put",
    "running_replica",
]

_T = TypeVar("_T")
_R = TypeVar("_R", Command, Query)
_SERIALIZER = MsgpackSerializer()
#: The replica under test; its peers are "b" and "c", or none.
ME = "a"


class ScriptedTransport(Transport):
    """Records what leaves; answers requests if it is told to."""

    name = "scripted"

    def __init__(self, journal: Journal) -> None:
        super().__init__(TransportOptions(listen=("a:1",)))
        self._journal = journal
        #: Takes the answers of the peers, given at once; ``None``: they are silent.
        self.answers_to: Callable[[Message], None] | None = None

    async def start(self, handler: TransportHandler) -> None:
        """See the base class."""

    async def stop(self) -> None:
        """See the base class."""

    def set_peer(self, server_id: str, address: str) -> None:
        """See the base class."""

    def remove_peer(self, server_id: str) -> None:
        """See the base class."""

    def send(self, message: Request) -> None:
        """See the base class."""
        self._journal.note("sent", message)
        if self.answers_to is not None:
            answer = answer_to(message)
            answer.request_id = message.request_id
            if isinstance(answer, AppendEntriesResponse):
                answer.lease = True
            asyncio.get_running_loop().call_soon(self.answers_to, answer)

    def reply(self, message: Response) -> None:
        """See the base class."""
        self._journal.note("sent", message)

    def refuse(self, message: Message, error: BraftError) -> None:
        """See the base class."""
        self._journal.note("refused", message)

    async def call(self, address: str, request: PeerRequest, timeout: float) -> PeerReply:
        """See the base class."""
        raise AssertionError("a replica calls nobody")


class _Machine(StateMachine):
    """A state machine that can be held before an entry."""

    def __init__(self, journal: Journal) -> None:
        super().__init__([KVService()], {_SERIALIZER.tag: _SERIALIZER})
        self._journal = journal
        self.gate = Gate()

    def apply(self, entry: Entry) -> Any:
        """See the base class."""
        self.gate.wait()
        outcome = super().apply(entry)
        self._journal.note("applied", entry)
        return outcome

    def restore(self, chunks: Iterable[bytes]) -> None:
        """See the base class."""
        self.gate.wait()
        super().restore(chunks)
        self._journal.note("restored")


def put(value: int) -> bytes:
    """Return a command; each value is another one."""
    return encode_command(_SERIALIZER, "kv", "put", ["m", "k", value])


def bootstrapped_disk(members: str = "abc") -> MemoryDisk:
    """Return the disk of a server that has bootstrapped with these members."""
    disk = MemoryDisk()
    store = MemoryStorage(StorageOptions(None, {"disk": disk}))
    store.open()
    store.write([WriteBatch(HardState(1, ""), entries=[bootstrap_entry(configuration(members))])])
    store.close()
    return disk


class _Clock:
    """The time of a replica, in seconds; it stands still unless the test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0


class Bench:
    """A replica that runs, and what stands around it. Use on the loop."""

    def __init__(
        self, journal: Journal, disk: MemoryDisk, settings: Settings, time: _Clock
    ) -> None:
        self.journal, self.time = journal, time
        self.disk = disk
        self.store = HeldStore(disk, journal)
        self.transport = ScriptedTransport(journal)
        self.machine = _Machine(journal)
        recovery = recover_store(self.store, self.store.open())
        #: From what the replica starts.
        self.stored, self.start_snapshot = recovery.state, recovery.snapshot
        journal.forget()  # the repair is not the replica's
        self.applier = Applier(
            self.machine, "applier-on-the-bench", lambda error: journal.note("fatal", error)
        )
        components = SimpleNamespace(
            settings=settings,
            timing=Timing(full_disk_retry=0.005),
            storage=self.store,
            initial=InitialState(self.store, recovery.state, recovery.snapshot),
            transport=self.transport,
            ports=SimpleNamespace(raft=1),
            server_id=ME,
            platform=THREADS,
        )
        self.retries = RetryQueue(lambda request: self.replica.driver.submit(request), 0.0)
        self.retries.start()
        self.replica = Replica(
            cast("Any", components),
            self.applier,
            forwarder=cast("Any", self),
            retries=self.retries,
            publisher=cast("Any", self),
            admission=cast("Any", self),
            explain=lambda: "",
            on_fatal=lambda error: journal.note("fatal", error),
        )
        self.driver = self.replica.driver
        self.core = self.replica.core
        self.requests: list[Command | Query] = []
        #: Snapshots that were received, by the id of their request.
        self.offered: dict[int, SnapshotMeta] = {}
        #: The entry that a success acknowledges, by the id of its request. None for heartbeats.
        self.acknowledges: dict[int, int] = {}
        #: Requests that the driver gave back for another leader.
        self.forwarded: list[Command | Query] = []
        self.waiting = ""
        self._values, self._numbers = count(1), count(1_000_000)
        self._record_the_core()

    def _record_the_core(self) -> None:
        core, note = self.core, self.journal.note
        poll, persisted = core.poll, core.persisted

        def polled() -> Any:
            ready = poll()
            if ready is not None:
                note("ready", ready)
            return ready

        def was_persisted(number: int) -> None:
            if number:  # maintenance of the store has no number
                note("persisted", number)
            persisted(number)

        core.poll = polled  # type: ignore[method-assign]
        core.persisted = was_persisted  # type: ignore[method-assign]

    # -- what a server would do ----------------------------------------------------------------

    def commands(self, _leader: str, commands: list[Command]) -> None:
        """Take commands for another leader."""
        self.forwarded += commands

    def reads(self, _leader: str, queries: list[Query]) -> None:
        """Take reads for another leader."""
        self.forwarded += queries

    def on_event(self, event: object) -> None:
        """Take an event of the core."""
        self.journal.note("event", event)

    def on_snapshot(self, meta: SnapshotMeta) -> None:
        """Take the news of a snapshot."""
        self.journal.note("snapshot taken", meta)

    @staticmethod
    def admit(_: object, commands: list[Command]) -> tuple[list[Command], list[Command]]:
        """Admit every command."""
        return commands, []

    # -- inputs ----------------------------------------------------------------------------------

    def receive(self, message: Message) -> None:
        """Let a message arrive."""
        if isinstance(message, InstallSnapshot):
            self.offered[message.request_id] = message.meta
        if isinstance(message, AppendEntries) and not message.heartbeat:
            last = message.prev_log_index + len(message.entries)
            self.acknowledges[message.request_id] = last
        self.driver.on_message(message)

    def append(
        self,
        entries: Sequence[Entry] = (),
        *,
        prev: tuple[int, int] = (1, 1),
        term: int = 1,
        commit: int = 0,
        sender: str = "b",
        number: int = 0,
    ) -> None:
        """Let AppendEntries arrive; ``prev`` is index and term of the entry before."""
        number = number or next(self._numbers)
        self.receive(
            AppendEntries(sender, ME, term, *prev, list(entries), commit, request_id=number)
        )

    def request_vote(self, term: int, last: tuple[int, int] = (1, 1), sender: str = "b") -> None:
        """Let RequestVote arrive, as in a transfer: a live leader does not forbid the vote."""
        self.receive(
            RequestVote(sender, ME, term, *last, leadership_transfer=True, request_id=term)
        )

    def command(self, timeout: float = 30.0) -> Command:
        """Submit a command that nobody else has."""
        loop = asyncio.get_running_loop()
        return self._submit(Command(put(next(self._values)), timeout, loop))

    def query(self, timeout: float = 30.0, *, lease: bool = False) -> Query:
        """Submit a read."""
        query = Query("kv", "get", ("m", "k"), timeout, asyncio.get_running_loop())
        query.lease = lease
        return self._submit(query)

    def _submit(self, request: _R) -> _R:
        self.watch(request)
        self.driver.submit(request)
        return request

    def watch(self, request: Command | Query) -> None:
        """Note the answer of a request."""
        self.requests.append(request)
        request.awaitable.add_done_callback(
            lambda future: self.journal.note("answered", (request, _outcome(future)))
        )

    def advance(self, seconds: float) -> None:
        """Let time pass, and the driver see it."""
        self.time.now += seconds
        self.driver.call(lambda: None)

    # -- waiting ---------------------------------------------------------------------------------

    @staticmethod
    async def turn() -> None:
        """Let the loop do everything that waits for no thread."""
        for _ in range(8):
            await asyncio.sleep(0)

    async def settled(self) -> None:
        """Wait until loop, writer and applier have nothing left to do."""
        before = -1
        while before != (before := len(self.journal.facts)):
            await self.turn()
            if not self.writer_ended:
                await self._passed(self.replica.writer.run)
                await self._reported()
            await self._passed_applier()
            await self.turn()

    @property
    def writer_ended(self) -> bool:
        """Whether a failure has ended the writer's thread, or is about to."""
        return bool(self.journal.of("fatal"))

    async def _passed(self, queue: Callable[[Callable[[], None]], None]) -> None:
        loop = asyncio.get_running_loop()
        passed = asyncio.Event()
        queue(lambda: _tell(loop, passed))
        async with asyncio.timeout(PATIENCE):
            while not passed.is_set() and not self.writer_ended:
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await passed.wait()

    async def _reported(self) -> None:
        # The report of a write wakes the driver, also that of the action just passed.
        async with asyncio.timeout(PATIENCE):
            while not self.replica.writer.idle and not self.writer_ended:  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.001)

    async def _passed_applier(self) -> None:
        query = Query("kv", "get", ("m", "k"), PATIENCE, asyncio.get_running_loop())
        self.applier.read(0, [query])
        async with asyncio.timeout(PATIENCE):
            await asyncio.wait([query.awaitable])
        query.awaitable.exception()

    def sent(self, kind: type[_T]) -> list[_T]:
        """Return the messages of a type that have left."""
        return [message for message in self.journal.of("sent") if isinstance(message, kind)]

    async def until_sent(self, kind: type[_T], count: int = 1) -> list[_T]:
        """Wait until so many messages of a type have left."""
        await self.journal.until(lambda: len(self.sent(kind)) >= count, f"{count} {kind.__name__}")
        return self.sent(kind)

    async def until_writing(self, count: int = 1) -> None:
        """Wait until so many writes have begun, and the loop has done what follows from that."""
        begun = self.journal.of
        await self.journal.until(lambda: len(begun("write begins")) >= count, f"write {count}")
        await self.turn()

    async def until_applied(self, index: int) -> None:
        """Wait until an entry is applied."""
        await self.journal.until(
            lambda: any(entry.index >= index for entry in self.journal.of("applied")),
            f"entry {index} is applied",
        )

    async def lead(self) -> None:
        """Win an election of three, in the term after this one; peers answer from then on."""
        self.append(prev=(0, 0), term=self.core.current_term)
        await self.turn()
        self.transport.answers_to = self.receive
        self.receive(TimeoutNow("b", ME, request_id=1))
        await self.journal.until(lambda: self.core.role is Role.LEADER, "the election is won")
        await self.settled()

    # -- the end ---------------------------------------------------------------------------------

    async def stop(self) -> None:
        """End the replica and its applier, as a server does."""
        self.store.release()
        self.machine.gate.open()
        reason = Stopped("the node was stopped")
        self.journal.note("halt")
        self.replica.halt(reason)
        await self.replica.stop()
        await asyncio.to_thread(self.applier.stop, PATIENCE)
        await asyncio.to_thread(self.replica.close, PATIENCE)
        await self.turn()
        self.store.close()


def _tell(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    with suppress(RuntimeError):  # the test has ended
        loop.call_soon_threadsafe(event.set)


def _outcome(future: asyncio.Future[Any]) -> Any:
    return future.exception() or future.result()


@asynccontextmanager
async def running_replica(
    members: str = "abc", disk: MemoryDisk | None = None, **settings: Any
) -> AsyncIterator[Bench]:
    """Run a replica; stop it at the end, and check everything that must hold for any run."""
    from tests.contracts.judge import judge

    threads = set(threading.enumerate())
    time = _Clock()
    with patch.object(clock, "monotonic", lambda: time.now):
        bench = Bench(Journal(), disk or bootstrapped_disk(members), Settings(**settings), time)
        bench.applier.start()
        bench.replica.start()
        try:
            await bench.turn()
            yield bench
        finally:
            await bench.stop()
    judge(bench)
    for thread in set(threading.enumerate()) - threads:
        if _is_ours(thread):
            await asyncio.to_thread(thread.join, PATIENCE)
            assert not thread.is_alive(), f"{thread.name} is left"


def _is_ours(thread: threading.Thread) -> bool:
    # asyncio.to_thread keeps its threads until the loop is closed.
    return not thread.name.startswith("asyncio_")


def entries(first: int, count: int, term: int, value: int = 0) -> list[Entry]:
    """Return commands at consecutive indexes."""
    base = value or 1_000_000 * term
    return [
        Entry(index, term, EntryType.COMMAND, put(base + index))
        for index in range(first, first + count)
    ]


def fresh_snapshot(bench: Bench, index: int, term: int, value: int) -> SnapshotMeta:
    """Store the snapshot of another server in the store of this one, and return it."""
    other = StateMachine([KVService()], {_SERIALIZER.tag: _SERIALIZER})
    other.apply(Entry(index, term, EntryType.COMMAND, put(value)))
    sink = bench.store.snapshots.create(index, term, configuration("abc"), 1)
    for chunk in other.snapshot():
        sink.write(chunk)
    return sink.commit()


def errors_of(requests: Iterable[Command | Query]) -> Iterator[str]:
    """Yield the name of the error of each request, "" for success."""
    for request in requests:
        error = request.awaitable.exception()
        yield type(error).__name__ if error is not None else ""
