"""Planted bugs that only forged messages reveal."""

from __future__ import annotations

from typing import Any

from braft_core.raft import rules
from braft_testing.simulation.plan import Plan
from tests.simulation.mutants.planting import Mutant, Patch

__all__ = ["MUTANTS"]

_RAISES = "the core raises no unexpected error"


def entries_are_not_validated(patch: Patch) -> dict[str, Any]:
    patch.setattr(rules, "_check_entries", lambda message, entries: None)
    return {}


def any_server_may_lead_a_term(patch: Patch) -> dict[str, Any]:
    patch.setattr(rules, "_check_leader", lambda state, message: None)
    return {}


def any_leader_may_replace_what_is_committed(patch: Patch) -> dict[str, Any]:
    patch.setattr(rules, "_check_committed", lambda state, message: None)
    return {}


def any_term_step_is_accepted(patch: Patch) -> dict[str, Any]:
    patch.setattr(rules, "exceeds_term_step", lambda state, message: False)
    return {}


def _forged(plan: Plan) -> bool:
    return "forgery" in plan.faults


MUTANTS = (
    Mutant(
        entries_are_not_validated,
        (
            f"{_RAISES} (InvariantViolation)",
            f"{_RAISES} (DecodeError)",
            "terms grow along the log",
            "log matching",
            "state machine safety",
            "the core's log matches the disk",
        ),
        _forged,
    ),
    Mutant(
        any_server_may_lead_a_term,
        (
            "log matching",
            "state machine safety",
            "committed entries are durable on a majority",
            "a healthy cluster keeps its leader",
            "leader append-only",
            "only leaders advance the commit index",
            "messages of real servers are never rejected as forged",
            "recovery",
        ),
        _forged,
    ),
    Mutant(
        any_leader_may_replace_what_is_committed,
        (f"{_RAISES} (InvariantViolation)",),
        _forged,
    ),
    Mutant(any_term_step_is_accepted, ("recovery",), _forged),
)
