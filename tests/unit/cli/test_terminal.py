"""Output for people: 80 columns, short ids, ``-h`` for every command."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

import pytest
import typer.main

from braft_core.abc import Leader
from braft_core.cli import app
from braft_core.compat.go_braft.server_id import RaftID, encode_server_id

ADDRESSES = [f"192.168.100.{number}:15000" for number in (101, 102, 103)]
KSUIDS = [f"3MpE4Sqi99V6kuCFlXrCum8zmC{letter}" for letter in "abc"]
IDS = [
    encode_server_id(RaftID(ksuid, "host", "192.168.100.101", "4SHFOoD2lPTD")) for ksuid in KSUIDS
]


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch, node: Any) -> None:
    """Set up a terminal of 80 columns and a cluster of three with real ids."""
    monkeypatch.setenv("COLUMNS", "80")
    pairs = list(zip(IDS, ADDRESSES, strict=True))
    node.leader = Leader(*pairs[0])
    node.rows = [
        {"id": server_id, "address": address, "suffrage": "Voter", "leader": server_id == IDS[0]}
        for server_id, address in pairs
    ]
    node.autopilot = {
        "mode": "on",
        "verdict": "silent",
        "reason": f"{ADDRESSES[2]} has been silent for 12 s; it is dead after 60 s, and then "
        "removed if a majority of the others answers",
        "silent": {IDS[2]: 12.0},
        "removed": [],
    }
    view = node.cluster_view()
    details = view["nodes"][0]
    view["discovery"] = "static://" + ",".join(ADDRESSES)
    view["nodeNum"] = 3
    view["nodes"] = [
        details
        | {"serverID": server_id, "address": address, "leader": ADDRESSES[0], "notes": {}}
        | {"raftState": "Follower", "duration": "123h42m9.123456789s", "rss": 1 << 30}
        | {"commitIndex": 1_234_567, "appliedIndex": 1_234_567, "pid": 1_234_567, "pcpu": 100.0}
        | {"appVersion": "0.1.0", "lastWriteSeconds": 0.3, "clockSkew": 0.0, "error": ""}
        for server_id, address in pairs
    ]
    view["nodes"][2] |= {"pid": 0, "error": f"cannot connect to {ADDRESSES[2]}", "leader": ""}
    view["nodes"][1] |= {"leader": ADDRESSES[2]}
    view["raftServers"] = [
        {"id": server_id, "address": address, "suffrage": 0} for server_id, address in pairs
    ]
    node.cluster_view = lambda timeout=None: view


@pytest.mark.parametrize(
    "words", [["status"], ["members", "list"], ["doctor"], ["leader", "show"]], ids=" ".join
)
def test_no_line_is_wider_than_80_columns_and_no_id_is_long(
    braft: Any, url: str, words: list[str]
) -> None:
    lines = braft(*words, "--url", url).stdout.splitlines()
    assert lines
    assert [line for line in lines if len(line) > 80 and not line.startswith("discovery ")] == []
    assert not [server_id for server_id in IDS if server_id in "".join(lines)]


def test_status_says_beside_the_table_what_is_special(braft: Any, url: str) -> None:
    lines = braft("status", "--url", url).stdout.splitlines()
    assert lines[3].split()[:3] == [ADDRESSES[0], "Follower", "1,234,567"]
    assert lines[3].split()[4:] == ["123h42m", "1234567", "1024", "MiB"]
    assert f"{ADDRESSES[1]}: its leader is {ADDRESSES[2]}" in lines
    assert f"{ADDRESSES[2]}: cannot connect to {ADDRESSES[2]}" in lines


def test_members_are_shown_and_named_by_short_ids(braft: Any, node: Any, url: str) -> None:
    lines = braft("members", "list", "--url", url).stdout.splitlines()
    assert lines[1].split() == [ADDRESSES[0], "Voter", "leader", KSUIDS[0]]
    assert braft("leader", "show", "--url", url).stdout == f"{ADDRESSES[0]}  {KSUIDS[0]}\n"
    assert braft("members", "remove", KSUIDS[1], "--url", url).exit_code == 0
    assert [row["id"] for row in node.rows] == [IDS[0], IDS[2]]
    unknown = braft("members", "remove", KSUIDS[1], "--url", url)
    assert unknown.exit_code == 2
    assert f"{KSUIDS[0]} at {ADDRESSES[0]}" in unknown.stderr


def test_the_widest_column_of_a_table_is_wrapped(braft: Any) -> None:
    lines = braft("config").stdout.splitlines()
    assert lines[0].split() == ["NAME", "VALUE", "FROM"]
    assert max(map(len, lines)) <= 80
    assert not any("](" in line for line in lines), "a link is no text for a terminal"


def _commands() -> list[list[str]]:
    def below(command: Any, words: list[str]) -> list[list[str]]:
        found = [words]
        for name, child in getattr(command, "commands", {}).items():
            found += below(child, [*words, name])
        return found

    return below(typer.main.get_command(app), [])


@pytest.mark.skipif(not entry_points(group="braft", name="static"), reason="needs braft-static")
def test_an_explained_plugin_fits_the_terminal(braft: Any) -> None:
    lines = braft("plugins", "show", "static").stdout.splitlines()
    assert "plugins.static.poll_interval = 1s (default)" in lines
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("words", _commands(), ids=lambda words: " ".join(words) or "braft")
def test_every_command_has_h_for_help(braft: Any, words: list[str]) -> None:
    short, long = (braft(*words, option) for option in ("-h", "--help"))
    assert (short.exit_code, short.stdout) == (0, long.stdout)
    assert "Usage: " in short.stdout
