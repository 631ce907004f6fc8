"""Planted bugs of the removal of dead voters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from typing import Any

from braft_core.cluster import autopilot
from braft_core.cluster.autopilot import MIN_FAILURES, Autopilot, ProbeEvidence, Verdict
from braft_core.cluster.dead_server_cleanup import DeadServerCleanup
from braft_core.cluster.interface import RaftView, Removal
from braft_core.raft.types import Server
from braft_testing.simulation.autopilot_adapter import AutopilotAdapter
from braft_testing.simulation.plan import Plan
from tests.simulation.mutants.planting import Mutant, Patch

__all__ = ["MUTANTS"]


def _removes(plan: Plan) -> bool:
    return plan.autopilot is not None and plan.initial_voters >= 3


def _waits_long(plan: Plan) -> bool:
    """Return whether a leader without a majority goes on longer than others count as healthy."""
    return _removes(plan) and plan.config.election_timeout >= 1.0


def _counts(plan: Plan) -> bool:
    """Return whether clocks never jump: only then the window can be checked."""
    long = plan.autopilot is not None and plan.autopilot.window >= 5.0
    return _removes(plan) and long and not {"clock", "diverge"} & set(plan.faults)


def probe_results_are_ignored(patch: Patch) -> dict[str, Any]:
    def probed(self: DeadServerCleanup, now: float, server: Server) -> ProbeEvidence:
        return ProbeEvidence(inf, MIN_FAILURES)

    patch.setattr(DeadServerCleanup, "_probed", probed)
    return {}


def silent_voters_count_as_healthy(patch: Patch) -> dict[str, Any]:
    """Let a leader that is about to lose its majority remove one more voter.

    It does not record the removal first, since that takes a majority as well.
    """

    def healthy(view: RaftView, voters: Sequence[Server], within: float) -> int:
        return len(voters)

    async def record_removal(
        self: AutopilotAdapter, server: Server, voters: int, reason: str
    ) -> None:
        return

    patch.setattr(autopilot, "_healthy", healthy)
    patch.setattr(AutopilotAdapter, "record_removal", record_removal)
    return {}


def the_number_of_removals_has_no_limit(patch: Patch) -> dict[str, Any]:
    def within_budget(
        self: Autopilot, now: float, dead: str, voters: int, removals: Sequence[Removal]
    ) -> tuple[Verdict, str]:
        return Verdict.REMOVE, dead

    patch.setattr(Autopilot, "_within_budget", within_budget)
    return {}


def a_new_leader_removes_at_once(patch: Patch) -> dict[str, Any]:
    original = Autopilot.evaluate

    def evaluate(
        self: Autopilot,
        now: float,
        own_id: str,
        view: RaftView,
        probed: Mapping[str, ProbeEvidence],
        removals: Sequence[Removal],
    ) -> autopilot.Decision:
        self._led_since = -inf
        self._term, self._evaluated_at = view.term, now
        return original(self, now, own_id, view, probed, removals)

    patch.setattr(Autopilot, "evaluate", evaluate)
    return {}


MUTANTS = (
    Mutant(probe_results_are_ignored, ("a server that answers probes is not removed",), _removes),
    Mutant(silent_voters_count_as_healthy, ("a removal leaves a healthy majority",), _waits_long),
    Mutant(
        the_number_of_removals_has_no_limit,
        ("fewer than half of the voters are removed",),
        _counts,
        200,
    ),
    Mutant(a_new_leader_removes_at_once, ("only a stable leader removes voters",), _removes, 200),
)
