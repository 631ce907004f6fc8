"""Versions of the program that the simulated servers run, and the rules of what they may do.

Each version has more than the one before: a service, a command, an argument of a command, a feature
level. All of them count; what is new counts as what is old does, so one history judges them all.
Owns what a version can execute, and the judgement by an observer who knows every version.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from braft_core.abc import Service
from braft_core.errors import Busy, SessionExpired
from braft_core.raft.types import Entry, EntryType
from braft_core.services.capabilities import NONE, Capabilities, Need, common
from braft_core.services.cluster import ClusterService, is_agreement
from braft_core.services.envelope import (
    IN_SESSION,
    decode_command,
    decode_session_stamp,
    read_need,
)
from braft_core.services.kv import KVService
from braft_core.services.service import command
from braft_core.services.state_machine import Outcome
from braft_testing.simulation.errors import InvariantBroken
from braft_testing.simulation.machine import SERIALIZER, SimulatedMachine, Tally

__all__ = ["FORMS", "Program", "VersionRules", "VersionedMachine", "program"]

#: How a count may be asked for; each takes a feature of that name.
FORMS: Final = ("argument", "command", "service")


_SERIALIZERS = {SERIALIZER.tag: SERIALIZER}


class _TallyWithArgument(Tally):
    @command
    def add(self, key: str, number: int, by: int = 1) -> int:
        """Add ``by``; the counter's new value."""
        return self._add(key, number, by)


class _TallyWithCommand(Tally):
    @command
    def leap(self, key: str, number: int) -> int:
        """Add one by a command of its own; the counter's new value."""
        return self._add(key, number, 1)


class _TallyWithBoth(_TallyWithCommand):
    @command
    def add(self, key: str, number: int, by: int = 1) -> int:
        """Add ``by``; the counter's new value."""
        return self._add(key, number, by)


class Ledger(Tally):
    """Counters in a service that older versions lack."""

    name = "ledger"


_TALLIES: dict[frozenset[str], type[Tally]] = {
    frozenset(): Tally,
    frozenset({"argument"}): _TallyWithArgument,
    frozenset({"command"}): _TallyWithCommand,
    frozenset({"argument", "command"}): _TallyWithBoth,
}


@dataclass(frozen=True, slots=True)
class Program:
    """One version of the program."""

    level: int
    features: frozenset[str]

    def tallies(self) -> list[Tally]:
        """New instances of its services that count."""
        tally = _TALLIES[self.features & {"argument", "command"}]()
        return [tally, Ledger()] if "service" in self.features else [tally]


@functools.cache
def program(steps: tuple[tuple[str, ...], ...], version: int) -> Program:
    """Return a version, from 1 on; ``steps`` are the features that each further one adds."""
    added = [feature for step in steps[: version - 1] for feature in step]
    return Program(1 + added.count("level"), frozenset(added) - {"level"})


class VersionedMachine(SimulatedMachine):
    """The state machine of one server in a run with several versions."""

    def __init__(self, rules: VersionRules, server_id: str, runs: Program) -> None:
        self._rules, self._server_id, self.program = rules, server_id, runs
        self._tallies = runs.tallies()
        self.cluster = ClusterService(runs.level)
        services: list[Service] = [KVService(), *self._tallies, self.cluster]
        super().__init__(services, runs.level)
        # Which types this process has registered must not change a run.
        self._own = replace(super().capabilities, types={})

    @property
    def capabilities(self) -> Capabilities:
        """What this version can execute."""
        return self._own

    def apply(self, entry: Entry) -> Outcome:
        """Apply an entry, and let the rules look at it.

        :raises InvariantBroken: it cannot have executed that.
        """
        level = self.cluster.agreed.level
        outcome = super().apply(entry)
        if entry.type == EntryType.COMMAND:
            self._rules.applied(self._server_id, self._own, entry, outcome)
        self._rules.level_moved(self._server_id, level, self.cluster.agreed.level)
        return outcome

    def check(self) -> None:
        """See :meth:`SimulatedMachine.check`: no count may be applied twice."""
        for tally in self._tallies:
            tally.check()


