"""Compare all instances of a service under test.

Owns the comparison of all instances that applied the same entries: servers, restarted servers with
a snapshot, and an additional copy that restores every stored snapshot. The answer and state of the
first instance after an entry are what all others must have.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

from braft_core.errors import BraftError, UnknownCommand, UnknownService
from braft_core.raft.types import Entry, EntryType, SnapshotMeta
from braft_core.services.envelope import (
    IN_SESSION,
    decode_command,
    decode_outcome,
    decode_session_stamp,
    encode_command,
)
from braft_core.services.state_machine import Outcome
from braft_testing.simulation.clock import NodeClock
from braft_testing.simulation.errors import InvariantBroken
from braft_testing.simulation.history import Call, History
from braft_testing.simulation.history import Outcome as ClientOutcome
from braft_testing.simulation.service_under_test import (
    AppliedCommand,
    ServiceUnderTest,
    Timeline,
    contrast,
    encoded,
    shown,
    shown_state,
    watch,
)
from braft_testing.simulation.state_machine import SERIALIZER, SimulatedMachine

__all__ = ["Record", "Replica", "Replicas", "describe_command"]

_ONCE = "session exactly-once"
_RESTORED = "a restored service behaves like the others"
#: Seconds by which the copy's clock is ahead of the servers' clocks: more than a year.
_AHEAD = 4e7


class Record(NamedTuple):
    """The first instance's answer and state for an entry, its name, and the virtual time."""

    answer: bytes
    state: bytes
    who: str
    at: float


class Replica(SimulatedMachine):
    """A state machine whose one service is under test."""

    def __init__(self, replicas: Replicas, owner: str, clock: Callable[[], float]) -> None:
        self._replicas, self._owner = replicas, owner
        self.watched = watch(replicas.under_test, clock)
        #: Index of the snapshot it was last restored from, 0 for none.
        self.restored = 0
        super().__init__([self.watched])
        replicas.begun(self)

    @property
    def who(self) -> str:
        """Its name in a report."""
        since = f" (restored from a snapshot at entry {self.restored})" if self.restored else ""
        return self._owner + since

    def apply(self, entry: Entry) -> Outcome:
        """Apply an entry and compare.

        :raises InvariantBroken: if another instance had another answer or state.
        """
        executed = self.watched.executed
        outcome = super().apply(entry)
        self.check()
        self._replicas.applied(self, entry, outcome, executed=self.watched.executed > executed)
        return outcome

    def query(self, service: str, query: str, args: Sequence[object]) -> object:
        """Answer a query.

        :raises InvariantBroken: if it changed something.
        """
        try:
            return super().query(service, query, args)
        finally:
            self.check()

    def check(self) -> None:
        """Check as :meth:`SimulatedMachine.check`."""
        if self.watched.violation is not None:
            raise self.watched.violation

    def tick(self, term: int, wall_ns: int, since: float) -> bytes:
        """See :meth:`SimulatedMachine.tick`."""
        under_test = self._replicas.under_test
        if under_test.ticker is None:
            return b""
        call = under_test.ticker(self.watched.inner, term, wall_ns, since)
        return b"" if call is None else encode_command(SERIALIZER, under_test.name, *call)

    def restore_at(self, index: int, contents: bytes) -> None:
        """Restore the state from a snapshot, and compare.

        :raises InvariantBroken: if it is not the state that the others had there.
        """
        super().restore_at(index, contents)
        held, self.restored = self.restored, index
        self._replicas.restored(self, index, used=bool(held or self.watched.executed))

    def capture(self) -> bytes:
        """Return the state for comparison."""
        if self._replicas.under_test.state is None:
            return super().capture()
        return self.watched.state


