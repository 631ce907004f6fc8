"""Clusters whose servers run several versions of the program, and are upgraded one by one."""

from __future__ import annotations

from itertools import count, islice

import pytest

from braft_testing.simulation.plan import draw_plan
from braft_testing.simulation.versions import program
from braft_testing.simulation.world import run_seed


def test_a_version_has_all_that_the_one_before_has() -> None:
    steps = (("command", "level"), ("argument", "level", "service"))
    versions = [program(steps, version) for version in (1, 2, 3)]
    assert [version.level for version in versions] == [1, 2, 3]
    commands = [
        {tally.name: tally.command_signatures() for tally in version.tallies()}
        for version in versions
    ]
    assert commands == [
        {"tally": {"add": (2, 2)}},
        {"tally": {"add": (2, 2), "leap": (2, 2)}},
        {"tally": {"add": (2, 3), "leap": (2, 2)}, "ledger": {"add": (2, 2)}},
    ]


def test_most_runs_have_one_version() -> None:
    mixed = sum(bool(draw_plan(seed).versions) for seed in range(500))
    assert 50 < mixed < 150


@pytest.mark.slow
def test_servers_are_upgraded_agree_and_stop_applying_what_they_do_not_know() -> None:
    mixed = (seed for seed in count() if draw_plan(seed).versions)
    reports = [run_seed(seed) for seed in islice(mixed, 12)]
    assert [report.detail for report in reports if not report.ok] == []
    assert all(report.agreements for report in reports)
    assert sum(report.faults["upgrade"] for report in reports) > 50
    assert sum(report.stops for report in reports) > 0


def test_runs_with_several_versions_are_the_same_each_time() -> None:
    seed = next(seed for seed in count() if draw_plan(seed).versions)
    assert run_seed(seed).digest == run_seed(seed).digest


def test_servers_that_lack_what_was_agreed_at_the_start_join_once_upgraded() -> None:
    """In this seed new servers form the cluster, and older ones come later."""
    assert draw_plan(2915).bootstrap
    report = run_seed(2915, seconds=2.0)
    assert report.ok, report.detail
