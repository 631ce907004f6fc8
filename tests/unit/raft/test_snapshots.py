"""Compaction and InstallSnapshot (Raft §7), step by step."""

from __future__ import annotations

from typing import Any

import pytest

from braft_core.errors import InvariantViolation
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
from braft_testing.lab import Lab


def snapshot(core: RaftCore, index: int, tail: int = 0) -> SnapshotMeta:
    """The server takes a snapshot after ``index`` and leaves ``tail`` entries in front of it."""
    at, configuration = core.log.configuration_entry_at(index)
    term = core.log.term_at(index)
    assert term is not None
    meta = SnapshotMeta(f"s{index}", index, term, configuration, at, 1)
    core.applied(index)
    core.snapshot_taken(meta, index - tail)
    return meta


def loaded(names: str, entries: int, window: int = 8) -> tuple[Lab, RaftCore]:
    lb = Lab(names, config=RaftConfig(max_inflight_messages=window))
    a = lb.elect("a")
    a.propose([b"%d" % i for i in range(entries)])
    lb.settle()
    return lb, a


def left_behind() -> tuple[Lab, RaftCore]:
    """A leader, and a dead follower c that has missed twenty entries."""
    lb, a = loaded("abc", 5)
    lb.dead = {"c"}
    a.propose([b"more"] * 20)
    lb.settle()
    a.unreachable("c")
    return lb, a


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


def install(lb: Lab) -> list[InstallSnapshot]:
    return [m for m in lb.sent if isinstance(m, InstallSnapshot)]


def test_7_a_follower_behind_the_log_gets_a_snapshot_and_then_entries() -> None:
    lb, a = left_behind()
    snapshot(a, a.last_index)
    lb.dead = set()
    lb.advance(0.5)
    assert [m.to for m in install(lb)] == ["c"]
    assert lb.nodes["c"].log.compacted_index == a.log.compacted_index
    lb.deliver(InstallSnapshotResponse("c", "a", a.current_term, True, install(lb)[0].request_id))
    a.propose([b"after"])
    lb.advance(0.5)
    assert lb.commands("c")[-1] == b"after"
    assert lb.nodes["c"].commit_index == a.commit_index


def test_a_transfer_that_breaks_off_is_begun_again_with_the_next_heartbeat() -> None:
    lb, a = left_behind()
    snapshot(a, a.last_index)
    lb.advance(0.2)
    (first,) = install(lb)
    a.step(InstallSnapshotResponse("c", "a", 0, False, first.request_id))
    lb.settle()
    assert len(install(lb)) == 1, "not at once"
    lb.advance(0.2)
    assert len(install(lb)) == 2


def test_a_silent_transfer_is_not_cut_off_by_any_clock() -> None:
    lb, a = left_behind()
    snapshot(a, a.last_index)
    lb.advance(60.0)
    assert len(install(lb)) == 1


def test_entries_behind_a_travelling_snapshot_are_kept_for_its_receiver() -> None:
    lb, a = left_behind()
    sent = snapshot(a, a.last_index)
    lb.advance(0.2)
    a.propose([b"later"] * 30)
    lb.settle()
    snapshot(a, a.last_index)
    assert a.log.compacted_index == sent.index


def test_a_slow_follower_that_compaction_has_passed_harms_nobody() -> None:
    """Its window is full, and the entry before the next one is gone: news of commits must wait."""
    lb, a = loaded("abc", 5, window=1)

    def to_or_from_c(message: Message) -> bool:
        return message.sender == "c" and not isinstance(message, AppendEntries)

    lb.lose = to_or_from_c
    a.propose([b"one"])
    lb.settle()
    snapshot(a, a.last_index)
    a.propose([b"two"])
    lb.settle()
    snapshot(a, a.last_index)
    a.read(1)
    lb.advance(0.3)
    lb.lose = lambda message: False
    lb.advance(2.0)
    assert lb.leaders == ["a"]


