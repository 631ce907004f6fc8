"""Faults in the recipes of the store."""

from __future__ import annotations

from tests.mutants.planting import Edit, Mutant

__all__ = ["MUTANTS"]

_RECIPES = "braft_core.recipes"
_TESTS = "tests/unit/recipes"

MUTANTS = (
    Mutant(
        "a_fence_always_holds",
        "recipes",
        (
            Edit(
                f"{_RECIPES}.claim",
                "Claim.fence",
                "Key(self.key).created == self.token",
                "Key(self.key).version > -1",
            ),
        ),
        f"{_TESTS}/test_lock.py::test_writes_of_a_former_holder_are_refused",
    ),
    Mutant(
        "a_lock_has_a_second_seat",
        "recipes",
        (
            Edit(
                f"{_RECIPES}.claim",
                "Claim._taking_place",
                "len(line) <= self._seats",
                "len(line) <= self._seats + 1",
            ),
        ),
        f"{_TESTS}/test_lock.py::test_a_statement_holds_a_lock_and_frees_it_at_once",
    ),
    Mutant(
        "a_cancellation_from_elsewhere_is_swallowed",
        "recipes",
        (
            Edit(
                f"{_RECIPES}.body",
                "Body.end",
                "task.uncancel() <= self._cancelling",
                "task.uncancel() >= 0",
            ),
        ),
        f"{_TESTS}/test_lock.py::test_a_cancellation_from_elsewhere_goes_on",
    ),
    Mutant(
        "a_new_leader_acts_at_once",
        "recipes",
        (
            Edit(
                "braft_core.runtime.leadership",
                "LeadershipTerms.__init__",
                "2 * election_timeout + heartbeat_interval",
                "0.0",
            ),
        ),
        f"{_TESTS}/test_leadership.py"
        "::test_a_new_leader_waits_until_any_earlier_one_has_stepped_down",
    ),
    Mutant(
        "a_transaction_ignores_what_it_has_read",
        "recipes",
        (
            Edit(
                f"{_RECIPES}.transaction",
                "Transaction.end",
                "self._read.items()",
                "()",
            ),
        ),
        f"{_TESTS}/test_transaction.py::test_a_change_of_what_was_read_repeats_it",
    ),
)
