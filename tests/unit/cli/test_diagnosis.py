"""The findings of ``braft doctor`` from the status of a node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from braft_core.cli.diagnosis import Finding, Level
from braft_core.cli.diagnosis.cluster import LATE, examine


def node(number: int, **facts: Any) -> dict[str, Any]:
    return {
        "serverID": f"s{number}",
        "address": f"h{number}:1",
        "pid": 100 + number,
        "appVersion": "1.0.0",
        "braftVersion": "0.1.0",
        "commitIndex": 50_000,
        "appliedIndex": 50_000,
        "lastWriteSeconds": 0.001,
        "clockSkew": 0.01,
    } | facts


def silent(number: int) -> dict[str, Any]:
    return node(
        number, pid=0, error="connection refused", appVersion="", braftVersion="", appliedIndex=0
    )


def view(nodes: list[dict[str, Any]], **facts: Any) -> dict[str, Any]:
    servers = [{"id": n["serverID"], "address": n["address"], "suffrage": 0} for n in nodes]
    return {
        "nodes": nodes,
        "raftServers": servers,
        "leaderID": "s1",
        "leaderAddr": "h1:1",
        "waiting": "",
        "autopilot": {"verdict": "healthy", "reason": f"all {len(nodes)} voters are healthy"},
    } | facts


def three(**facts: Any) -> dict[str, Any]:
    return view([node(1), node(2), node(3)], **facts)


def found(view: dict[str, Any], subject: str) -> list[Finding]:
    return [finding for finding in examine(view) if finding.subject == subject]


def test_a_healthy_cluster_has_no_finding_but_good_ones() -> None:
    assert {finding.level for finding in examine(three())} == {Level.OK}
    (majority,) = found(three(), "majority")
    assert majority.message == "3 of 3 voters answer; 1 more may fail"


@pytest.mark.parametrize(
    ("nodes", "level", "words"),
    [
        ([node(1)], Level.WARN, "one voter alone"),
        ([node(1), node(2)], Level.WARN, "no further failure is tolerated"),
        ([node(1), node(2), silent(3)], Level.WARN, "(not: h3:1: connection refused); no further"),
        ([node(1), silent(2), silent(3)], Level.FAIL, "1 of 3 voters answer"),
        ([*map(node, (1, 2, 3, 4))], Level.OK, "4 of 4 voters answer; 1 more may fail"),
        ([*map(node, (1, 2, 3, 4)), silent(5)], Level.OK, "4 of 5"),
    ],
)
def test_who_is_missing_and_how_many_more_may_fail(
    nodes: list[dict[str, Any]], level: Level, words: str
) -> None:
    finding = found(view(nodes), "majority")[0]
    assert finding.level is level
    assert words in finding.message


def test_what_a_node_waits_for_comes_first() -> None:
    (first, *_) = examine(three(waiting="no leader for 11 s: 2 of 3 voters do not answer"))
    assert first.level is Level.FAIL
    assert first.message.startswith("no leader for 11 s")


@pytest.mark.parametrize(
    ("facts", "subject", "words"),
    [
        ({"braftVersion": "0.2.0"}, "versions", "several versions run: 0.1.0, 0.2.0"),
        ({"clockSkew": -7.25}, "clocks", "h3:1 by -7.2 s"),
        ({"appliedIndex": 50_000 - LATE - 1}, "replication", "h3:1 is 10,001 entries behind"),
        ({"lastWriteSeconds": 0.4}, "disks", "h3:1 took 400 ms"),
    ],
)
def test_one_node_that_differs_is_a_warning(
    facts: dict[str, Any], subject: str, words: str
) -> None:
    (finding,) = found(view([node(1), node(2), node(3, **facts)]), subject)
    assert finding.level is Level.WARN
    assert words in finding.message
    assert finding.remedy


def test_a_rival_cluster_is_a_failure_with_its_name() -> None:
    notes = {"rival cluster": "two clusters of one name have met: …"}
    (finding,) = found(view([node(1, notes=notes), node(2), node(3)]), "rival cluster")
    assert finding.level is Level.FAIL
    assert finding.message == "h1:1 says: two clusters of one name have met: …"


def test_states_that_differ_are_a_failure_with_the_section_that_says_what_to_do() -> None:
    notes = {"state": "the states of kv differ at entry 5: …"}
    (finding,) = found(view([node(1, notes=notes), node(2), node(3)]), "state")
    assert finding.level is Level.FAIL
    assert finding.remedy == 'read "The members\' states differ" in: braft docs operations'
    page = Path(__file__).parents[3] / "docs" / "operations.md"
    assert "\n### The members' states differ\n" in page.read_text(encoding="utf-8")


def test_decisions_about_silent_members_are_shown() -> None:
    autopilot = {"verdict": "too few voters", "reason": "h3:1 is dead; it stays, since …"}
    (finding,) = found(three(autopilot=autopilot), "autopilot")
    assert (finding.level, finding.message) == (Level.WARN, autopilot["reason"])
