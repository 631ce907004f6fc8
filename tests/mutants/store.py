"""Faults in the store service, its upkeep, and its leases."""

from __future__ import annotations

from tests.mutants.planting import Edit, Mutant

__all__ = ["MUTANTS"]

_SERVICE = "braft_core.services.store"
_UPKEEP = "braft_core.runtime.store_upkeep"
_KEEPER = "braft_core.runtime.lease_keeper"
_HELD = "braft_core.store.held_leases"
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
        "alarms_are_not_restored",
        "store",
        (Edit(_SERVICE, "StoreService.restore", "self._read_extra(loaded.extra)", "pass"),),
        f"{_STORE_TESTS}/test_store_snapshots.py::test_what_is_no_snapshot_is_refused",
    ),
    Mutant(
        "a_capture_shows_later_writes",
        "store",
        (Edit(f"{_SERVICE}.snapshot", "Capture._slice", "record[MOD] > revision", "False"),),
        f"{_STORE_TESTS}/test_store_snapshots.py"
        "::test_a_snapshot_comes_in_small_slices_and_shows_its_revision",
    ),
    Mutant(
        "the_lease_of_the_last_key_is_not_checked",
        "store",
        (
            Edit(
                f"{_SERVICE}.snapshot",
                "_with_leases",
                "if before is not None:\n    _check_lease(before, leases)",
                "",
            ),
        ),
        f"{_STORE_TESTS}/test_store_snapshots.py::test_what_is_no_snapshot_is_refused",
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
    Mutant(
        "the_quota_of_the_setting_is_never_proposed",
        "store",
        (Edit(_UPKEEP, "StoreUpkeep._look_after", "upkeep.quota != self._quota", "False"),),
        "tests/unit/runtime/test_store_upkeep.py::test_a_node_compacts_and_configures_its_store",
    ),
    # -- leases
    Mutant(
        "a_renewal_counts_from_its_answer",
        "leases",
        (
            Edit(
                _KEEPER,
                "_answer",
                "Renewed(ttls[lease], sent_at)",
                "Renewed(ttls[lease], clock.monotonic())",
            ),
        ),
        "tests/unit/runtime/test_lease_keeper.py::test_a_renewal_counts_from_when_it_was_sent",
    ),
    Mutant(
        "the_next_renewal_counts_from_the_answer_to_the_last",
        "leases",
        (
            Edit(
                _KEEPER,
                "LeaseKeeper._renewed",
                "self._held.renewed(lease_id, *renewal.result())",
                "self._held.renewed(lease_id, renewal.result()[0], clock.monotonic())",
            ),
        ),
        "tests/unit/runtime/test_lease_keeper.py::test_a_renewal_counts_from_when_it_was_sent",
    ),
    Mutant(
        "a_renewal_that_failed_is_the_last",
        "leases",
        (Edit(_HELD, "HeldLeases.failed", "held.renewing = False", "pass"),),
        "tests/unit/runtime/test_lease_keeper.py"
        "::test_failures_are_repeated_until_the_lease_may_have_ended",
    ),
)
