"""Disks slower than every timeout: elections and replication take the time that they need.

After logcabin#200 and rethinkdb#6038, where nobody is elected for as long as the disk is slow.
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
from braft_testing.lab import Lab

M = TypeVar("M", bound=Message)

#: Seconds that a sync takes; the election timeout is 1 s, with a random half second.
SYNC = pytest.mark.parametrize("sync", [1.5, 2.5, 10.0])


def slow_lab(voters: str, slow: str | None = None) -> Lab:
    lab = Lab(voters)
    lab.slow_disk = set(voters if slow is None else slow)
    return lab


def waiting(lab: Lab, name: str, kind: type[M]) -> M:
    """The first message of that kind that waits for the disk of that server."""
    held = [message for ready in lab.held[name] for message in ready.messages_after_persist]
    return next(message for message in held if isinstance(message, kind))


@SYNC
def test_a_candidate_begins_no_new_term_while_its_own_vote_is_not_durable(sync: float) -> None:
    lab = slow_lab("a")
    a = lab.nodes["a"]
    lab.advance(sync)
    assert (a.role, a.current_term) == (Role.CANDIDATE, 2)
    lab.sync("a")
    lab.settle()
    assert (a.role, a.current_term) == (Role.LEADER, 2)


@SYNC
def test_three_servers_elect_a_leader_in_the_time_of_two_syncs(sync: float) -> None:
    lab = slow_lab("abc")
    lab.advance(0.5)
    lab.advance(sync - 0.5)
    for name in "abc":
        lab.sync(name)
    lab.advance(sync)
    for name in "abc":
        lab.sync(name)
    lab.settle()
    assert len(lab.leaders) == 1
    assert max(core.current_term for core in lab.nodes.values()) == 2


@SYNC
def test_a_voter_does_not_stand_itself_while_its_vote_is_not_durable(sync: float) -> None:
    lab = slow_lab("abc")
    b = lab.nodes["b"]
    b.step(RequestVote("c", "b", 2, 9, 9, request_id=1))
    lab.dead = {"a", "c"}
    lab.advance(sync)
    assert (b.role, b.current_term, b.voted_for) == (Role.FOLLOWER, 2, "c")
    lab.sync("b")
    lab.advance(4 * sync + 2)
    assert b.role is not Role.FOLLOWER


def test_a_voter_that_waits_for_its_disk_is_no_successor_either() -> None:
    lab = Lab("abc")
    lab.elect("a")
    lab.slow_disk = {"b"}
    b = lab.nodes["b"]
    b.step(AppendEntries("c", "b", 5, 0, 0, (), 0))
    lab.settle()
    b.step(TimeoutNow("c", "b", request_id=1))
    assert (b.role, b.current_term) == (Role.FOLLOWER, 5)
    lab.sync("b")
    b.step(TimeoutNow("c", "b", request_id=2))
    assert (b.role, b.current_term) == (Role.CANDIDATE, 6)


def test_a_vote_counts_while_its_candidate_asks_for_the_next_term_already() -> None:
    lab = slow_lab("abc", slow="bc")
    a = lab.nodes["a"]
    lab.advance(3.0)  # its disk is quick, so that it does not wait long
    assert (a.role, a.current_term) == (Role.PRE_CANDIDATE, 2)
    vote = waiting(lab, "b", RequestVoteResponse)
    assert vote.granted
    a.step(vote)
    assert (a.role, a.current_term) == (Role.LEADER, 2)


def test_a_vote_of_an_earlier_term_does_not_count() -> None:
    lab = slow_lab("abc", slow="bc")
    a = lab.nodes["a"]
    lab.advance(3.0)
    vote = waiting(lab, "b", RequestVoteResponse)
    a.step(RequestVote("c", "a", 3, 9, 9, request_id=1))
    a.step(vote)
    assert (a.role, a.current_term) == (Role.FOLLOWER, 3)


@SYNC
def test_heartbeats_are_answered_while_entries_wait_for_the_disk(sync: float) -> None:
    lab = Lab("abc")
    a = lab.elect("a")
    lab.slow_disk = set("abc")
    a.propose([b"x"])
    lab.advance(sync)
    assert (a.role, a.commit_index) == (Role.LEADER, 2)
    for name in "abc":
        lab.sync(name)
    lab.settle()
    assert (a.role, a.commit_index) == (Role.LEADER, 3)


@SYNC
def test_a_follower_that_is_slower_than_the_leaders_patience_catches_up(sync: float) -> None:
    lab = Lab("abc")
    a = lab.elect("a")
    lab.slow_disk = {"b"}
    lab.dead = {"c"}
    first, _ = a.propose([b"x"])
    lab.settle()
    answer = waiting(lab, "b", AppendEntriesResponse)
    lab.advance(sync)
    a.step(answer)
    assert a.commit_index == first
    (status, _) = a.peers()
    assert (status.match_index, status.state) == (first, ProgressState.REPLICATE)


def test_a_late_refusal_takes_nothing_back() -> None:
    lab = Lab("abc")
    a = lab.elect("a")
    lab.slow_disk, lab.dead = {"b"}, {"c"}
    a.propose([b"x"])
    lab.settle()
    late = waiting(lab, "b", AppendEntriesResponse)
    lab.advance(1.0)
    lab.sync("b")
    lab.settle()
    before = a.peers()[0]
    late.success, late.last_log = False, 0
    a.step(late)
    assert a.peers()[0]._replace(silent_for=0.0) == before._replace(silent_for=0.0)


def test_a_leader_whose_disk_stands_still_while_the_others_commit_steps_down() -> None:
    lab = Lab("abc")
    a = lab.elect("a")
    lab.slow_disk = {"a"}
    a.propose([b"x"])
    lab.settle()
    assert a.commit_index == 3
    lab.advance(1.9)
    assert a.role is Role.LEADER
    lab.advance(0.3)
    assert a.role is not Role.LEADER
    lab.advance(2.0)
    assert lab.leaders in (["b"], ["c"])


@pytest.mark.parametrize("slow", ["abc", "ab"])
def test_a_leader_whose_disk_is_no_slower_than_theirs_goes_on(slow: str) -> None:
    lab = Lab("abc")
    a = lab.elect("a")
    lab.slow_disk, lab.dead = set(slow), set("abc") - set(slow)
    for _ in range(3):
        a.propose([b"x"])
        lab.advance(5.0)
        assert a.role is Role.LEADER
        for name in slow:
            lab.sync(name)
        lab.settle()
    assert a.commit_index == 5


def test_a_leader_whose_disk_is_always_a_little_later_than_theirs_goes_on() -> None:
    lab = Lab("abc")
    a = lab.elect("a")
    lab.slow_disk = {"a"}
    for _ in range(4):
        a.propose([b"x"])
        lab.advance(1.9)  # less than its patience, and then it takes that long each time
        lab.sync("a")
        lab.settle()
    for _ in range(4):
        a.propose([b"x"])
        lab.advance(3.0)
        lab.sync("a")
        lab.settle()
        assert a.role is Role.LEADER


def test_a_pause_in_the_middle_of_a_sync_does_not_make_patient_for_long() -> None:
    """A machine that was suspended for a night elects a leader in the morning."""
    lab = slow_lab("ab")
    lab.advance(0.2)
    lab.nodes["b"].step(RequestVote("a", "b", 2, 9, 9, request_id=1))
    lab.settle()
    lab.lose = lambda message: True  # what was under way is lost
    lab.now += 8 * 3600.0
    for name, core in lab.nodes.items():
        core.tick(lab.now)
        lab.sync(name)
    lab.settle()
    assert [core.current_term for core in lab.nodes.values()] == [2, 2]
    lab.slow_disk.clear()
    lab.lose = lambda message: False
    lab.advance(40.0)
    assert len(lab.leaders) == 1
