"""Planted bugs of the staleness bound: the reported bound is too small."""

from __future__ import annotations

from math import inf
from typing import Any

from braft_core.raft.messages import AppendEntries
from braft_core.raft.stamps import Stamps
from braft_core.raft.types import Role
from braft_core.runtime.staleness import StalenessBound, View
from braft_testing.simulation.server import Server
from tests.simulation.mutants.planting import Mutant, Patch

__all__ = ["MUTANTS"]

_RULE = ("a stale read keeps its staleness bound",)


def a_new_leaders_commit_index_is_trusted(patch: Patch) -> dict[str, Any]:
    """Trust a new leader's commit index before its first commit, as braft itself once did."""

    def observe_append(
        self: StalenessBound, core: View, message: AppendEntries, applied: int
    ) -> None:
        said_after = core.stamps.made_at(message.echo)
        if message.sender == core.leader and said_after > -inf:
            self._note(said_after, message.leader_commit, applied)

    patch.setattr(StalenessBound, "observe_append", observe_append)
    return {}


def a_new_leader_counts_as_current_at_once(patch: Patch) -> dict[str, Any]:
    def observe_leadership(self: StalenessBound, core: View, now: float, applied: int) -> None:
        if core.role is Role.LEADER:
            self._note(now, core.commit_index, applied)

    patch.setattr(StalenessBound, "observe_leadership", observe_leadership)
    return {}


def bound_ignores_the_applied_index(patch: Patch) -> dict[str, Any]:
    original = StalenessBound.seconds

    def seconds(self: StalenessBound, now: float, applied: int) -> float:
        return original(self, now, max((index for _, index in self._said), default=applied))

    patch.setattr(StalenessBound, "seconds", seconds)
    return {}


def bound_ignores_that_leaders_are_replaced(patch: Patch) -> dict[str, Any]:
    """Ignore the time in which a leader may have been replaced."""
    original = StalenessBound.__init__

    def init(self: StalenessBound, election_timeout: float, heartbeat_interval: float) -> None:
        original(self, 0.0, 0.0)

    patch.setattr(StalenessBound, "__init__", init)
    return {}


def message_age_counts_from_arrival(patch: Patch) -> dict[str, Any]:
    """Count buffered messages as new, with some allowance, as braft itself once did."""

    def made_at(self: Stamps, stamp: int) -> float:
        return self._made[-1] if self._made else -inf

    patch.setattr(Stamps, "made_at", made_at)
    return {}


class ServerWithSuspendedClock(Server):
    """Its clock stops while it is frozen, as ``CLOCK_MONOTONIC`` does in a suspended machine."""

    stood_at = 0.0

    def freeze(self) -> None:
        super().freeze()
        self.stood_at = self.clock.local(self.world.scheduler.now)

    def resume(self) -> None:
        if self.frozen:
            self.clock.set_back(self.world.scheduler.now, self.stood_at)
        super().resume()


def clocks_stop_while_the_machine_is_suspended(patch: Patch) -> dict[str, Any]:
    """Use such clocks, as braft itself once did (tikv#964)."""
    return {"server_class": ServerWithSuspendedClock}


MUTANTS = (
    Mutant(a_new_leaders_commit_index_is_trusted, _RULE),
    Mutant(a_new_leader_counts_as_current_at_once, _RULE),
    Mutant(bound_ignores_the_applied_index, _RULE),
    Mutant(bound_ignores_that_leaders_are_replaced, _RULE),
    Mutant(
        message_age_counts_from_arrival,
        _RULE,
        lambda plan: "pause" in plan.faults and "partition" in plan.faults,
    ),
    Mutant(
        clocks_stop_while_the_machine_is_suspended,
        (*_RULE, "a read sees all earlier commits"),
        lambda plan: "pause" in plan.faults,
    ),
)
