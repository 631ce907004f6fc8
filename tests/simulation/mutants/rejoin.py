"""Planted bugs of the rejoining of members that were removed as dead."""

from __future__ import annotations

from typing import Any

from braft_core.cluster.interface import RaftView
from braft_core.peer import ProbeRequest
from braft_core.raft.core import RaftCore
from braft_testing.simulation import rejoin
from braft_testing.simulation.plan import Plan
from braft_testing.simulation.rejoin import RejoinAdapter
from tests.simulation.mutants.planting import Mutant, Patch

__all__ = ["MUTANTS"]


def _removes(plan: Plan) -> bool:
    return plan.autopilot is not None and plan.initial_voters >= 3


def the_removed_campaign(patch: Patch) -> dict[str, Any]:
    def set_campaign_enabled(self: RaftCore, enabled: bool) -> None:
        return

    patch.setattr(RaftCore, "set_campaign_enabled", set_campaign_enabled)
    return {}


def nobody_is_told_that_it_was_removed(patch: Patch) -> dict[str, Any]:
    def was_removed(view: RaftView, request: ProbeRequest, cluster_id: str) -> bool:
        return False

    patch.setattr(rejoin, "was_removed", was_removed)
    return {}


def who_returns_votes_at_once(patch: Patch) -> dict[str, Any]:
    original = RejoinAdapter.change

    def change(self: RejoinAdapter, kind: str, server_id: str, address: str) -> bool:
        return original(self, "add_voter" if kind == "add_nonvoter" else kind, server_id, address)

    patch.setattr(RejoinAdapter, "change", change)
    return {}


def no_learner_is_promoted(patch: Patch) -> dict[str, Any]:
    def next_change(*arguments: Any) -> None:
        return None

    patch.setattr(rejoin, "next_change", next_change)
    return {}


MUTANTS = (
    Mutant(the_removed_campaign, ("the removed do not campaign",), _removes),
    Mutant(nobody_is_told_that_it_was_removed, ("recovery",), _removes),
    Mutant(who_returns_votes_at_once, ("who returns is a learner first",), _removes),
    Mutant(no_learner_is_promoted, ("recovery",), _removes),
)
