"""Planted bugs of the founding of a cluster."""

from __future__ import annotations

from math import inf
from typing import Any

from braft_core.cluster.bootstrap import Forming, FoundDecision
from braft_core.cluster.bootstrap_effects import Effect
from braft_core.cluster.bootstrap_proposal import members_of
from braft_core.cluster.record import NOTHING_FOUNDED
from braft_core.peer import FoundRequest
from braft_testing.simulation.founding import Founder
from braft_testing.simulation.plan import Plan
from tests.simulation.mutants.planting import Mutant, Patch

__all__ = ["MUTANTS"]

_RULES = (
    "every founder promised",
    "never two clusters",
    "one founding per node",
    "one founding configuration",
)


def _forms(plan: Plan) -> bool:
    return plan.forming and plan.expect >= 3 and not plan.complete_views


def _forms_anew(plan: Plan) -> bool:
    """Runs in which nodes see different sets of nodes, and proposers crash early."""
    views_differ = plan.lies >= 0.7 and plan.servers > plan.expect
    return _forms(plan) and views_differ and plan.faults.get("crash", inf) < 6.0


def a_majority_of_promises_is_enough(patch: Patch) -> dict[str, Any]:
    """Of five nodes that expect three, two pairs could each believe to be a majority."""
    original = Forming._complete

    def complete(self: Forming, now: float, accepted: FoundRequest) -> list[Effect]:
        ids = members_of(accepted).ids
        if 2 * len(self._promised) > len(ids):
            self._promised.update(ids)
        return original(self, now, accepted)

    patch.setattr(Forming, "_complete", complete)
    return {}


def promises_are_not_stored(patch: Patch) -> dict[str, Any]:
    original = Founder._stored

    def stored(self: Founder) -> None:
        original(self)
        self.server.disk.founding = NOTHING_FOUNDED

    patch.setattr(Founder, "_stored", stored)
    return {}


def a_newer_founding_is_promised_as_well(patch: Patch) -> dict[str, Any]:
    original = Forming.found_requested

    def found_requested(self: Forming, now: float, request: FoundRequest) -> FoundDecision:
        if request.configuration and not self._member_of:
            self._record = NOTHING_FOUNDED
        return original(self, now, request)

    patch.setattr(Forming, "found_requested", found_requested)
    return {}


MUTANTS = (
    Mutant(a_majority_of_promises_is_enough, _RULES, _forms),
    Mutant(promises_are_not_stored, _RULES, _forms),
    Mutant(a_newer_founding_is_promised_as_well, _RULES, _forms_anew, 120),
)
