"""Log lines about roles, leaders and configurations."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from braft_core.compat.go_braft.server_id import encode_server_id, new_raft_id
from braft_core.raft import (
    Configuration,
    ConfigurationCommitted,
    LeaderChanged,
    Role,
    RoleChanged,
    Server,
    Suffrage,
)
from braft_core.runtime.core_events import EventPublisher

RAFT_ID = new_raft_id("10.0.0.1", (1, 2, 3))
SERVER_ID = encode_server_id(RAFT_ID)


@pytest.fixture
def publisher(caplog: pytest.LogCaptureFixture) -> EventPublisher:
    caplog.set_level(logging.DEBUG)
    quiet: Any = SimpleNamespace(emit=lambda *_: None, call=lambda action: None)
    server: Any = SimpleNamespace(
        components=SimpleNamespace(server_id="me", plugins=None),
        addresses=SimpleNamespace(of={SERVER_ID: "10.0.0.1:1"}.get),
        leader_changed=lambda leader: None,
        leadership=SimpleNamespace(on_role=lambda role, term: None),
        condition=SimpleNamespace(notify=lambda: None),
    )
    return EventPublisher(server, quiet, server)


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.levelname, record.getMessage()) for record in caplog.records]


def test_servers_are_named_as_a_person_names_them(
    publisher: EventPublisher, caplog: pytest.LogCaptureFixture
) -> None:
    servers = (Server(SERVER_ID, "10.0.0.1:1"), Server("x" * 40, "b:2", Suffrage.NONVOTER))
    publisher.on_event(LeaderChanged(SERVER_ID, 2))
    publisher.on_event(LeaderChanged("", 2))
    publisher.on_event(ConfigurationCommitted(Configuration(servers), 7))
    short = RAFT_ID.id
    assert [text for _, text in lines(caplog)] == [
        f"leader {short} at 10.0.0.1:1 in term 2",
        "leader (none) in term 2",
        f"configuration at index 7: {short} at 10.0.0.1:1 (Voter), {'x' * 16} at b:2 (Nonvoter)",
    ]


def test_observers_get_none_when_the_node_knows_no_leader() -> None:
    seen: list[tuple[str, dict[str, Any]]] = []

    def notify(hook: str, *, node: Any, **arguments: Any) -> None:
        seen.append((hook, arguments))

    events: Any = SimpleNamespace(emit=lambda *_: None, call=lambda action: action())
    server: Any = SimpleNamespace(
        components=SimpleNamespace(server_id="me", plugins=SimpleNamespace(notify=notify)),
        addresses=SimpleNamespace(of=lambda _: "10.0.0.1:1"),
        leader_changed=lambda leader: None,
        leadership=SimpleNamespace(on_role=lambda role, term: None),
        condition=SimpleNamespace(notify=lambda: None),
    )
    publisher = EventPublisher(server, events, server)
    publisher.on_event(LeaderChanged(SERVER_ID, 2))
    publisher.on_event(LeaderChanged("", 3))
    assert seen == [
        ("braft_on_leader_changed", {"leader": SERVER_ID, "term": 2}),
        ("braft_on_leader_changed", {"leader": None, "term": 3}),
    ]


def test_repeated_pre_vote_rounds_are_logged_once(
    publisher: EventPublisher, caplog: pytest.LogCaptureFixture
) -> None:
    asking = RoleChanged(Role.PRE_CANDIDATE, 5, "election timeout")
    for event in (
        asking,
        asking,
        asking,
        asking._replace(term=6),
        RoleChanged(Role.FOLLOWER, 6, "so"),
    ):
        publisher.on_event(event)
    publisher.on_event(LeaderChanged("", 6))
    publisher.on_event(asking._replace(term=6))
    told = "Candidate (asking for pre-votes) in term"
    assert lines(caplog) == [
        ("INFO", f"{told} 5: election timeout"),
        ("DEBUG", f"{told} 5: election timeout"),
        ("DEBUG", f"{told} 5: election timeout"),
        ("INFO", f"{told} 6: election timeout"),
        ("INFO", "Follower in term 6: so"),
        ("INFO", "leader (none) in term 6"),
        ("INFO", f"{told} 6: election timeout"),
    ]
