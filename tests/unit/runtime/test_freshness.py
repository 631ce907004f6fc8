"""How old a node's state may be, from what its leader said."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braft_core.raft.messages import AppendEntries
from braft_core.raft.types import Role
from braft_core.runtime.freshness import Freshness

#: Election timeout and heartbeat interval, and what a follower's and a leader's bound have of them.
TIMEOUT, BEAT = 1.0, 0.25
FOLLOWER, LEADER = 2 * TIMEOUT + BEAT, TIMEOUT + BEAT


@dataclass
class Core:
    """A log whose entries up to 10 are of term 1, and those behind of term 2."""

    role: Role = Role.FOLLOWER
    current_term: int = 2
    leader: str = "l"
    commit_index: int = 0
    last_index: int = 20
    log: Core = field(init=False)

    def __post_init__(self) -> None:
        self.log = self

    def term_at(self, index: int) -> int | None:
        if index > self.last_index:
            return None
        return 1 if index <= 10 else 2


def word(commit: int, *, term: int = 2, sender: str = "l", prev: int = 1) -> AppendEntries:
    return AppendEntries(sender, "me", term, prev, 1, (), commit)


def fresh() -> Freshness:
    return Freshness(TIMEOUT, BEAT)


def test_nothing_is_known_before_a_leader_spoke() -> None:
    assert fresh().bound(100.0, 15) == inf


def test_what_is_applied_is_as_new_as_the_word() -> None:
    freshness = fresh()
    freshness.heard(Core(), word(15), 10.0, applied=15)
    assert freshness.bound(12.0, applied=15) == 2.0 + FOLLOWER


def test_what_is_not_applied_yet_does_not_count() -> None:
    freshness = fresh()
    freshness.heard(Core(), word(15), 10.0, applied=15)
    freshness.heard(Core(), word(17), 11.0, applied=15)
    assert freshness.bound(12.0, applied=16) == 2.0 + FOLLOWER
    assert freshness.bound(12.0, applied=17) == 1.0 + FOLLOWER


@pytest.mark.parametrize(
    "message",
    [
        word(10),
        word(15, term=1),
        word(15, sender="deposed"),
        word(0, prev=0),
    ],
    ids=["a new leader that does not know yet", "an older term", "another one", "a heartbeat"],
)
def test_what_proves_nothing_counts_for_nothing(message: AppendEntries) -> None:
    freshness = fresh()
    freshness.heard(Core(), message, 10.0, applied=20)
    assert freshness.bound(12.0, applied=20) == inf


def test_the_leaders_own_term_is_seen_before_its_commit_index_is_reached() -> None:
    """The log here ends in the leader's term, so its commit index, beyond, is of that term too."""
    freshness = fresh()
    freshness.heard(Core(last_index=12), word(15), 10.0, applied=12)
    assert freshness.bound(12.0, applied=12) == inf
    assert freshness.bound(12.0, applied=15) == 2.0 + FOLLOWER
    behind = fresh()
    behind.heard(Core(last_index=9), word(15), 10.0, applied=9)
    assert behind.bound(12.0, applied=15) == inf


def test_a_word_that_was_overtaken_counts_for_nothing() -> None:
    freshness = fresh()
    freshness.heard(Core(), word(15), 10.0, applied=15)
    freshness.heard(Core(), word(14), 11.0, applied=15)
    assert freshness.bound(12.0, applied=15) == 2.0 + FOLLOWER


def test_a_leader_is_as_new_as_its_last_look_once_it_committed_in_its_term() -> None:
    freshness, core = fresh(), Core(Role.LEADER, commit_index=10)
    freshness.led(core, 10.0, applied=10)
    assert freshness.bound(10.0, applied=10) == inf
    core.commit_index = 11
    freshness.led(core, 11.0, applied=10)
    assert freshness.bound(11.5, applied=10) == inf
    assert freshness.bound(11.5, applied=11) == 0.5 + LEADER
    core.role = Role.FOLLOWER
    freshness.led(core, 12.0, applied=11)
    assert freshness.bound(12.5, applied=11) == 1.5 + LEADER


def test_a_state_that_is_always_behind_grows_younger_all_the_same() -> None:
    """The leader is always ahead, and what was asked of us first is reached now and then."""
    freshness, core = fresh(), Core(last_index=1000)
    for second in range(2, 100):
        freshness.heard(core, word(10 * second), float(second), applied=10 * second - 25)
    assert freshness.bound(100.0, applied=965) <= 8 + FOLLOWER


@given(
    words=st.lists(st.tuples(st.floats(0.01, 5), st.integers(0, 9), st.integers(0, 9)), max_size=30)
)
def test_the_bound_never_promises_more_than_was_said(words: list[tuple[float, int, int]]) -> None:
    """The state with ``applied`` entries is at least as new as the last word that it covers."""
    freshness, core = fresh(), Core(last_index=1000)
    said: list[tuple[float, int]] = []
    now, commit, applied = 0.0, 11, 0
    for pause, more, done in words:
        now, commit = now + pause, commit + more
        applied = min(commit, applied + done)
        freshness.heard(core, word(commit), now, applied)
        said.append((now, commit))
        covered = [when for when, index in said if index <= applied]
        truth = now + 1 - max(covered) if covered else inf
        assert freshness.bound(now + 1, applied) >= truth + FOLLOWER - 1e-9
