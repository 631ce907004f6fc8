"""Planted bugs of the bootstrap."""

from __future__ import annotations

from math import inf
from typing import Any

from braft_core.cluster.bootstrap import Bootstrap, ProposalDecision
from braft_core.cluster.bootstrap_effects import Effect
from braft_core.cluster.bootstrap_proposal import members_of
from braft_core.cluster.bootstrap_record import EMPTY_RECORD
from braft_core.peer import BootstrapProposal
from braft_testing.simulation.bootstrap import BootstrapAdapter
from braft_testing.simulation.plan import Plan
from tests.simulation.mutants.planting import Mutant, Patch

__all__ = ["MUTANTS"]

_RULES = (
    "every member accepted the bootstrap proposal",
    "at most one cluster",
    "one cluster per node",
    "one bootstrap configuration",
)


def _bootstraps(plan: Plan) -> bool:
    return plan.bootstrap and plan.expect >= 3 and not plan.complete_views


def _bootstraps_again(plan: Plan) -> bool:
    """Select runs in which nodes see different sets of nodes, and proposers crash early."""
    views_differ = plan.discovery_error_rate >= 0.7 and plan.servers > plan.expect
    return _bootstraps(plan) and views_differ and plan.faults.get("crash", inf) < 6.0


def a_majority_of_acceptances_is_enough(patch: Patch) -> dict[str, Any]:
    """Let a majority of acceptances start a cluster: of five nodes, two pairs could."""
    original = Bootstrap._complete

    def complete(self: Bootstrap, now: float, accepted: BootstrapProposal) -> list[Effect]:
        ids = members_of(accepted).ids
        if 2 * len(self._accepted_by) > len(ids):
            self._accepted_by.update(ids)
        return original(self, now, accepted)

    patch.setattr(Bootstrap, "_complete", complete)
    return {}


def acceptances_are_not_stored(patch: Patch) -> dict[str, Any]:
    original = BootstrapAdapter._stored

    def stored(self: BootstrapAdapter) -> None:
        original(self)
        self.server.disk.bootstrap_record = EMPTY_RECORD

    patch.setattr(BootstrapAdapter, "_stored", stored)
    return {}


def a_newer_proposal_is_accepted_as_well(patch: Patch) -> dict[str, Any]:
    original = Bootstrap.proposal_received

    def proposal_received(
        self: Bootstrap, now: float, request: BootstrapProposal
    ) -> ProposalDecision:
        if request.configuration and not self._member_of:
            self._record = EMPTY_RECORD
        return original(self, now, request)

    patch.setattr(Bootstrap, "proposal_received", proposal_received)
    return {}


MUTANTS = (
    Mutant(a_majority_of_acceptances_is_enough, _RULES, _bootstraps),
    Mutant(acceptances_are_not_stored, _RULES, _bootstraps),
    Mutant(a_newer_proposal_is_accepted_as_well, _RULES, _bootstraps_again, 120),
)
