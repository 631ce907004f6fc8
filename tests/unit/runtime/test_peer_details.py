"""One bad peer spoils neither ``GET /raft`` nor a terminal that shows it."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from braft_core import strict_json
from braft_core.cli.diagnosis.cluster import examine
from braft_core.cli.status import _row
from braft_core.compat.go_braft.details import cluster_view, silent_node
from braft_core.errors import Unreachable
from braft_core.peer import DetailsReply, PeerReply, PeerRequest
from braft_core.raft import Server
from braft_core.runtime.peer_details import MAX_BYTES, read_details
from braft_core.runtime.status import Status, _member

SERVER = Server("server-2", "10.0.0.2:15000")
WELL = silent_node(SERVER, "") | {
    "raftState": "Follower",
    "pid": 7,
    "pcpu": 1.5,
    "commitIndex": 9,
    "appliedIndex": 9,
    "wallClock": 1_790_000_000.25,
    "lastWriteSeconds": 0.01,
    "notes": {"disk": "slow"},
    "stateDigests": [{"index": 9, "services": {"kv": "ab12"}}],
    "autopilot": {"mode": "on", "silent": {"a": None, "b": 1.5}, "removed": []},
    "bizData": {"any": ["thing", None, 1.5]},
    "ofTheFuture": [{"x": 1}],
}
del WELL["error"]

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def _read(answer: Any) -> dict[str, Any]:
    return read_details(SERVER, json.dumps(answer).encode())


def _show(entry: dict[str, Any]) -> None:
    """Process an entry like the page, ``braft status`` and ``braft doctor``."""
    own = WELL | {"serverID": "server-1"}
    view = cluster_view(
        current_leader=True,
        discovery="",
        leader_addr="",
        leader_id="server-1",
        members=[_member(entry)],
        nodes=[own, entry],
        servers=[SERVER],
        extra={"autopilot": entry.get("autopilot", {})},
    )
    shown = json.loads(strict_json.encode(view))
    for node in shown["nodes"]:
        assert "".join(_row(node, 9)).isprintable()
    examine(shown)


def test_a_healthy_answer_is_passed_on_as_it_is() -> None:
    assert _read(WELL) == WELL
    _show(_read(WELL))


@given(st.dictionaries(st.sampled_from(sorted(WELL)) | st.text(), anything))
def test_an_entry_of_anything_can_be_shown(answer: dict[str, Any]) -> None:
    entry = _read(answer)
    assert set(silent_node(SERVER, "")) - {"error"} <= set(entry)
    assert entry["serverID"] == SERVER.id
    _show(entry)


@given(st.binary() | st.from_regex(rb"[\[{\"0-9ntf]{1,40}", fullmatch=True))
def test_bytes_of_anything_can_be_shown(data: bytes) -> None:
    _show(read_details(SERVER, data))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("raftState", 3),
        ("pid", "7"),
        ("pid", True),
        ("pid", -1),
        ("pid", 1 << 70),
        ("rss", None),
        ("pcpu", "much"),
        ("pcpu", float("nan")),
        ("wallClock", float("inf")),
        ("appliedIndex", 1.5),
        ("addr", "10.0.0.2"),
        ("addr", [1]),
        ("raftID", "x"),
        ("raftID", {"id": "x"}),
        ("notes", ["disk"]),
        ("notes", {"disk": 1}),
        ("stateDigests", {}),
        ("stateDigests", [{"index": 1}]),
        ("stateDigests", [{"index": -1, "services": {}}]),
        ("stateDigests", [{"index": 1, "services": {"kv": 1}}]),
        ("autopilot", []),
        ("autopilot", {"silent": {"a": "long"}}),
        ("autopilot", {"removed": [{"id": "a"}]}),
        ("error", {"no": "text"}),
    ],
)
def test_a_wrong_type_is_left_out_and_named(key: str, value: Any) -> None:
    entry = _read(WELL | {key: value})
    assert entry["error"] == f"its answer has a wrong type in {key!r}"
    empty = silent_node(SERVER, "")
    assert entry.get(key) == (entry["error"] if key == "error" else empty.get(key))
    _show(entry)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"{", "is not JSON"),
        (b"[]", "no JSON object"),
        (b"null", "no JSON object"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' + b"[" * 100 + b"]" * 100 + b"}", "no JSON object of a node's details"),
        (b'{"a": "' + b"x" * MAX_BYTES + b'"}', "bytes, accepted are at most"),
        (b"\xff", "is not JSON"),
    ],
)
def test_what_is_no_answer_is_a_silent_node(data: bytes, reason: str) -> None:
    entry = read_details(SERVER, data)
    assert reason in entry["error"]
    assert entry | {"error": ""} == silent_node(SERVER, "")


def test_a_terminal_gets_no_escapes_and_no_endless_line() -> None:
    hostile = "\x1b[2J\u202e\nroot# " + "x" * 5000
    entry = _read(WELL | {"address": hostile, "notes": {hostile: hostile}, hostile: [hostile]})
    for text in (entry["address"], *entry["notes"], *entry["notes"].values()):
        assert text.startswith("?[2J??root# xxx")
        assert len(text) == 2001
    assert all(key.isprintable() for key in entry)


def test_a_peer_cannot_be_shown_as_another() -> None:
    entry = _read(WELL | {"serverID": "server-1", "error": "no quorum"})
    assert entry["serverID"] == "server-2"
    assert entry["error"] == "no quorum; it answers as another server, 'server-1'"


@pytest.mark.parametrize("error", [OSError(24, "Too many open files"), psutil.AccessDenied()])
def test_details_omit_what_the_system_does_not_report(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    class Silent:
        def memory_info(self) -> None:
            raise error

    status = Status(SimpleNamespace())  # type: ignore[arg-type]
    monkeypatch.setattr(status, "_process", Silent())
    assert status._usage() == (0, 0.0)


@pytest.mark.parametrize("failure", [Unreachable("gone"), RuntimeError("a bug"), None])
def test_a_member_that_cannot_be_asked_costs_no_view(failure: Exception | None) -> None:
    async def call(address: str, request: PeerRequest, timeout: float) -> PeerReply:
        if failure is not None:
            raise failure
        return DetailsReply(json.dumps(WELL | {"clockSkew": 99.0}).encode())

    entry = asyncio.run(Status._ask(SERVER, call, 1.0))
    if failure is None:
        assert entry["clockSkew"] != 99.0
    else:
        assert str(failure) in entry["error"]