class Replicas:
    """The checks of all instances in one run. Methods raise :class:`InvariantBroken`."""

    def __init__(
        self,
        under_test: ServiceUnderTest,
        committed: Sequence[Entry],
        rng: random.Random,
        now: Callable[[], float],
    ) -> None:
        self.under_test = under_test
        self._committed = committed
        self._rng = rng
        self._now = now
        self._first = b""
        #: By the index of the entry.
        self.records: dict[int, Record] = {}
        #: When the entry at an index of a term was appended, virtual seconds.
        self.appended: dict[tuple[int, int], float] = {}
        #: Index at which a command of a session took effect, by session and number in it. For the
        #: commands of tickers the session is empty and the number the index.
        self.executed: dict[tuple[bytes, int], int] = {}
        self._copy: Replica | None = None
        #: Index of the last entry that the copy applied.
        self._copied = 0

    def replica(self, owner: str, clock: Callable[[], float]) -> Replica:
        """Create an instance for a server whose clock shows ``clock()`` seconds."""
        return Replica(self, owner, clock)

    def _new_copy(self) -> Replica:
        return Replica(self, "a copy", lambda: _AHEAD + self._now())

    # -- instances ---------------------------------------------------------------------------

    def begun(self, replica: Replica) -> None:
        """Check a new instance."""
        self._first = self._first or replica.watched.state
        if self._first != replica.watched.state:
            states = contrast(shown_state(replica.watched.state), shown_state(self._first))
            raise InvariantBroken(
                "equal commands give equal states",
                f"a new instance begins with {states[0]}, another one with {states[1]}",
            )
        self.under_test.check_invariant(replica.watched.inner, "of a new instance")

    def applied(self, replica: Replica, entry: Entry, outcome: Outcome, *, executed: bool) -> None:
        """Check an applied entry; ``executed`` says whether the service executed a command."""
        if isinstance(outcome, UnknownCommand | UnknownService):
            raise InvariantBroken(
                "operations() returns only commands and queries of the service", outcome.message
            )
        record = Record(encoded(outcome), replica.watched.state, replica.who, self._now())
        first = self.records.setdefault(entry.index, record)
        if record.answer != first.answer:
            self._differs(replica, entry, "answers", record, first)
        if record.state != first.state:
            self._differs(replica, entry, "states", record, first)
        if executed:
            self._check_once(replica, entry)
            when = f"after {describe_command(entry)} on {replica.who}"
            self.under_test.check_invariant(replica.watched.inner, when)

    def _differs(
        self, replica: Replica, entry: Entry, what: str, mine: Record, first: Record
    ) -> None:
        rule = _RESTORED if replica.restored else f"equal commands give equal {what}"
        pair = (mine, first) if replica.restored else (first, mine)
        if what == "answers":
            texts = contrast(*(shown(record.answer) for record in pair))
            verb = "answers"
        else:
            texts = contrast(*(shown_state(record.state) for record in pair))
            verb = "has the state"
        raise InvariantBroken(
            rule,
            f"{describe_command(entry)}: {pair[0].who} {verb} {texts[0]},"
            f" {pair[1].who} {verb} {texts[1]}",
        )

    def _check_once(self, replica: Replica, entry: Entry) -> None:
        if not entry.data[0] & IN_SESSION:
            self.executed[b"", entry.index] = entry.index
            return
        session, number, _ = decode_session_stamp(entry.data)
        first = self.executed.setdefault((session, number), entry.index)
        if first != entry.index:
            raise InvariantBroken(
                _ONCE,
                f"{describe_command(entry)} took effect on {replica.who},"
                f" and at entry {first} before",
            )

    # -- snapshots ---------------------------------------------------------------------------

    def restored(self, replica: Replica, index: int, *, used: bool) -> None:
        """Check an instance that was restored from the snapshot of a prefix."""
        first = self.records[index]
        state = replica.watched.state
        if state != first.state:
            held = "an instance that held another state" if used else "a new instance"
            texts = contrast(shown_state(state), shown_state(first.state))
            raise InvariantBroken(
                "a snapshot holds the state at its index",
                f"the snapshot at entry {index}, restored over {held}, gives {texts[0]}; after"
                f" {describe_command(self._committed[index - 1])} {first.who} had {texts[1]}",
            )
        self.under_test.check_invariant(
            replica.watched.inner, f"after a restore from the snapshot at entry {index}"
        )

    def placed(self, meta: SnapshotMeta, contents: bytes) -> None:
        """Restore a stored snapshot in the copy, over its present state or in a new instance.

        The copy's present state may be newer, so that incomplete restores are found.
        """
        copy = self._catch_up()
        if self._rng.random() < 0.5:
            copy = self._copy = self._new_copy()
        copy.restore_at(meta.index, contents)
        self._copied = meta.index
        self._catch_up()

    def _catch_up(self) -> Replica:
        """Return the copy, after all that is committed."""
        copy = self._copy = self._copy or self._new_copy()
        for entry in self._committed[self._copied :]:
            copy.apply(entry)
            self._copied = entry.index
        return copy

    # -- the end -----------------------------------------------------------------------------

    def finish(self, history: History) -> None:
        """Check at the end that the copy agrees, and that rejected commands had no effect."""
        self._catch_up()
        for operation in history.operations:
            if operation.outcome is ClientOutcome.FAILED and operation.place in self.executed:
                raise InvariantBroken(
                    _ONCE, f"{operation} was refused, and took effect all the same"
                )

    def answer_to(self, place: tuple[bytes, int] | None) -> bytes | None:
        """Return the answer of the command at a place of its session when it took effect."""
        index = self.executed.get(place) if place is not None else None
        return None if index is None else self.records[index].answer

    def timeline(self, clocks: Sequence[NodeClock]) -> Timeline:
        """Return what was applied when, and what was wrong with these clocks."""
        ahead = sorted(moment for clock in clocks for moment in clock.set_ahead)
        timeline = Timeline([], ahead, max(clock.fastest for clock in clocks))
        for index in sorted(self.executed.values()):  # not the retries
            entry, answer = self._committed[index - 1], decode_outcome(self.records[index].answer)
            _, name, args = decode_command({SERIALIZER.tag: SERIALIZER}, entry.data)
            at = self.appended[index, entry.term]
            timeline.commands.append(AppliedCommand(Call(name, args), answer, entry.term, at))
        return timeline

    @property
    def commands(self) -> list[tuple[Entry, Record]]:
        """All applied commands and their records, in order."""
        return [
            (entry, self.records[entry.index])
            for entry in self._committed
            if entry.type == EntryType.COMMAND and entry.index in self.records
        ]


def describe_command(entry: Entry) -> str:
    """Describe a command as its client called it, with its place in the log."""
    try:
        _, name, args = decode_command({SERIALIZER.tag: SERIALIZER}, entry.data)
    except BraftError:
        return f"entry {entry.index}"
    return f"{Call(name, args)} at entry {entry.index}"
