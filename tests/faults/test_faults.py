"""Three real nodes, real faults, and a check of every answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from braft_testing.faults import KINDS, Ability, Options, Report, run, survey

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

#: Each kind once, in an order that the seed decides.
IN_NAMESPACES = [
    "kill leader",
    "kill majority",
    "pause leader",
    "partition leader",
    "one-way",
    "bridge",
    "link down",
    "reject",
    "delay",
    "disk full",
    "power loss",
    "slow disk",
    "slow syncs",
    "removed directory",
    "clock jump",
    "suspend",
    "transfer",
    "mixed versions",
]
ON_LOOPBACK = ["kill", "kill leader", "power cycle", "pause", "pause leader", "restart", "suspend"]
ON_LOOPBACK += ["mixed versions"]


def short(directory: Path, kinds: list[str], count: int, *, loopback: bool) -> Report:
    """Run the requested number of faults, however slow the machine is."""
    return run(
        Options(
            seed=20,
            directory=directory,
            seconds=600.0,
            faults=count,
            kinds=kinds,
            loopback=loopback,
            hold=(0.3, 1.2),
            calm=0.1,
            deadline=60.0,
        )
    )


def assert_passed(report: Report, faults: int, kinds: int) -> None:
    told = "\n".join([*report.problems, *map(str, report.violations), *report.undecided])
    assert report.passed, f"seed {report.seed}, evidence in {report.directory}\n{told}"
    assert len(report.entries) == faults
    assert len(report.by_kind()) >= kinds
    assert all(entry.served is not None for entry in report.entries)
    assert report.outcomes["ok"] > 100
    assert report.checked["nodes hold the same state"] == report.nodes


def test_a_cluster_in_namespaces_keeps_its_guarantees(tmp_path: Path) -> None:
    missing = survey()
    if Ability.NETWORK in missing:
        pytest.skip(f"no network of our own, see the test on loopback: {missing[Ability.NETWORK]}")
    kinds = [name for name in IN_NAMESPACES if KINDS[name].needs not in missing]
    report = short(tmp_path, kinds, len(kinds), loopback=False)
    assert len(kinds) >= 10 or Ability.DISK in missing
    assert_passed(report, faults=len(kinds), kinds=6)


def test_a_cluster_on_loopback_keeps_its_guarantees(tmp_path: Path) -> None:
    if Ability.NETWORK not in survey():
        pytest.skip("there are namespaces: the other test does this and more")
    assert_passed(short(tmp_path, ON_LOOPBACK, 10, loopback=True), faults=10, kinds=6)


def test_a_cluster_that_breaks_a_guarantee_is_reported(tmp_path: Path) -> None:
    """Nodes that delete their data at each start lose acknowledged writes in a power cycle."""
    report = run(
        Options(
            seed=1,
            directory=tmp_path,
            seconds=60.0,
            faults=1,
            kinds=["power cycle"],
            loopback=True,
            hold=(0.1, 0.2),
            calm=4.0,
            deadline=60.0,
            settings={"data_dir": ":memory:"},
        )
    )
    assert not report.passed
    found = {violation.rule for violation in report.violations}
    assert "lost" in found, report.problems
    # Which rule a register breaks depends on what its first call after the cycle is.
    assert found & {"linearizable", "stale", "revisions"}, found
    offenders = list(Path(report.directory).glob("history-*.txt"))
    assert offenders
    assert "power cycle" in (Path(report.directory) / "timeline.txt").read_text()
