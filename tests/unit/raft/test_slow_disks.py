"""Elections and replication succeed on disks that are slower than every timeout.

In logcabin#200 and rethinkdb#6038 no leader is elected while the disk is slow.
"""

from __future__ import annotations

from typing import TypeVar

import pytest

from braft_core.raft import (
    AppendEntries,
    AppendEntriesResponse,
    Message,
    ProgressState,
    RequestVote,
    RequestVoteResponse,
    Role,
    TimeoutNow,
)
from braft_testing.core_harness import CoreHarness

M = TypeVar("M", bound=Message)

#: Seconds that a sync takes; the election timeout is 1 s, with a random half second.
SYNC = pytest.mark.parametrize("sync", [1.5, 2.5, 10.0])


def slow_harness(voters: str, slow: str | None = None) -> CoreHarness:
    harness = CoreHarness(voters)
    harness.slow_disk = set(voters if slow is None else slow)
    return harness


def waiting(harness: CoreHarness, name: str, kind: type[M]) -> M:
    """Return the first message of that kind that waits for the server's disk."""
    held = [message for ready in harness.held[name] for message in ready.messages_after_persist]
    return next(message for message in held if isinstance(message, kind))


@SYNC
def test_a_candidate_begins_no_new_term_while_its_own_vote_is_not_durable(sync: float) -> None:
    harness = slow_harness("a")
    a = harness.nodes["a"]
    harness.advance(sync)
    assert (a.role, a.current_term) == (Role.CANDIDATE, 2)
    harness.sync("a")
    harness.settle()
    assert (a.role, a.current_term) == (Role.LEADER, 2)


@SYNC
def test_three_servers_elect_a_leader_in_the_time_of_two_syncs(sync: float) -> None:
    harness = slow_harness("abc")
    harness.advance(0.5)
    harness.advance(sync - 0.5)
    for name in "abc":
        harness.sync(name)
    harness.advance(sync)
    for name in "abc":
        harness.sync(name)
    harness.settle()
    assert len(harness.leaders) == 1
    assert max(core.current_term for core in harness.nodes.values()) == 2


@SYNC
def test_a_voter_does_not_stand_itself_while_its_vote_is_not_durable(sync: float) -> None:
    harness = slow_harness("abc")
    b = harness.nodes["b"]
    b.step(RequestVote("c", "b", 2, 9, 9, request_id=1))
    harness.dead = {"a", "c"}
    harness.advance(sync)
    assert (b.role, b.current_term, b.voted_for) == (Role.FOLLOWER, 2, "c")
    harness.sync("b")
    harness.advance(4 * sync + 2)
    assert b.role is not Role.FOLLOWER


def test_a_voter_that_waits_for_its_disk_is_no_successor_either() -> None:
    harness = CoreHarness("abc")
    harness.elect("a")
    harness.slow_disk = {"b"}
    b = harness.nodes["b"]
    b.step(AppendEntries("c", "b", 5, 0, 0, (), 0))
    harness.settle()
    b.step(TimeoutNow("c", "b", request_id=1))
    assert (b.role, b.current_term) == (Role.FOLLOWER, 5)
    harness.sync("b")
    b.step(TimeoutNow("c", "b", request_id=2))
    assert (b.role, b.current_term) == (Role.CANDIDATE, 6)


def test_a_vote_counts_while_its_candidate_asks_for_the_next_term_already() -> None:
    harness = slow_harness("abc", slow="bc")
    a = harness.nodes["a"]
    harness.advance(3.0)  # its disk is fast, so its timeout is short
    assert (a.role, a.current_term) == (Role.PRE_CANDIDATE, 2)
    vote = waiting(harness, "b", RequestVoteResponse)
    assert vote.granted
    a.step(vote)
    assert (a.role, a.current_term) == (Role.LEADER, 2)


def test_a_vote_of_an_earlier_term_does_not_count() -> None:
    harness = slow_harness("abc", slow="bc")
    a = harness.nodes["a"]
    harness.advance(3.0)
    vote = waiting(harness, "b", RequestVoteResponse)
    a.step(RequestVote("c", "a", 3, 9, 9, request_id=1))
    a.step(vote)
    assert (a.role, a.current_term) == (Role.FOLLOWER, 3)


