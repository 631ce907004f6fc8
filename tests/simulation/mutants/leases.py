"""Planted bugs of the store's leases: they end early, or by the word of a deposed leader."""

from __future__ import annotations

from typing import Any

from braft_core.abc import CommandContext
from braft_core.services.store.leases import Expired, Leases, LogClock, _Lease
from braft_testing.simulation.store_leases import LEASES
from tests.simulation.mutants.planting import Mutant, Patch

__all__ = ["MUTANTS"]

_EARLY = ("no lease ends early",)
_RUN: dict[str, Any] = {"under_test": LEASES}
#: Long enough for leases to end that live long, since none do in the calm.
_LONG_RUN: dict[str, Any] = {"under_test": LEASES, "seconds": 20.0}


def ticks_of_any_term_count(patch: Patch) -> dict[str, Any]:
    """Obey the tick of a deposed leader that was forwarded (etcd #15247)."""
    original = Leases.tick

    def tick(self: Leases, context: CommandContext, term: Any) -> list[Expired]:
        return original(self, context, context.term)

    patch.setattr(Leases, "tick", tick)
    return dict(_RUN)


def steps_of_the_clock_are_not_clipped(patch: Patch) -> dict[str, Any]:
    """Believe a leader's clock: a pause, or a clock that is set, ends all leases."""

    def advance(self: LogClock, term: int, appended_at: int) -> None:
        if term != self.term:
            self.term, self.stamp, self.resumed = term, appended_at, self.now
        else:
            self.now += max(appended_at - self.stamp, 0)
            self.stamp = appended_at

    patch.setattr(LogClock, "advance", advance)
    return dict(_RUN)


def time_without_a_leader_counts(patch: Patch) -> dict[str, Any]:
    """Let an election cost what any other pause may."""
    original = LogClock.advance

    def advance(self: LogClock, term: int, appended_at: int) -> None:
        if term != self.term:
            self.now += min(max(appended_at - self.stamp, 0), 1_000_000_000)
        original(self, term, appended_at)

    patch.setattr(LogClock, "advance", advance)
    return dict(_LONG_RUN)


def a_new_leader_gives_no_grace(patch: Patch) -> dict[str, Any]:
    def deadline(self: Leases, lease: _Lease) -> int:
        return lease.deadline

    patch.setattr(Leases, "_deadline", deadline)
    return dict(_RUN)


def renewals_of_young_leases_are_skipped(patch: Patch) -> dict[str, Any]:
    """Save work where more than half of the ttl is left."""
    original = Leases.renew

    def renew(self: Leases, context: CommandContext, leases: Any) -> list[int | float]:
        before = {lease: self._leases[lease].deadline for lease in leases if lease in self}
        answers = original(self, context, leases)
        for lease, deadline in before.items():
            renewed = self._leases[lease]
            if 2 * (deadline - self.clock.now) > renewed.ttl:
                renewed.deadline = deadline
        self._publish()
        return answers

    patch.setattr(Leases, "renew", renew)
    return dict(_LONG_RUN)


MUTANTS = (
    Mutant(ticks_of_any_term_count, ("a tick of another term ends no lease", *_EARLY)),
    Mutant(steps_of_the_clock_are_not_clipped, _EARLY),
    Mutant(time_without_a_leader_counts, _EARLY),
    Mutant(a_new_leader_gives_no_grace, _EARLY),
    Mutant(renewals_of_young_leases_are_skipped, _EARLY),
)
