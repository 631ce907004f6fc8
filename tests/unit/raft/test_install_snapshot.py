"""Compaction and InstallSnapshot (Raft §7), step by step."""

from __future__ import annotations

from typing import Any

import pytest

from braft_core.errors import InvariantViolation, ProtocolViolation
from braft_core.raft import (
    AppendEntries,
    Configuration,
    HardState,
    InstallSnapshot,
    InstallSnapshotResponse,
    Message,
    RaftConfig,
    RaftCore,
    Server,
    SnapshotMeta,
    Suffrage,
)
from braft_testing.core_harness import CoreHarness, take_ready


def snapshot(core: RaftCore, index: int, tail: int = 0) -> SnapshotMeta:
    """Take a snapshot at ``index`` and keep ``tail`` entries before it."""
    at, configuration = core.log.configuration_entry_at(index)
    term = core.log.term_at(index)
    assert term is not None
    meta = SnapshotMeta(f"s{index}", index, term, configuration, at, 1)
    core.applied(index)
    core.snapshot_taken(meta, index - tail)
    return meta


def loaded(names: str, entries: int, window: int = 8) -> tuple[CoreHarness, RaftCore]:
    harness = CoreHarness(names, config=RaftConfig(max_inflight_messages=window))
    a = harness.elect("a")
    a.propose([b"%d" % i for i in range(entries)])
    harness.settle()
    return harness, a


def left_behind() -> tuple[CoreHarness, RaftCore]:
    """Return a leader whose follower c is dead and has missed twenty entries."""
    harness, a = loaded("abc", 5)
    harness.dead = {"c"}
    a.propose([b"more"] * 20)
    harness.settle()
    a.unreachable("c")
    return harness, a


def test_the_log_keeps_a_tail_and_knows_the_term_before_it() -> None:
    _, a = loaded("abc", 50)
    meta = snapshot(a, 40, tail=10)
    assert a.log.compacted_index == 30
    assert a.log.term_at(30) == meta.term
    assert a.configuration.ids == ("a", "b", "c")


def test_a_snapshot_of_what_was_not_applied_is_a_violation() -> None:
    _, a = loaded("abc", 5)
    configuration = a.configuration
    with pytest.raises(InvariantViolation, match="ahead of the applied index"):
        a.snapshot_taken(SnapshotMeta("x", 7, 2, configuration, 1), 7)


def install(harness: CoreHarness) -> list[InstallSnapshot]:
    return [m for m in harness.sent if isinstance(m, InstallSnapshot)]


def test_7_a_follower_behind_the_log_gets_a_snapshot_and_then_entries() -> None:
    harness, a = left_behind()
    snapshot(a, a.last_index)
    harness.dead = set()
    harness.advance(0.5)
    assert [m.to for m in install(harness)] == ["c"]
    assert harness.nodes["c"].log.compacted_index == a.log.compacted_index
    harness.deliver(
        InstallSnapshotResponse("c", "a", a.current_term, True, install(harness)[0].request_id)
    )
    a.propose([b"after"])
    harness.advance(0.5)
    assert harness.commands("c")[-1] == b"after"
    assert harness.nodes["c"].commit_index == a.commit_index


def test_a_transfer_that_breaks_off_is_begun_again_with_the_next_heartbeat() -> None:
    harness, a = left_behind()
    snapshot(a, a.last_index)
    harness.advance(0.2)
    (first,) = install(harness)
    a.step(InstallSnapshotResponse("c", "a", 0, False, first.request_id))
    harness.settle()
    assert len(install(harness)) == 1, "not at once"
    harness.advance(0.2)
    assert len(install(harness)) == 2


def test_a_silent_transfer_is_not_cut_off_by_any_clock() -> None:
    harness, a = left_behind()
    snapshot(a, a.last_index)
    harness.advance(60.0)
    assert len(install(harness)) == 1


def test_entries_behind_a_travelling_snapshot_are_kept_for_its_receiver() -> None:
    harness, a = left_behind()
    sent = snapshot(a, a.last_index)
    harness.advance(0.2)
    a.propose([b"later"] * 30)
    harness.settle()
    snapshot(a, a.last_index)
    assert a.log.compacted_index == sent.index


def test_a_slow_follower_that_compaction_has_passed_harms_nobody() -> None:
    """Its window is full and the previous entry is compacted: commit indexes must wait."""
    harness, a = loaded("abc", 5, window=1)

    def to_or_from_c(message: Message) -> bool:
        return message.sender == "c" and not isinstance(message, AppendEntries)

    harness.lose = to_or_from_c
    a.propose([b"one"])
    harness.settle()
    snapshot(a, a.last_index)
    a.propose([b"two"])
    harness.settle()
    snapshot(a, a.last_index)
    a.read(1)
    harness.advance(0.3)
    harness.lose = lambda message: False
    harness.advance(2.0)
    assert harness.leaders == ["a"]


