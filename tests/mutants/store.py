"""Faults in the store service, its upkeep, and its leases."""

from __future__ import annotations

from tests.mutants.planting import Edit, Mutant

__all__ = ["MUTANTS"]

_SERVICE = "braft_core.services.store"
_UPKEEP = "braft_core.runtime.store_upkeep"
_KEEPER = "braft_core.runtime.lease_keeper"
_STORE_TESTS = "tests/unit/services/store"

MUTANTS = (
    # -- the service
    Mutant(
        "a_put_that_keeps_its_value_costs_nothing",
        "store",
        (
            Edit(
                f"{_SERVICE}.txn",
                "Plan._plan_put",
                "if op.flags & IGNORE_VALUE:\n    size = len(old[VALUE] or b'')",
                "",
            ),
        ),
        f"{_STORE_TESTS}/test_store_history.py::test_a_value_that_is_kept_counts_for_the_quota",
    ),
    Mutant(
        "a_deleted_key_stays_with_its_lease",
        "store",
        (
            Edit(
                f"{_SERVICE}.keyspace",
                "Keyspace.delete",
                "self.leases.detach(old[LEASE], old[KEY])",
                "pass",
            ),
        ),
        f"{_STORE_TESTS}/test_store.py::test_a_lease_takes_no_key_that_came_again_without_it",
    ),
    Mutant(
        "a_follower_remembers_the_ages_of_revisions",
        "store",
        (Edit(_UPKEEP, "StoreUpkeep._run", "self._window.forget()", "pass"),),
        "tests/unit/runtime/test_store_upkeep.py::test_a_node_that_leads_again_knows_no_ages",
    ),
    # -- leases
)
