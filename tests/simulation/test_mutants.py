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
from tests.simulation.mutants import MUTANTS, Mutant, hunt
from tests.simulation.mutants.__main__ import main
from tests.simulation.mutants.planting import Patch

pytestmark = pytest.mark.timeout(1200)  # computing only, on a busy machine too


#: Mutants that take more than ten seconds, since they need many seeds or long runs.
SLOW = {
    "a_lease_outlives_a_transfer",
    "a_newer_proposal_is_accepted_as_well",
    "a_snapshot_with_the_newest_configuration",
    "stale_votes_count",
    "the_number_of_removals_has_no_limit",
    "unknown_services_in_a_snapshot_are_skipped",
    "probe_results_are_ignored",
}


@pytest.mark.parametrize(
    "mutant",
    [
        pytest.param(mutant, marks=pytest.mark.slow if mutant.name in SLOW else (), id=mutant.name)
        for mutant in MUTANTS
    ],
)
def test_mutant_is_found(mutant: Mutant, record_property: Callable[[str, object], None]) -> None:
    seeds, report = hunt(mutant)
    record_property("seeds", seeds)
    assert report is not None, f"not found in {seeds} seeds"
    assert report.invariant in mutant.rules, report.detail


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