class VersionRules:
    """The judge of versions in one run. Methods raise :class:`InvariantBroken`."""

    def __init__(self, committed: Sequence[Entry]) -> None:
        self._committed = committed
        self._read = 0
        #: Agreements in force, by the index of the entry.
        self._agreements: list[tuple[int, Capabilities]] = [(0, NONE)]
        self._places: dict[tuple[bytes, int], int] = {}
        #: How many agreements there were, and how often a server stopped applying.
        self.stops = 0

    @property
    def agreements(self) -> int:
        """How many agreements were committed."""
        self.agreed_at(len(self._committed))
        return len(self._agreements) - 1

    def agreed_at(self, index: int) -> Capabilities:
        """Return what is agreed on after an entry."""
        for entry in self._committed[self._read :]:
            if entry.type == EntryType.COMMAND and is_agreement(entry.data):
                agreed = _agreed_by(entry.data)
                if agreed.level >= self._agreements[-1][1].level:
                    self._agreements.append((entry.index, agreed))
        self._read = len(self._committed)
        return next(agreed for at, agreed in reversed(self._agreements) if at <= index)

    # -- applying ------------------------------------------------------------------------

    def applied(self, server: str, own: Capabilities, entry: Entry, outcome: Outcome) -> None:
        """A server applied a command, and did not stop at it."""
        lacks = own.missing(read_need(_SERIALIZERS, entry.data))
        if is_agreement(entry.data) and _agreed_by(entry.data).level > own.level:
            lacks = "the feature level"
        repeated = self._is_repeated(entry)
        if lacks and not repeated and not isinstance(outcome, SessionExpired | Busy):
            raise InvariantBroken(
                "what a server cannot execute stops its applying",
                f"{server} lacks {lacks}, and makes {outcome!r} of entry {entry.index}",
            )

    def _is_repeated(self, entry: Entry) -> bool:
        """Whether an earlier entry holds the same command of a session; that one was executed."""
        if not entry.data[0] & IN_SESSION:
            return False
        session, number, _ = decode_session_stamp(entry.data)
        return self._places.setdefault((session, number), entry.index) < entry.index

    def level_moved(self, server: str, before: int, after: int) -> None:
        """A server applied something."""
        if after < before:
            raise InvariantBroken(
                "the feature level never falls", f"on {server} from {before} to {after}"
            )

    # -- leading -------------------------------------------------------------------------

    def appends(
        self,
        server: str,
        applied: int,
        known: Iterable[tuple[str, Capabilities | None]],
        commands: Iterable[bytes],
    ) -> None:
        """A leader appends commands; ``known`` is what the members have declared to it."""
        agreed, known = self.agreed_at(applied), list(known)
        for need in {_need(data) for data in commands if not is_agreement(data)}:
            for member, declared in known:
                if declared is not None and (lacks := declared.missing(need)):
                    raise InvariantBroken(
                        "nothing is appended that a member lacks",
                        f"{server} appends {need}, {member} has declared that it lacks {lacks}",
                    )
            if lacks := agreed.missing(need):
                raise InvariantBroken(
                    "only what was agreed on is appended",
                    f"{server} appends {need}; {lacks} is not agreed on at {applied}",
                )

    def agrees(
        self,
        server: str,
        applied: int,
        known: Iterable[tuple[str, Capabilities | None]],
        proposal: Capabilities,
    ) -> None:
        """A leader appends an agreement."""
        declared = dict(known)
        silent = [member for member, theirs in declared.items() if theirs is None]
        if silent:
            raise InvariantBroken(
                "an agreement is what all members declared", f"{server} has not heard {silent}"
            )
        shared = common([theirs for theirs in declared.values() if theirs is not None])
        level = max(shared.level, self.agreed_at(applied).level)
        if lacks := replace(shared, level=level).lacks(proposal):
            raise InvariantBroken(
                "an agreement is what all members declared",
                f"{server} has them agree on {lacks}, which not all of {sorted(declared)} know",
            )

    def adds(self, server: str, applied: int, newcomer: str, declared: bytes) -> None:
        """A leader takes in a newcomer."""
        if lacks := Capabilities.decode(declared).lacks(self.agreed_at(applied)):
            raise InvariantBroken(
                "a newcomer that knows less is not added", f"{server} adds {newcomer}: {lacks}"
            )

    def leads_stopped(self, server: str, why: str) -> None:
        """A server that had time to step down leads although it applies nothing."""
        raise InvariantBroken("a server that stopped applying does not lead", f"{server}: {why}")

    def captured_stopped(self, server: str, why: str) -> None:
        """A server takes a snapshot although it applies nothing."""
        raise InvariantBroken("no snapshot while applying is stopped", f"{server}: {why}")


def _need(data: bytes) -> Need:
    return read_need(_SERIALIZERS, data)


def _agreed_by(data: bytes) -> Capabilities:
    arguments: list[Any]
    _, _, arguments = decode_command(_SERIALIZERS, data)
    return Capabilities.decode(arguments[0])
