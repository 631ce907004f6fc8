"""Versions of the program that the simulated servers run, and the rules for them.

Each version has more than the one before: a service, a command, an argument of a command, a feature
level. All of them count; new ways to count have the same effect as old ones, so one history checks
them all. Owns what a version can execute, and the checks of an observer that knows every version.
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
from braft_testing.simulation.state_machine import SERIALIZER, SimulatedMachine, Tally

__all__ = ["FORMS", "Program", "VersionInvariants", "VersionedMachine", "program"]

#: How a count may be requested; each requires a feature of that name.
FORMS: Final = ("argument", "command", "service")


_SERIALIZERS = {SERIALIZER.tag: SERIALIZER}


class _TallyWithArgument(Tally):
    @command
    def add(self, key: str, number: int, by: int = 1) -> int:
        """Add ``by``; return the new value of the counter."""
        return self._add(key, number, by)


class _TallyWithCommand(Tally):
    @command
    def leap(self, key: str, number: int) -> int:
        """Add one; return the new value of the counter."""
        return self._add(key, number, 1)


class _TallyWithBoth(_TallyWithCommand):
    @command
    def add(self, key: str, number: int, by: int = 1) -> int:
        """Add ``by``; return the new value of the counter."""
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
        """Return new instances of its services that count."""
        tally = _TALLIES[self.features & {"argument", "command"}]()
        return [tally, Ledger()] if "service" in self.features else [tally]


@functools.cache
def program(steps: tuple[tuple[str, ...], ...], version: int) -> Program:
    """Return a version, from 1 on; ``steps`` are the features that each further one adds."""
    added = [feature for step in steps[: version - 1] for feature in step]
    return Program(1 + added.count("level"), frozenset(added) - {"level"})


class VersionedMachine(SimulatedMachine):
    """The state machine of one server in a run with several versions."""

    def __init__(self, rules: VersionInvariants, server_id: str, runs: Program) -> None:
        self._rules, self._server_id, self.program = rules, server_id, runs
        self._tallies = runs.tallies()
        self.cluster = ClusterService(runs.level)
        services: list[Service] = [KVService(), *self._tallies, self.cluster]
        super().__init__(services, runs.level)
        # The types that this process has registered must not change a run.
        self._own = replace(super().capabilities, types={})

    @property
    def capabilities(self) -> Capabilities:
        """What this version can execute."""
        return self._own

    def apply(self, entry: Entry) -> Outcome:
        """Apply an entry, and check the rules.

        :raises InvariantBroken: if this version cannot have executed it.
        """
        level = self.cluster.agreed.level
        outcome = super().apply(entry)
        if entry.type == EntryType.COMMAND:
            self._rules.applied(self._server_id, self._own, entry, outcome)
        self._rules.level_moved(self._server_id, level, self.cluster.agreed.level)
        return outcome

    def check(self) -> None:
        """Check as :meth:`SimulatedMachine.check`: no count may be applied twice."""
        for tally in self._tallies:
            tally.check()


class VersionInvariants:
    """The checks of versions in one run. Methods raise :class:`InvariantBroken`."""

    def __init__(self, committed: Sequence[Entry]) -> None:
        self._committed = committed
        self._read = 0
        #: Agreements in force, by the index of the entry.
        self._agreements: list[tuple[int, Capabilities]] = [(0, NONE)]
        self._places: dict[tuple[bytes, int], int] = {}
        #: How often a server stopped applying.
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
        """Check a command that a server applied without stopping."""
        lacks = own.missing(read_need(_SERIALIZERS, entry.data))
        if is_agreement(entry.data) and _agreed_by(entry.data).level > own.level:
            lacks = "the feature level"
        repeated = self._is_repeated(entry)
        if lacks and not repeated and not isinstance(outcome, SessionExpired | Busy):
            raise InvariantBroken(
                "a server stops applying at a command that it cannot execute",
                f"{server} lacks {lacks}, and makes {outcome!r} of entry {entry.index}",
            )

    def _is_repeated(self, entry: Entry) -> bool:
        """Return whether an earlier entry holds the same session command; that one was executed."""
        if not entry.data[0] & IN_SESSION:
            return False
        session, number, _ = decode_session_stamp(entry.data)
        return self._places.setdefault((session, number), entry.index) < entry.index

    def level_moved(self, server: str, before: int, after: int) -> None:
        """Check that the feature level did not fall."""
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
        """Check commands that a leader appends; ``known`` is what the members declared to it."""
        agreed, known = self.agreed_at(applied), list(known)
        for need in {_need(data) for data in commands if not is_agreement(data)}:
            for member, declared in known:
                if declared is not None and (lacks := declared.missing(need)):
                    raise InvariantBroken(
                        "entries use only what no member lacks",
                        f"{server} appends {need}, {member} has declared that it lacks {lacks}",
                    )
            if lacks := agreed.missing(need):
                raise InvariantBroken(
                    "entries use only agreed capabilities",
                    f"{server} appends {need}; {lacks} is not agreed on at {applied}",
                )

    def agrees(
        self,
        server: str,
        applied: int,
        known: Iterable[tuple[str, Capabilities | None]],
        proposal: Capabilities,
    ) -> None:
        """Check an agreement that a leader appends."""
        declared = dict(known)
        silent = [member for member, theirs in declared.items() if theirs is None]
        if silent:
            raise InvariantBroken(
                "an agreement holds only what all members declared",
                f"{server} has not heard {silent}",
            )
        shared = common([theirs for theirs in declared.values() if theirs is not None])
        level = max(shared.level, self.agreed_at(applied).level)
        if lacks := replace(shared, level=level).lacks(proposal):
            raise InvariantBroken(
                "an agreement holds only what all members declared",
                f"{server} has them agree on {lacks}, which not all of {sorted(declared)} know",
            )

    def adds(self, server: str, applied: int, newcomer: str, declared: bytes) -> None:
        """Check a new server that a leader adds."""
        if lacks := Capabilities.decode(declared).lacks(self.agreed_at(applied)):
            raise InvariantBroken(
                "a new server supports the agreed capabilities",
                f"{server} adds {newcomer}: {lacks}",
            )

    def leads_stopped(self, server: str, why: str) -> None:
        """Report a server that leads although it has stopped applying and had time to step down."""
        raise InvariantBroken("a server that stopped applying does not lead", f"{server}: {why}")

    def captured_stopped(self, server: str, why: str) -> None:
        """Report a server that takes a snapshot although it has stopped applying."""
        raise InvariantBroken("no snapshot while applying is stopped", f"{server}: {why}")


def _need(data: bytes) -> Need:
    return read_need(_SERIALIZERS, data)


def _agreed_by(data: bytes) -> Capabilities:
    arguments: list[Any]
    _, _, arguments = decode_command(_SERIALIZERS, data)
    return Capabilities.decode(arguments[0])
