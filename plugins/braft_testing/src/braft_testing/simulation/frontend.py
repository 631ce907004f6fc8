"""The client side of a live server: proposals, reads of each consistency, the state machine.

Owns everything between a client's request and its answer that dies with the process. It calls the
core as a driver does, and must not know how messages or batches travel.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

from braft_core.errors import BraftError, NotApplied, Rejected
from braft_core.raft.ready import ReadReady
from braft_core.raft.types import Entry, Role, SnapshotMeta
from braft_core.runtime.applier import ApplyStop
from braft_core.serializers.unsupported import UnsupportedEncoding
from braft_testing.simulation.clock import NodeClock
from braft_testing.simulation.core import Core
from braft_testing.simulation.errors import InvariantBroken
from braft_testing.simulation.history import Kind
from braft_testing.simulation.requests import (
    ClientRequest,
    ClientResponse,
    ReadIndexReply,
    ReadIndexRequest,
)
from braft_testing.simulation.state_machine import query_of

if TYPE_CHECKING:
    from braft_testing.simulation.capability_adapter import CapabilityAdapter
    from braft_testing.simulation.world import World

__all__ = ["Frontend", "Restore"]

#: Start of all wall clocks, nanoseconds since the epoch; each server's own clock is added.
_EPOCH = 1_700_000_000_000_000_000


class Restore(NamedTuple):
    """A received snapshot, in its place among the entries to apply."""

    meta: SnapshotMeta
    contents: bytes


class Frontend:
    """Serves clients during one life of a server. ``send`` takes a destination and a payload."""

    def __init__(
        self, world: World, core: Core, clock: NodeClock, send: Callable[[str, Any], None]
    ) -> None:
        self._world = world
        self._core = core
        self._clock = clock
        self._send = send
        self._proposals: list[ClientRequest] = []
        self._leased: list[tuple[ClientRequest, int]] = []
        #: Clients that wait for the entry at an index, each with the term of the entry.
        self._waiting: dict[int, list[tuple[int, ClientRequest]]] = {}
        #: Reads in progress: what to do with the index, and what was committed when they began.
        self._reads: dict[int, tuple[Callable[[int], None], int]] = {}
        #: Reads that wait until the machine has applied an index.
        self._deferred: list[tuple[int, ClientRequest]] = []
        self._next_read = 1
        self.machine = world.make_machine(core.server_id, clock)
        self.to_apply: deque[Entry | Restore] = deque()
        #: Index and term of the last applied entry.
        self.applied = 0
        self.applied_term = 0
        #: Index and time, by this server's clock, of the last command of its ticker.
        self._ticked_index, self._ticked_at = 0, -inf
        #: Why applying has stopped, or ``None``.
        self.stopped: ApplyStop | None = None
        #: Decides which commands may be appended, if the servers run several versions.
        self.negotiation: CapabilityAdapter | None = None

    @property
    def reads_under_way(self) -> int:
        """How many reads the core has not answered."""
        return len(self._reads)

    # -- writes --------------------------------------------------------------------------

    def asked(self, request: ClientRequest) -> None:
        """Process a client's request."""
        kind = request.operation.kind
        if not kind.is_read:
            self._proposals.append(request)
        elif kind is Kind.STALE:
            self._serve(request)
        elif self._core.role is Role.LEADER and request.lease:
            self._leased.append((request, len(self._world.invariants.committed)))
        elif self._core.role is Role.LEADER or not self._core.leader:
            self._read(lambda index: self._read_answered(request, index))
        else:
            self._send(self._core.leader, ReadIndexRequest(request))

    def propose(self, disk_is_full: bool) -> bool:
        """Propose all waiting commands in one call, as a driver does.

        Return whether there were any.
        """
        if not self._proposals:
            return False
        requests, self._proposals = self._proposals, []
        if self.negotiation is not None and self._core.role is Role.LEADER:
            requests, self._proposals, refused = self.negotiation.admit(requests)
            for request, why in refused:
                self._answer(request, ok=False, outcome=why)
            if not requests:
                return False
        try:
            if disk_is_full:
                raise Rejected("the disk is full")
            first, term = self._core.propose(
                [request.command for request in requests], appended_at=self._wall_clock()
            )
        except (NotApplied, Rejected):
            for request in requests:
                self._answer(request, ok=False)
            return True
        self._world.note_appended(first, term, len(requests))
        for index, request in enumerate(requests, first):
            # Clients of an entry that was truncated here still wait: other servers may hold it.
            self._waiting.setdefault(index, []).append((term, request))
        return True

    def propose_tick(self, disk_is_full: bool) -> bool:
        """Propose what the service's ticker wants as the leader, to this core alone.

        One at a time, or again after two seconds. In the calm there are none, as there are no
        operations of clients: the logs must become equal. Return whether there was anything.
        """
        core, now = self._core, self._clock.local(self._world.scheduler.now)
        waits = self.applied < self._ticked_index and now - self._ticked_at < 2.0
        if core.role is not Role.LEADER or disk_is_full or waits or self._world.calm:
            return False
        since = now - self._ticked_at
        data = self.machine.tick(core.current_term, self._wall_clock(), since)
        if not data:
            return False
        self._ticked_at = now
        try:
            self._ticked_index, term = core.propose([data], appended_at=self._wall_clock())
        except (NotApplied, Rejected):
            return True
        self._world.note_appended(self._ticked_index, term, 1)
        return True

    def _wall_clock(self) -> int:
        return _EPOCH + int(self._clock.wall(self._world.scheduler.now) * 1e9)

    def apply(self) -> None:
        """Apply all that is committed, and answer the clients that wait for it.

        Behind an entry that this server cannot execute it applies nothing, until a snapshot
        replaces it.
        """
        while self.to_apply:
            item = self.to_apply.popleft()
            if isinstance(item, Restore):
                self.restore(item.meta, item.contents)
            elif self.stopped is None:
                self._apply_entry(item)
        self.machine.check()
        self._serve_deferred()

    def _stop(self, stop: ApplyStop) -> None:
        self.stopped = stop
        self._world.note_stop(self._core.server_id, stop)

    def _apply_entry(self, entry: Entry) -> None:
        try:
            outcome = self.machine.apply(entry)
        except UnsupportedEncoding as error:
            self._stop(ApplyStop(entry.index, error.message))
            return
        self.applied, self.applied_term = entry.index, entry.term
        self._world.invariants.state_agreement.check_outcome(
            self._core.server_id, entry.index, outcome
        )
        # Another entry at the index means that the awaited one is certainly lost.
        for term, request in self._waiting.pop(entry.index, ()):
            self._answer(request, ok=term == entry.term, outcome=outcome)

    def restore(self, meta: SnapshotMeta, contents: bytes) -> None:
        """Restore the state from a snapshot. Clients of entries that it covers get no answer."""
        try:
            self.machine.restore_at(meta.index, contents)
        except UnsupportedEncoding as error:
            self._stop(ApplyStop(meta.index, error.message, state_lost=True))
            return
        self.stopped = None
        self.applied, self.applied_term = meta.index, meta.term
        for index in [index for index in self._waiting if index <= meta.index]:
            del self._waiting[index]

    # -- reads ---------------------------------------------------------------------------

    def check_lease(self) -> None:
        """Check that a lease read right now, after a tick, would not be stale.

        :raises InvariantBroken: if it would be.
        """
        index = self._core.lease_read()
        if index >= 0:
            _check_fresh(index, len(self._world.invariants.committed))

    def serve_leased(self) -> bool:
        """Serve the reads for which a lease is sufficient; return whether there were any.

        The clock must be read after the requests arrived.
        """
        if not self._leased:
            return False
        requests, self._leased = self._leased, []
        self._core.tick(self._clock.local(self._world.scheduler.now))
        index = self._core.lease_read()
        for request, committed in requests:
            if index < 0:
                self.asked(request._replace(lease=False))
            else:
                _check_fresh(index, committed)
                self._read_answered(request, index)
        return True

    def _read(self, then: Callable[[int], None]) -> None:
        number, self._next_read = self._next_read, self._next_read + 1
        self._reads[number] = (then, len(self._world.invariants.committed))
        try:
            self._core.read(number)
        except NotApplied:
            del self._reads[number]
            then(-1)

    def read_confirmed(self, read: ReadReady) -> None:
        """Process the core's answer to a read.

        :raises InvariantBroken: if it was answered before, or misses an earlier commit.
        """
        found = self._reads.pop(read.read_id, None)
        if found is None:
            raise InvariantBroken("one answer per read", f"read {read.read_id} again")
        then, committed = found
        if read.index >= 0:
            _check_fresh(read.index, committed)
        then(read.index)

    def _read_answered(self, request: ClientRequest, index: int) -> None:
        if index < 0:
            self._answer(request, ok=False)
        else:
            self._deferred.append((index, request))
            self._serve_deferred()

    def read_index_asked(self, question: ReadIndexRequest, asker: str) -> None:
        """Process a follower's request for a read index."""
        self._read(lambda index: self._send(asker, ReadIndexReply(question.request, index)))

    def read_index_answered(self, answer: ReadIndexReply) -> None:
        """Process the leader's reply to our request."""
        self._read_answered(answer.request, answer.read_index)

    def _serve_deferred(self) -> None:
        if self.stopped is not None:
            refused = [request for index, request in self._deferred if index > self.applied]
            self._deferred = [pair for pair in self._deferred if pair[0] <= self.applied]
            for request in refused:
                self._answer(request, ok=False)
        ready = [request for index, request in self._deferred if index <= self.applied]
        if ready:
            self._deferred = [pair for pair in self._deferred if pair[0] > self.applied]
            for request in ready:
                self._serve(request)

    def _serve(self, request: ClientRequest) -> None:
        if self.stopped is not None and self.stopped.state_lost:
            self._answer(request, ok=False)
            return
        try:
            outcome = self.machine.query(*query_of(request.operation))
        except BraftError as error:
            outcome = error
        self._answer(request, ok=True, outcome=outcome)

    def _answer(self, request: ClientRequest, *, ok: bool, outcome: Any = None) -> None:
        self._send(
            request.client, ClientResponse(request.operation, ok, outcome, self._core.leader)
        )


def _check_fresh(index: int, committed: int) -> None:
    if index < committed:
        raise InvariantBroken(
            "a read sees all earlier commits", f"index {index}, committed {committed}"
        )
