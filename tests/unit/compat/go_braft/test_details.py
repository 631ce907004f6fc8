"""``GET /raft`` keeps the keys and spelling that users' scripts read."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braft_core.compat.go_braft.details import (
    MemberFacts,
    NodeFacts,
    RaftIDFacts,
    cluster_view,
    format_duration,
    node_details,
    raft_state,
    silent_node,
)
from braft_core.raft.types import Role, Server, Suffrage

FACTS = NodeFacts(
    server_id="hKJJRLsy",
    raft_id=RaftIDFacts("2gU1Rt7IbWtne7YyVXnCD0JuYaR", "host", "192.168.6.240", "6ZVAgFb2xzh7"),
    address="192.168.6.240:15000",
    raft_state="Follower",
    leader="192.168.6.240:16000",
    app_version="1.0.0",
    started_at=datetime(2024, 5, 15, 9, 42, 16, 594002, timezone(timedelta(hours=8))),
    uptime_ns=59_048_655_379,
    build_time="2024-05-15T09:41:41+0800",
    git_commit="master-18f39a8",
    discovery_nodes=("192.168.6.240:15000", "192.168.6.240:16000"),
    addr=("192.168.6.240:15000",),
    pid=82043,
    rss=33443840,
    pcpu=1.0,
    raft_port=15000,
    discovery_port=15001,
    http_port=15002,
    node_ids=("a", "b"),
)

NODE_KEYS = """serverID buildTime duration address raftState leader appVersion startTime
pythonVersion gitCommit discoveryNodes addr raftID raftLogSum pid rss pcpu raftPort discoveryPort
httpPort nodeIds""".split()
VIEW_KEYS = """currentLeader discovery leaderAddr leaderID memberList nodeNum nodes
raftServers""".split()


def test_a_node_has_the_published_keys_and_no_optional_ones_unless_there_is_something_to_say() -> (
    None
):
    assert list(node_details(FACTS)) == NODE_KEYS
    full = node_details(replace(FACTS, biz_data={"x": 1}, error="lost"))
    assert set(full) == {*NODE_KEYS, "bizData", "error"}
    assert full["bizData"] == {"x": 1}
    assert full["error"] == "lost"


def test_node_values_are_those_of_the_published_example() -> None:
    details = node_details(FACTS)
    assert details["duration"] == "59.048655379s"
    assert details["startTime"] == "2024-05-15T09:42:16.594002+08:00"
    assert details["raftID"] == {
        "id": "2gU1Rt7IbWtne7YyVXnCD0JuYaR",
        "hostname": "host",
        "ip": "192.168.6.240",
        "sqid": "6ZVAgFb2xzh7",
    }
    assert re.fullmatch(r"python3\.\d+\.\S+_\w+/\w+", details["pythonVersion"])
    assert json.loads(json.dumps(details)) == details


def test_a_silent_node_has_the_same_keys_and_says_why() -> None:
    entry = silent_node(Server("id", "[::1]:15000"), "no answer within 3 s")
    assert set(entry) == {*NODE_KEYS, "error"}
    assert entry["raftID"]["ip"] == "::1"
    assert entry["raftPort"] == 15000
    assert {k: type(v) for k, v in entry.items() if k != "error"} == {
        k: type(v) for k, v in node_details(FACTS).items()
    }


def test_cluster_view_has_the_published_keys() -> None:
    view = cluster_view(
        current_leader=True,
        discovery="static://a,b",
        leader_addr="a:1",
        leader_id="A",
        members=[MemberFacts("10.0.0.1", "A:15000", 15001)],
        nodes=[node_details(FACTS)],
        servers=[Server("A", "a:1"), Server("B", "b:1", Suffrage.NONVOTER)],
    )
    assert list(view) == VIEW_KEYS
    assert view["memberList"] == [{"addr": "10.0.0.1", "name": "A:15000", "port": 15001}]
    assert view["nodeNum"] == 1
    assert view["raftServers"] == [
        {"suffrage": 0, "id": "A", "address": "a:1"},
        {"suffrage": 1, "id": "B", "address": "b:1"},
    ]


def test_extra_keys_add_but_never_override() -> None:
    details = node_details(replace(FACTS, extra={"term": 7, "pid": -1}))
    assert details["term"] == 7
    assert details["pid"] == 82043


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0s"),
        (1, "1ns"),
        (1_500, "1.5µs"),
        (250_000_000, "250ms"),
        (59_048_655_379, "59.048655379s"),
        (34 * 60 * 10**9 + 56_050_000_000, "34m56.05s"),
        (3_603 * 10**9, "1h0m3s"),
        (-1_000_000_000, "-1s"),
    ],
)
def test_durations_read_as_go_writes_them(nanoseconds: int, text: str) -> None:
    assert format_duration(nanoseconds) == text


@given(st.integers(min_value=0, max_value=10**18))
def test_a_duration_loses_nothing(nanoseconds: int) -> None:
    units = {"h": 3600 * 10**9, "m": 60 * 10**9, "s": 10**9, "ms": 10**6, "µs": 10**3, "ns": 1}
    parts = re.findall(r"(\d+)(?:\.(\d+))?(ms|µs|ns|h|m|s)", format_duration(nanoseconds))
    total = 0
    for whole, fraction, unit in parts:
        total += int(whole) * units[unit]
        total += int(fraction or 0) * units[unit] // 10 ** len(fraction)
    assert total == nanoseconds


def test_roles_have_the_words_of_the_original() -> None:
    words = {role.name: raft_state(role) for role in Role}
    assert words == {
        "FOLLOWER": "Follower",
        "PRE_CANDIDATE": "Candidate",
        "CANDIDATE": "Candidate",
        "LEADER": "Leader",
    }


def test_start_time_of_utc_has_a_zone() -> None:
    started = datetime(2024, 1, 1, tzinfo=UTC)
    assert node_details(replace(FACTS, started_at=started))["startTime"].endswith("+00:00")
