"""Planted bugs that only forged messages reveal."""

from __future__ import annotations

from typing import Any

from braft_core.raft import rules
from braft_testing.simulation.plan import Plan
from tests.simulation.mutants.planting import Mutant, Patch

__all__ = ["MUTANTS"]

_RAISES = "the core raises nothing unforeseen"


def entries_are_taken_as_they_come(patch: Patch) -> dict[str, Any]:
    patch.setattr(rules, "_check_entries", lambda message, entries: None)
    return {}


def any_server_may_lead_a_term(patch: Patch) -> dict[str, Any]:
    patch.setattr(rules, "_check_leader", lambda state, message: None)
    return {}


def any_leader_may_replace_what_is_committed(patch: Patch) -> dict[str, Any]:
    patch.setattr(rules, "_check_committed", lambda state, message: None)
    return {}


def one_message_uses_up_the_terms(patch: Patch) -> dict[str, Any]:
    patch.setattr(rules, "exceeds_term_step", lambda state, message: False)
    return {}


def _forged(plan: Plan) -> bool:
    return "impostor" in plan.faults


MUTANTS = (
    Mutant(
        entries_are_taken_as_they_come,
        (
            f"{_RAISES} (InvariantViolation)",
            f"{_RAISES} (DecodeError)",
            "terms grow along the log",
            "log matching",
            "state machine safety",
            "what is in the log is written",
        ),
        _forged,
    ),
    Mutant(
        any_server_may_lead_a_term,
        (
            "log matching",
            "state machine safety",
            "commit needs a durable majority",
            "a healthy cluster keeps its leader",
            "leader append-only",
            "commit comes from a leader",
            "no honest server breaks a rule",
            "recovery",
        ),
        _forged,
    ),
    Mutant(
        any_leader_may_replace_what_is_committed,
        (f"{_RAISES} (InvariantViolation)",),
        _forged,
    ),
    Mutant(one_message_uses_up_the_terms, ("recovery",), _forged),
)