def test_7_a_log_that_holds_the_snapshot_keeps_what_follows_it() -> None:
    lb, a = loaded("abc", 10)
    b = lb.nodes["b"]
    last = b.last_index
    meta = SnapshotMeta("s", 5, b.log.term_at(5) or 0, b.configuration, 1)
    b.step(InstallSnapshot("a", "b", a.current_term, meta, request_id=9))
    ready = b.ready()
    assert ready.snapshot is None
    assert b.last_index == last
    assert any(isinstance(m, InstallSnapshotResponse) for m in ready.messages_after_persist)


def test_a_snapshot_replaces_a_conflicting_log_and_waits_for_the_disk() -> None:
    lb = Lab("abc")
    b = lb.nodes["b"]
    meta = SnapshotMeta("s", 100, 7, b.configuration, 1)
    b.step(InstallSnapshot("a", "b", 7, meta, request_id=9))
    ready = b.ready()
    assert ready.snapshot == meta
    assert ready.hard_state == HardState(7, "")
    assert not ready.messages
    assert (b.commit_index, b.last_index, b.log.first_index) == (100, 100, 101)


def test_a_restart_begins_at_the_snapshot() -> None:
    lb, a = loaded("abc", 20)
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
    assert lb.leaders == ["a"]


EVIL = Configuration((Server("e", "h:1"),))


def offer(core: RaftCore, **changes: Any) -> InstallSnapshot:
    """Something that a leader of the next term could send."""
    meta = SnapshotMeta("", 100, 1, EVIL, 1, 10)._replace(
        **{name: value for name, value in changes.items() if name not in ("sender", "leads")}
    )
    term = core.current_term + changes.get("leads", 1)
    return InstallSnapshot(changes.get("sender", "e"), core.server_id, term, meta)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"sender": "b"}, "from this server itself"),
        ({"sender": "c", "leads": 0}, "a leads term"),
        ({"index": 0}, "no leader of term"),
        ({"term": 0}, "no leader of term"),
        ({"term": 50}, "no leader of term"),
        ({"configuration_index": 101}, "behind 100"),
        ({"configuration_index": -1}, "behind 100"),
        ({"configuration": Configuration()}, "0 voters"),
        (
            {"configuration": Configuration((Server("x", "h:1", Suffrage.NONVOTER),))},
            "0 voters and 1 servers",
        ),
        (
            {"configuration": Configuration(tuple(Server(str(n), "h:1") for n in range(1025)))},
            "1025 servers",
        ),
    ],
)
def test_an_offer_that_no_leader_makes_breaks_a_rule(changes: dict[str, Any], rule: str) -> None:
    lb, _ = loaded("abc", 10)
    assert rule in lb.nodes["b"].offered(offer(lb.nodes["b"], **changes))[0]


def test_an_offer_is_wanted_if_it_is_news() -> None:
    lb, a = loaded("abc", 10)
    b = lb.nodes["b"]
    assert b.offered(offer(b)) == ("", True)
    assert b.offered(offer(b, leads=-1)) == ("", False)
    assert b.offered(offer(b, sender="a", leads=0)) == ("", True)
    assert b.offered(offer(b, index=b.commit_index)) == ("", False)
    term = a.current_term
    a.propose([b"more"])
    assert a.offered(offer(a, index=a.last_index, term=term)) == ("", False)
    assert "leads" in a.offered(offer(a, leads=0))[0], "a leader follows nobody of its own term"


def test_a_description_without_contents_replaces_nothing() -> None:
    lb, _ = loaded("abc", 10)
    b = lb.nodes["b"]
    before = (b.last_index, b.commit_index)
    b.step(offer(b))
    ready = b.ready()
    assert ready.snapshot is None
    assert (b.last_index, b.commit_index) == before
    answers = [*ready.messages, *ready.messages_after_persist]
    assert [type(m) for m in answers] == [InstallSnapshotResponse]
    assert isinstance(answers[0], InstallSnapshotResponse)
    assert not answers[0].success
