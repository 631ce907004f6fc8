"""The driver: the one owner of the consensus core.

Everything that happens is put into an inbox; one wake-up on the loop serves all of it: the time,
messages, proposals, reads, then one ``Ready`` at a time until nothing follows any more. The
driver keeps the persistence contract of :mod:`braft_core.raft.ready`: it sends what may leave at
once, gives the write to the writer thread and sends the rest when that is durable.
Knows nothing of how peers are found, and never blocks.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from math import inf

from braft_core.abc import Transport, WriteBatch
from braft_core.errors import (
    BraftError,
    Busy,
    InvariantViolation,
    NoLeader,
    NotLeader,
    OutcomeUnknown,
    ProtocolViolation,
    Stopped,
    StorageError,
    StorageFull,
)
from braft_core.raft import (
    AppendEntries,
    Configuration,
    Event,
    InstallSnapshot,
    Message,
    RaftCore,
    Ready,
    RequestPreVote,
    RequestVote,
    Role,
    SnapshotMeta,
    TimeoutNow,
)
from braft_core.runtime import clock
from braft_core.runtime.applier import Applier
from braft_core.runtime.pending import PendingProposals
from braft_core.runtime.protocol_violations import ProtocolViolations
from braft_core.runtime.requests import Command, IndexQuery, LocalCommand, Query, Request, settle
from braft_core.runtime.staleness import StalenessBound
from braft_core.runtime.timing import Timing
from braft_core.runtime.writer import Writer, WriterReport, as_storage_error

__all__ = ["Driver"]

_log = logging.getLogger(__name__)
_REQUESTS = (AppendEntries, RequestVote, RequestPreVote, TimeoutNow, InstallSnapshot)


class Driver:
    """Everything but :meth:`submit`, :meth:`call_soon` and the views is for the loop's thread.

    :param forward: takes commands for another leader: ``forward(leader_id, commands)``.
    :param retry: takes commands that were replaced before they were committed.
    :param read_remote: asks another leader for a read index on behalf of these queries.
    :param on_event: receives the core's events in order.
    :param on_restore: restores a received snapshot, before whatever is applied next.
    :param on_refused: deletes a received snapshot that the core rejected.
    :param compact: names a snapshot in the store, and forgets entries up to an index and its term;
        on the writer thread.
    :param on_named: called once a received snapshot is durably named; on the writer thread.
    :param on_fatal: the node cannot go on; called once.
    :param explain: returns why there is no leader.
    :param admit: answers the commands that a member could not execute; returns the commands to
        append, and those that wait for the members to agree.
    :param staleness: observes the leader's messages and bounds the age of the state.
    """

    def __init__(
        self,
        core: RaftCore,
        transport: Transport,
        applier: Applier,
        *,
        forward: Callable[[str, list[Command]], None],
        retry: Callable[[Sequence[Command]], None],
        read_remote: Callable[[str, list[Query]], None],
        on_event: Callable[[Event], None],
        on_restore: Callable[[SnapshotMeta], None],
        on_refused: Callable[[SnapshotMeta], None],
        compact: Callable[[SnapshotMeta, int, int], None],
        on_named: Callable[[SnapshotMeta], None],
        on_fatal: Callable[[BaseException], None],
        explain: Callable[[], str],
        admit: Callable[[Configuration, list[Command]], tuple[list[Command], list[Command]]],
        staleness: StalenessBound,
        timing: Timing,
    ) -> None:
        self.core = core
        self._transport = transport
        self._applier = applier
        self._forward = forward
        self._retry = retry
        self._read_remote = read_remote
        self._on_event = on_event
        self._on_restore = on_restore
        self._on_refused = on_refused
        self._compact = compact
        self._on_named = on_named
        self._on_fatal = on_fatal
        self._explain = explain
        self.admit = admit
        self.loop = asyncio.get_running_loop()
        self._writer: Writer | None = None
        self._inbox: deque[Message] = deque()
        self._calls: deque[tuple[Callable[[], None], Request | None]] = deque()
        self._requests: deque[Command | Query] = deque()
        self._commands: list[Command] = []
        self._queries: list[Query] = []
        self._pending = PendingProposals()
        self._reads: dict[int, list[Query]] = {}
        self._next_read = 1
        self._awake = False
        self._halted = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = inf
        self._sweep_at = 0.0
        self._staleness = staleness
        self._sweep_interval = timing.deadline_sweep
        #: Messages of peers that broke a rule of the protocol.
        self.violations = ProtocolViolations(timing)
        #: What is wrong with the disk, or None. Meanwhile new commands are rejected.
        self.disk_trouble: StorageError | None = None
        #: When a core that leads on was last found to have a majority, monotonic seconds.
        self.checked_at = -inf
        #: Seconds the last durable write took.
        self.last_write_seconds = 0.0

    def start(self, writer: Writer) -> None:
        """Begin to run the core."""
        self._writer = writer
        self._wake()

    # -- inputs ----------------------------------------------------------------------------

    def submit(self, request: Command | Query) -> None:
        """Take a caller's request. From any thread; the answer comes by its future."""
        self._requests.append(request)
        if not self._awake:
            try:
                self._awake = True
                self.loop.call_soon_threadsafe(self._run)
            except RuntimeError:
                settle([(request, Stopped("the node was stopped"))])
            except BaseException:
                # Ctrl-C between the two lines: the next request must wake the loop.
                self._awake = False
                raise

    def on_message(self, message: Message) -> None:
        """Handle a Raft message; ignored after :meth:`halt`."""
        if not self._halted:
            self._inbox.append(message)
            self._wake()

    def call(self, action: Callable[[], None], waits: Request | None = None) -> None:
        """Queue ``action`` as a core input.

        :param waits: settled with ``Stopped`` if the driver halts first.
        """
        self._calls.append((action, waits))
        self._wake()

    def wait_applied(self, first: int, term: int, requests: list[Request]) -> None:
        """Settle ``requests`` when the entries from ``first`` on are applied, or replaced."""
        self._pending.add(first, term, requests)

    def _wake(self) -> None:
        if not self._awake:
            self._awake = True
            self.loop.call_soon(self._run)

    # -- the turn --------------------------------------------------------------------------

    def _run(self) -> None:
        self._awake = False
        if self._halted:
            self._refuse_all(Stopped("the node was stopped"))
            return
        try:
            self._turn()
        except Exception as error:  # noqa: BLE001 - a core in an unknown state must not go on
            self.halt(Stopped(f"the node stopped: {error}"))
            self._on_fatal(error)

    def _turn(self) -> None:
        core = self.core
        now = clock.monotonic()
        core.tick(now)
        while self._inbox:
            message = self._inbox.popleft()
            try:
                core.step(message)
            except ProtocolViolation as violation:
                self.violations.note(violation, now)
                if isinstance(message, InstallSnapshot):
                    self._check_taken(message.meta)
                self._transport.refuse(message, violation)
                continue
            if isinstance(message, AppendEntries):
                self._staleness.observe_append(core, message, self._applier.applied_index)
            elif isinstance(message, InstallSnapshot):
                self._check_taken(message.meta)
        while self._calls:
            self._calls.popleft()[0]()
        self._take_requests()
        self._place_waiting()
        while (ready := core.poll()) is not None:
            self._handle(ready)
            if self._commands or self._queries:
                self._place_waiting()
        self._staleness.observe_leadership(core, now, self._applier.applied_index)
        self.checked_at = now
        if now >= self._sweep_at:
            self._sweep(now)
        self._arm_timer()

    @property
    def staleness(self) -> float:
        """How old the state of this node may be, seconds; infinity if unknown. Any thread."""
        return self._staleness.seconds(clock.monotonic(), self._applier.applied_index)

    def _take_requests(self) -> None:
        while self._requests:
            request = self._requests.popleft()
            if isinstance(request, Command):
                self._commands.append(request)
            else:
                self._queries.append(request)

    def _place_waiting(self) -> None:
        """Hand requests to the leader: the core here, or the node that it follows."""
        if self._commands:
            if self.core.role is Role.LEADER:
                self._propose()
            elif self.core.leader:
                commands, self._commands = self._commands, []
                self._forward(self.core.leader, commands)
        if self._queries:
            if self.core.role is Role.LEADER:
                self._serve_leased()
                self._start_read()
            elif self.core.leader:
                queries, self._queries = self._queries, []
                self._read_remote(self.core.leader, queries)

    def _propose(self) -> None:
        commands, self._commands = self._commands, []
        commands, self._commands = self.admit(self.core.configuration, commands)
        if commands:
            self.append(commands)

    def append(self, commands: list[Command]) -> None:
        """Append admitted commands to this leader's log, within an input of the core."""
        if self.disk_trouble is not None:
            answer = Busy(f"no commands are taken: {self.disk_trouble.message}")
            settle((command, answer) for command in commands)
            return
        try:
            first, term = self.core.propose(
                [command.data for command in commands], appended_at=clock.wall_ns()
            )
        except (Busy, NotLeader) as error:
            settle((command, error) for command in commands)
            return
        for command in commands:
            command.sent = True
        self._pending.add(first, term, list(commands))

    def _serve_leased(self) -> None:
        """Serve what the leader's lease is good enough for."""
        if not any(query.lease for query in self._queries):
            return
        # The time must be younger than the reads: see RaftCore.lease_read.
        self.core.tick(clock.monotonic())
        index = self.core.lease_read() if self.core.role is Role.LEADER else -1
        if index >= 0:
            leased = [query for query in self._queries if query.lease]
            self._queries = [query for query in self._queries if not query.lease]
            self.serve(index, leased)

    def _start_read(self) -> None:
        if not self._queries or self.core.role is not Role.LEADER:
            return
        read_id, self._next_read = self._next_read, self._next_read + 1
        self._reads[read_id], self._queries = self._queries, []
        self.core.read(read_id)

    # -- consequences ----------------------------------------------------------------------

    def _handle(self, ready: Ready) -> None:
        for event in ready.events:
            self._on_event(event)
        self._send(ready.messages)
        if ready.snapshot is not None:
            self._restore(ready.snapshot)
        self._persist(ready)
        if ready.committed:
            segments, lost = self._pending.take(ready.committed)
            self._applier.apply(ready.committed, segments)
            if lost:
                self._lost(lost)
        for read_id, index in ready.reads:
            queries = self._reads.pop(read_id)
            if index < 0:
                self._queries.extend(queries)
            else:
                self.serve(index, queries)

    def serve(self, index: int, queries: list[Query]) -> None:
        """Serve reads that were confirmed at ``index``, here or by the leader."""
        remote = [query for query in queries if isinstance(query, IndexQuery)]
        if remote:
            settle((query, index) for query in remote)
            queries = [query for query in queries if not isinstance(query, IndexQuery)]
        if queries:
            self._applier.read(index, queries)

    def _restore(self, meta: SnapshotMeta) -> None:
        """Install a snapshot; proposals it covers have an unknown outcome."""
        covered = self._pending.covered_by_snapshot(meta.index)
        unknown = _unknown("this node was brought up to date by a snapshot")
        settle((request, unknown) for request in covered)
        self._on_restore(meta)

    def _check_taken(self, meta: SnapshotMeta) -> None:
        """Delete a received snapshot that the core does not use."""
        used = self.core.snapshot
        if meta.id and (used is None or used.id != meta.id):
            self._on_refused(meta)

    async def snapshot_taken(self, meta: SnapshotMeta, compact_to: int) -> int:
        """Name a durable snapshot of ours, compact the log, and return the compacted index."""
        request = Request(inf, self.loop)

        def act() -> None:
            core, writer = self.core, self._writer
            core.applied(self._applier.applied_index)
            index = core.snapshot_taken(meta, compact_to)
            term = core.log.compacted_term
            # A higher index comes from a received snapshot whose reset is not written yet.
            if writer is not None and index <= meta.index:
                writer.run(lambda: self._name(meta, index, term, request))
            else:
                # settle() tolerates a cancelled future; setting it directly would end the node.
                settle([(request, index)])

        self.call(act, request)
        return int(await request.awaitable)

    def _name(self, meta: SnapshotMeta, index: int, term: int, request: Request) -> None:
        """Name a snapshot, then compact the log behind it. Writer thread."""
        try:
            self._compact(meta, index, term)
        except Exception as error:
            settle([(request, as_storage_error(error))])
            raise
        settle([(request, index)])

    def _lost(self, requests: list[Request]) -> None:
        """Propose replaced requests again: they were not applied."""
        now = clock.monotonic()
        again, refused = [], []
        for request in requests:
            stays = isinstance(request, LocalCommand)
            if isinstance(request, Command) and not stays and request.deadline > now:
                again.append(request)
            else:
                refused.append(request)
        self._retry(again)
        error = NotLeader("the leader was deposed before it was committed")
        settle((request, error) for request in refused)

    def _persist(self, ready: Ready) -> None:
        writer = self._writer
        if writer is None:
            raise InvariantViolation("the driver was woken before it was started")
        if not ready.must_persist and writer.idle:
            self._send(ready.messages_after_persist)
            self.core.persisted(ready.number)
            return
        batch = None
        if ready.must_persist:
            batch = WriteBatch(ready.hard_state, ready.truncate_from, entries=ready.entries)
            if ready.snapshot is not None:
                batch.reset = (ready.snapshot.index, ready.snapshot.term)
                batch.snapshot = ready.snapshot
        writer.submit(ready.number, batch, ready.messages_after_persist)
        if (taken := ready.snapshot) is not None:
            writer.run(lambda: self._on_named(taken))

    def on_durable(self, report: WriterReport) -> None:
        """Handle the end of a write. Called on the loop."""
        if self._halted:
            return
        self.last_write_seconds = report.seconds
        self._send(report.messages)
        self.call(lambda: self.core.persisted(report.number))

    def on_disk_trouble(self, error: StorageError | None) -> None:
        """Handle a failure of the disk, or its end (``None``). Called on the loop."""
        self.disk_trouble = error
        if error is not None and not isinstance(error, StorageFull) and not self._halted:
            self.halt(Stopped(f"the node stopped: {error}"))
            self._on_fatal(error)

    def _send(self, messages: list[Message]) -> None:
        transport = self._transport
        for message in messages:
            if isinstance(message, _REQUESTS):
                transport.send(message)
            else:
                transport.reply(message)

    # -- time ------------------------------------------------------------------------------

    def _arm_timer(self) -> None:
        due = self.core.next_deadline()
        if self._sweep_at < min(due, self._timer_at) and self._requests_wait:
            due = self._sweep_at
        if due < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = due
            wait = max(0.0, due - clock.monotonic())
            self._timer = self.loop.call_later(wait, self._on_timer)

    def _on_timer(self) -> None:
        self._timer, self._timer_at = None, inf
        self._wake()

    @property
    def _requests_wait(self) -> bool:
        return bool(self._commands or self._queries or self._pending or self._reads)

    def _sweep(self, now: float) -> None:
        """Settle requests whose deadline has passed: not served, or outcome unknown."""
        self._sweep_at = now + self._sweep_interval
        settle((request, _unknown()) for request in self._pending.expire(now))
        late = [request for request in (*self._commands, *self._queries) if request.deadline <= now]
        if late:
            self._commands = [c for c in self._commands if c.deadline > now]
            self._queries = [q for q in self._queries if q.deadline > now]
            why = self._explain() or "the leader did not answer"
            answer = NoLeader(f"not served in time: {why}")
            settle((request, answer) for request in late)
        for read_id, queries in self._reads.items():
            expired = [query for query in queries if query.deadline <= now]
            if expired:
                self._reads[read_id] = [query for query in queries if query.deadline > now]
                unconfirmed = NoLeader("the leader could not confirm in time that it still leads")
                settle((query, unconfirmed) for query in expired)

    # -- the end ---------------------------------------------------------------------------

    @property
    def has_undecided(self) -> bool:
        """Whether commands that were appended here are not committed yet."""
        return any(not request.future.done() for request in self._pending.undecided())

    def release(self) -> list[Command | Query]:
        """Return the requests that were not proposed or forwarded yet."""
        self._take_requests()
        waiting: list[Command | Query] = [*self._commands, *self._queries]
        self._commands, self._queries = [], []
        return waiting

    def halt(self, reason: BraftError) -> None:
        """Stop using the core; settle all requests. Idempotent."""
        self._halted = True
        if self._timer is not None:
            self._timer.cancel()
        pending = self._pending.drain()
        settle((request, _unknown(reason.message)) for request in pending)
        self._refuse_all(reason)

    def _refuse_all(self, reason: BraftError) -> None:
        self._take_requests()
        waiting: list[Request] = [*self._commands, *self._queries]
        for queries in self._reads.values():
            waiting.extend(queries)
        waiting.extend(request for _, request in self._calls if request is not None)
        self._commands, self._queries = [], []
        self._calls.clear()
        self._reads.clear()
        settle((request, reason) for request in waiting)


def _unknown(why: str = "it was not committed before the deadline") -> OutcomeUnknown:
    return OutcomeUnknown(f"the outcome is unknown: {why}; the command may still take effect")