@SYNC
def test_heartbeats_are_answered_while_entries_wait_for_the_disk(sync: float) -> None:
    harness = CoreHarness("abc")
    a = harness.elect("a")
    harness.slow_disk = set("abc")
    a.propose([b"x"])
    harness.advance(sync)
    assert (a.role, a.commit_index) == (Role.LEADER, 2)
    for name in "abc":
        harness.sync(name)
    harness.settle()
    assert (a.role, a.commit_index) == (Role.LEADER, 3)


@SYNC
def test_a_follower_that_is_slower_than_the_leaders_patience_catches_up(sync: float) -> None:
    harness = CoreHarness("abc")
    a = harness.elect("a")
    harness.slow_disk = {"b"}
    harness.dead = {"c"}
    first, _ = a.propose([b"x"])
    harness.settle()
    answer = waiting(harness, "b", AppendEntriesResponse)
    harness.advance(sync)
    a.step(answer)
    assert a.commit_index == first
    (status, _) = a.peers()
    assert (status.match_index, status.state) == (first, ProgressState.REPLICATE)


def test_a_late_refusal_takes_nothing_back() -> None:
    harness = CoreHarness("abc")
    a = harness.elect("a")
    harness.slow_disk, harness.dead = {"b"}, {"c"}
    a.propose([b"x"])
    harness.settle()
    late = waiting(harness, "b", AppendEntriesResponse)
    harness.advance(1.0)
    harness.sync("b")
    harness.settle()
    before = a.peers()[0]
    late.success, late.last_log = False, 0
    a.step(late)
    assert a.peers()[0]._replace(silent_for=0.0) == before._replace(silent_for=0.0)


def test_a_leader_whose_disk_stands_still_while_the_others_commit_steps_down() -> None:
    harness = CoreHarness("abc")
    a = harness.elect("a")
    harness.slow_disk = {"a"}
    a.propose([b"x"])
    harness.settle()
    assert a.commit_index == 3
    harness.advance(1.9)
    assert a.role is Role.LEADER
    harness.advance(0.3)
    assert a.role is not Role.LEADER
    harness.advance(2.0)
    assert harness.leaders in (["b"], ["c"])


@pytest.mark.parametrize("slow", ["abc", "ab"])
def test_a_leader_whose_disk_is_no_slower_than_theirs_goes_on(slow: str) -> None:
    harness = CoreHarness("abc")
    a = harness.elect("a")
    harness.slow_disk, harness.dead = set(slow), set("abc") - set(slow)
    for _ in range(3):
        a.propose([b"x"])
        harness.advance(5.0)
        assert a.role is Role.LEADER
        for name in slow:
            harness.sync(name)
        harness.settle()
    assert a.commit_index == 5


def test_a_leader_whose_disk_is_always_a_little_later_than_theirs_goes_on() -> None:
    harness = CoreHarness("abc")
    a = harness.elect("a")
    harness.slow_disk = {"a"}
    for _ in range(4):
        a.propose([b"x"])
        harness.advance(1.9)  # less than its timeout, which adapts to the slow syncs
        harness.sync("a")
        harness.settle()
    for _ in range(4):
        a.propose([b"x"])
        harness.advance(3.0)
        harness.sync("a")
        harness.settle()
        assert a.role is Role.LEADER


def test_a_pause_in_the_middle_of_a_sync_does_not_make_patient_for_long() -> None:
    """A machine that was suspended for eight hours still elects a leader soon."""
    harness = slow_harness("ab")
    harness.advance(0.2)
    harness.nodes["b"].step(RequestVote("a", "b", 2, 9, 9, request_id=1))
    harness.settle()
    harness.lose = lambda message: True  # messages in flight are lost
    harness.now += 8 * 3600.0
    for name, core in harness.nodes.items():
        core.tick(harness.now)
        harness.sync(name)
    harness.settle()
    assert [core.current_term for core in harness.nodes.values()] == [2, 2]
    harness.slow_disk.clear()
    harness.lose = lambda message: False
    harness.advance(40.0)
    assert len(harness.leaders) == 1
