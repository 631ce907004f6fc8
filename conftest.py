"""Divide the suite: what ``make test`` runs, and what only ``make test-all`` runs.

A change must not be judged by how busy a machine is. ``make test`` therefore has only tests whose
outcome does not depend on that, each of them quick; CONTRIBUTING.md tells how to mark the others.
"""

from __future__ import annotations

from typing import Any

import pytest

#: Only ``make test-all`` runs these.
SLOW = "slow"
#: Only ``make test-all`` runs these, except for the few that are marked ``smoke``.
REAL = ("integration", "faults", "peers")
SMOKE = "smoke"
#: Seconds that a test of ``make test`` may take on two quiet cores; a longer one is named.
QUICK_SECONDS = 10.0

_everything = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--all``."""
    text = "run all tests, also those that `make test` leaves to `make test-all`"
    parser.getgroup("braft").addoption("--all", action="store_true", help=text)


def pytest_configure(config: pytest.Config) -> None:
    """Decide for the whole run; a worker of pytest-xdist is told by its controller."""
    if (given := getattr(config, "workerinput", {}).get("everything")) is not None:
        config.stash[_everything] = given
        return
    # Whoever names files, tests or markers runs what was named.
    named = config.args_source is pytest.Config.ArgsSource.ARGS or bool(config.option.markexpr)
    config.stash[_everything] = config.option.all or named


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of pytest-xdist what was decided."""
    node.workerinput["everything"] = node.config.stash[_everything]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what belongs to ``make test-all`` alone."""
    if config.stash[_everything]:
        return
    left_out = [item for item in items if only_in_full(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not only_in_full(item)]


def only_in_full(item: pytest.Item) -> bool:
    """Return whether ``make test`` leaves out this test."""
    marks = {mark.name for mark in item.iter_markers()}
    return SLOW in marks or (SMOKE not in marks and not marks.isdisjoint(REAL))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Name the tests that take too long for ``make test``."""
    if config.stash[_everything]:
        return
    seconds: dict[str, float] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                seconds[report.nodeid] = seconds.get(report.nodeid, 0.0) + report.duration
    longest = sorted(seconds.items(), key=lambda one: -one[1])
    if too_long := [one for one in longest if one[1] > QUICK_SECONDS]:
        terminalreporter.section(f"longer than the {QUICK_SECONDS:g} s of a quick test", "-")
        for name, duration in too_long:
            terminalreporter.write_line(f"{duration:6.1f} s  {name}")
        terminalreporter.write_line(
            "A test that takes so long on two quiet cores is marked `slow` (CONTRIBUTING.md)."
        )