def test_7_a_log_that_holds_the_snapshot_keeps_what_follows_it() -> None:
    harness, a = loaded("abc", 10)
    b = harness.nodes["b"]
    last = b.last_index
    meta = SnapshotMeta("s", 5, b.log.term_at(5) or 0, b.configuration, 1)
    b.step(InstallSnapshot("a", "b", a.current_term, meta, request_id=9))
    ready = take_ready(b)
    assert ready.snapshot is None
    assert b.last_index == last
    assert any(isinstance(m, InstallSnapshotResponse) for m in ready.messages_after_persist)


def test_a_snapshot_replaces_a_conflicting_log_and_waits_for_the_disk() -> None:
    harness = CoreHarness("abc")
    b = harness.nodes["b"]
    meta = SnapshotMeta("s", 100, 7, b.configuration, 1)
    b.step(InstallSnapshot("a", "b", 7, meta, request_id=9))
    ready = take_ready(b)
    assert ready.snapshot == meta
    assert ready.hard_state == HardState(7, "")
    assert not ready.messages
    assert (b.commit_index, b.last_index, b.log.first_index) == (100, 100, 101)


def test_a_restart_begins_at_the_snapshot() -> None:
    harness, a = loaded("abc", 20)
    meta = snapshot(a, 15, tail=5)
    again = RaftCore(
        "a",
        config=RaftConfig(),
        random=lambda: 0.5,
        now=0.0,
        hard_state=HardState(a.current_term, ""),
        entries=a.log.slice(a.log.first_index, a.last_index + 1),
        compacted_index=a.log.compacted_index,
        compacted_term=a.log.compacted_term,
        snapshot=meta,
    )
    assert (again.commit_index, again.last_index) == (15, a.last_index)
    assert again.configuration == a.configuration
    assert again.poll() is None, "nothing up to the snapshot is applied again"
    assert harness.leaders == ["a"]


EVIL = Configuration((Server("e", "h:1"),))


def offer(core: RaftCore, **changes: Any) -> InstallSnapshot:
    """Return a snapshot that a leader of the next term could send."""
    meta = SnapshotMeta("", 100, 1, EVIL, 1, 10)._replace(
        **{name: value for name, value in changes.items() if name not in ("sender", "leads")}
    )
    term = core.current_term + changes.get("leads", 1)
    return InstallSnapshot(changes.get("sender", "e"), core.server_id, term, meta)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"sender": "b"}, "names this server itself"),
        ({"sender": "c", "leads": 0}, "a leads it"),
        ({"index": 0}, "a snapshot at 0"),
        ({"term": 0}, "a snapshot of term 0"),
        ({"term": 50}, "a snapshot of term 50"),
        ({"configuration_index": 101}, "configuration of 101"),
        ({"configuration_index": -1}, "configuration of -1"),
        ({"configuration": Configuration()}, "without a voter"),
        (
            {"configuration": Configuration((Server("x", "h:1", Suffrage.NONVOTER),))},
            "without a voter",
        ),
        (
            {"configuration": Configuration(tuple(Server(str(n), "h:1") for n in range(1025)))},
            "1025 servers",
        ),
    ],
)
def test_an_offer_that_breaks_a_rule_is_refused(changes: dict[str, Any], rule: str) -> None:
    harness, _ = loaded("abc", 10)
    b = harness.nodes["b"]
    with pytest.raises(ProtocolViolation, match=rule):
        b.needs_snapshot(offer(b, **changes))


def test_an_offer_is_needed_if_it_is_ahead() -> None:
    harness, a = loaded("abc", 10)
    b = harness.nodes["b"]
    assert b.needs_snapshot(offer(b))
    assert not b.needs_snapshot(offer(b, leads=-1))
    assert b.needs_snapshot(offer(b, sender="a", leads=0))
    assert not b.needs_snapshot(offer(b, index=b.commit_index))
    term = a.current_term
    a.propose([b"more"])
    assert not a.needs_snapshot(offer(a, index=a.last_index, term=term))
    with pytest.raises(ProtocolViolation, match="a leads it"):
        a.needs_snapshot(offer(a, leads=0))


def test_a_description_without_contents_replaces_nothing() -> None:
    harness, _ = loaded("abc", 10)
    b = harness.nodes["b"]
    before = (b.last_index, b.commit_index)
    b.step(offer(b))
    ready = take_ready(b)
    assert ready.snapshot is None
    assert (b.last_index, b.commit_index) == before
    answers = [*ready.messages, *ready.messages_after_persist]
    assert [type(m) for m in answers] == [InstallSnapshotResponse]
    assert isinstance(answers[0], InstallSnapshotResponse)
    assert not answers[0].success
