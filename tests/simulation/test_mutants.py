"""Planted bugs: each must be found within a bounded number of seeds, or the simulator is blind.

The mutants live in ``tests.simulation.mutants``; ``make mutants`` prints how many
seeds each one took.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from braft_core.raft import election
from braft_testing import simulation
from tests.simulation.mutants import MUTANTS, Mutant, hunt, seeds_of
from tests.simulation.mutants.__main__ import main
from tests.simulation.mutants.planting import Patch

pytestmark = pytest.mark.timeout(1200)  # computing only, on a busy machine too


#: Mutants that take more than four seconds, since they need many seeds or long runs.
SLOW = {
    "a_broken_transfer_counts_as_done",
    "a_campaign_does_not_wait_for_the_disk",
    "a_late_snapshot_is_installed",
    "a_lease_outlives_a_transfer",
    "a_new_leader_gives_no_grace",
    "a_new_leader_removes_at_once",
    "a_newer_proposal_is_accepted_as_well",
    "a_snapshot_with_the_newest_configuration",
    "a_stopped_leader_does_not_step_down",
    "any_term_step_is_accepted",
    "bound_ignores_that_leaders_are_replaced",
    "capabilities_are_never_declared",
    "clocks_stop_while_the_machine_is_suspended",
    "joining_ignores_capabilities",
    "late_acknowledgements_are_ignored",
    "no_consistency_check",
    "no_learner_is_promoted",
    "no_no_op",
    "probe_results_are_ignored",
    "reads_without_a_round",
    "removed_servers_get_no_notice",
    "renewals_of_young_leases_are_skipped",
    "snapshots_are_taken_while_applying_is_stopped",
    "stale_votes_count",
    "the_number_of_removals_has_no_limit",
    "time_without_a_leader_counts",
    "unknown_commands_are_answered",
    "unknown_services_in_a_snapshot_are_skipped",
}

#: A seed that found the mutant, in place of a hunt from seed 0 that takes long. It is run first: if
#: the simulator has changed so much that this seed finds nothing any more, the whole hunt follows.
#: ``make mutants`` prints the seeds.
KNOWN = {
    "a_broken_transfer_counts_as_done": 11,
    "a_campaign_does_not_wait_for_the_disk": 12,
    "a_late_snapshot_is_installed": 27,
    "a_leader_without_quorum_keeps_leading": 4,
    "a_lease_outlives_a_transfer": 280,
    "a_majority_of_acceptances_is_enough": 9,
    "a_new_leader_gives_no_grace": 2,
    "a_new_leader_removes_at_once": 52,
    "a_new_leaders_commit_index_is_trusted": 2,
    "a_newer_proposal_is_accepted_as_well": 4765,
    "a_snapshot_index_is_ahead_of_its_state": 13,
    "a_snapshot_with_the_newest_configuration": 350,
    "a_stopped_leader_does_not_step_down": 61,
    "an_install_drops_what_follows_it": 13,
    "an_install_is_acknowledged_at_once": 11,
    "an_older_term_is_committed_by_counting": 2,
    "any_term_step_is_accepted": 8,
    "bound_ignores_that_leaders_are_replaced": 13,
    "capabilities_are_never_declared": 0,
    "change_before_the_first_commit": 2,
    "clocks_stop_while_the_machine_is_suspended": 53,
    "compaction_beyond_what_was_applied": 13,
    "joining_ignores_capabilities": 337,
    "leases_while_clocks_jump": 21,
    "message_age_counts_from_arrival": 53,
    "no_consistency_check": 9,
    "no_learner_is_promoted": 13,
    "probe_results_are_ignored": 108,
    "reads_before_the_first_commit": 5,
    "reads_without_a_round": 8,
    "removed_servers_campaign": 13,
    "removed_servers_get_no_notice": 13,
    "renewals_of_young_leases_are_skipped": 2,
    "returning_servers_vote_at_once": 13,
    "snapshots_are_taken_while_applying_is_stopped": 61,
    "stale_votes_count": 121,
    "the_number_of_removals_has_no_limit": 355,
    "ticks_of_any_term_count": 4,
    "time_without_a_leader_counts": 2,
    "two_changes_at_once": 5,
    "unknown_commands_are_answered": 61,
    "unknown_commands_are_skipped": 61,
    "unknown_services_in_a_snapshot_are_skipped": 1915,
}


@pytest.mark.parametrize(
    "mutant",
    [
        pytest.param(mutant, marks=pytest.mark.slow if mutant.name in SLOW else (), id=mutant.name)
        for mutant in MUTANTS
    ],
)
def test_mutant_is_found(mutant: Mutant, record_property: Callable[[str, object], None]) -> None:
    seeds, report = hunt(mutant, KNOWN.get(mutant.name))
    record_property("seeds", seeds)
    assert report is not None, f"not found in {seeds} seeds"
    assert report.invariant in mutant.rules, report.detail


@pytest.mark.parametrize("name", KNOWN)
def test_a_known_seed_is_one_of_those_within_which_the_mutant_must_be_found(name: str) -> None:
    mutant = next(mutant for mutant in MUTANTS if mutant.name == name)
    assert KNOWN[name] in seeds_of(mutant)


def test_there_are_as_many_mutants_as_documented() -> None:
    names = {mutant.name for mutant in MUTANTS}
    assert len(names) == len(MUTANTS) >= 22
    assert names > SLOW


def test_every_rule_of_a_mutant_is_a_rule_of_the_simulator() -> None:
    modules = sorted(Path(simulation.__file__).parent.glob("*.py"))
    source = "".join(path.read_text() for path in modules)
    rules = {rule.partition(" (")[0] for mutant in MUTANTS for rule in mutant.rules}
    assert [rule for rule in sorted(rules) if f'"{rule}' not in source] == []


def test_a_patch_restores_the_original() -> None:
    original = election.pre_campaign
    with Patch() as patch:
        patch.setattr(election, "pre_campaign", election.campaign)
        assert election.pre_campaign is election.campaign
    assert election.pre_campaign is original


def test_the_table_names_the_rule_that_found_a_mutant(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "no_pre_vote"]) == 0
    out = capsys.readouterr().out
    assert "PreVote before a campaign (seed 0)" in out
    assert "1 mutants, 0 not found" in out
