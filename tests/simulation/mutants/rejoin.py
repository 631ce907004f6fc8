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


def removed_servers_campaign(patch: Patch) -> dict[str, Any]:
    def set_campaign_enabled(self: RaftCore, enabled: bool) -> None:
        return

    patch.setattr(RaftCore, "set_campaign_enabled", set_campaign_enabled)
    return {}


def removed_servers_get_no_notice(patch: Patch) -> dict[str, Any]:
    def was_removed(view: RaftView, request: ProbeRequest, cluster_id: str) -> bool:
        return False

    patch.setattr(rejoin, "was_removed", was_removed)
    return {}


def returning_servers_vote_at_once(patch: Patch) -> dict[str, Any]:
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
    Mutant(removed_servers_campaign, ("removed servers do not campaign",), _removes),
    Mutant(removed_servers_get_no_notice, ("recovery",), _removes),
    Mutant(returning_servers_vote_at_once, ("a returning server is a learner first",), _removes),
    Mutant(no_learner_is_promoted, ("recovery",), _removes),
)
