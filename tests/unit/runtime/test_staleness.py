"""The bound on the age of a node's state, from its leader's messages."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braft_core.raft.messages import AppendEntries, Message
from braft_core.raft.stamps import Stamps
from braft_core.raft.types import Role
from braft_core.runtime.staleness import StalenessBound
from braft_testing.core_harness import CoreHarness

#: Election timeout and heartbeat interval, and their part in every bound.
TIMEOUT, BEAT = 1.0, 0.25
FOLLOWER = LEADER = TIMEOUT + BEAT
#: Time of each stamp of these tests; stamp 0 means none.
MADE = [-inf]


@dataclass
class Core:
    """A log whose entries up to 10 are of term 1, and the later ones of term 2."""

    role: Role = Role.FOLLOWER
    current_term: int = 2
    leader: str = "l"
    commit_index: int = 0
    last_index: int = 20
    log: Core = field(init=False)
    stamps: Core = field(init=False)

    def __post_init__(self) -> None:
        self.log = self.stamps = self

    def made_at(self, stamp: int) -> float:
        return MADE[stamp]

    def term_at(self, index: int) -> int | None:
        if index > self.last_index:
            return None
        return 1 if index <= 10 else 2


def word(
    commit: int, after: float = 10.0, *, term: int = 2, sender: str = "l", prev: int = 1
) -> AppendEntries:
    """Make an append of a leader that has seen the stamp made at ``after``."""
    echo = len(MADE) if after else 0
    MADE.append(after)
    return AppendEntries(sender, "me", term, prev, 1, (), commit, echo=echo)


def fresh() -> StalenessBound:
    return StalenessBound(TIMEOUT, BEAT)


def test_nothing_is_known_before_a_leader_spoke() -> None:
    assert fresh().seconds(100.0, 15) == inf


def test_what_is_applied_is_as_new_as_the_word() -> None:
    staleness = fresh()
    staleness.observe_append(Core(), word(15, 10.0), applied=15)
    assert staleness.seconds(12.0, applied=15) == 2.0 + FOLLOWER


def test_what_is_not_applied_yet_does_not_count() -> None:
    staleness = fresh()
    staleness.observe_append(Core(), word(15, 10.0), applied=15)
    staleness.observe_append(Core(), word(17, 11.0), applied=15)
    assert staleness.seconds(12.0, applied=16) == 2.0 + FOLLOWER
    assert staleness.seconds(12.0, applied=17) == 1.0 + FOLLOWER


@pytest.mark.parametrize(
    "message",
    [
        word(10),
        word(15, term=1),
        word(15, sender="deposed"),
        word(0, prev=0),
        word(15, 0.0),
    ],
    ids=[
        "a new leader that does not know yet",
        "an older term",
        "another one",
        "a heartbeat",
        "one that is not braft's",
    ],
)
def test_what_proves_nothing_counts_for_nothing(message: AppendEntries) -> None:
    staleness = fresh()
    staleness.observe_append(Core(), message, applied=20)
    assert staleness.seconds(12.0, applied=20) == inf


def test_the_leaders_own_term_is_seen_before_its_commit_index_is_reached() -> None:
    """The log ends in the leader's term, so the later commit index is of that term, too."""
    staleness = fresh()
    staleness.observe_append(Core(last_index=12), word(15, 10.0), applied=12)
    assert staleness.seconds(12.0, applied=12) == inf
    assert staleness.seconds(12.0, applied=15) == 2.0 + FOLLOWER
    behind = fresh()
    behind.observe_append(Core(last_index=9), word(15, 10.0), applied=9)
    assert behind.seconds(12.0, applied=15) == inf


def test_a_word_that_was_overtaken_counts_for_nothing() -> None:
    staleness = fresh()
    staleness.observe_append(Core(), word(15, 10.0), applied=15)
    staleness.observe_append(Core(), word(14, 11.0), applied=15)
    assert staleness.seconds(12.0, applied=15) == 2.0 + FOLLOWER


def test_a_leader_is_as_new_as_its_last_look_once_it_committed_in_its_term() -> None:
    staleness, core = fresh(), Core(Role.LEADER, commit_index=10)
    staleness.observe_leadership(core, 10.0, applied=10)
    assert staleness.seconds(10.0, applied=10) == inf
    core.commit_index = 11
    staleness.observe_leadership(core, 11.0, applied=10)
    assert staleness.seconds(11.5, applied=10) == inf
    assert staleness.seconds(11.5, applied=11) == 0.5 + LEADER
    core.role = Role.FOLLOWER
    staleness.observe_leadership(core, 12.0, applied=11)
    assert staleness.seconds(12.5, applied=11) == 1.5 + LEADER


def test_a_state_that_is_always_behind_grows_younger_all_the_same() -> None:
    """The leader is always ahead, but each required index is reached some time later."""
    staleness, core = fresh(), Core(last_index=1000)
    for second in range(2, 100):
        staleness.observe_append(core, word(10 * second, float(second)), applied=10 * second - 25)
    assert staleness.seconds(100.0, applied=965) <= 8 + FOLLOWER


@given(
    words=st.lists(st.tuples(st.floats(0.01, 5), st.integers(0, 9), st.integers(0, 9)), max_size=30)
)
def test_the_bound_never_promises_more_than_was_said(words: list[tuple[float, int, int]]) -> None:
    """The state is at least as new as the last append whose commit index it has applied."""
    staleness, core = fresh(), Core(last_index=1000)
    said: list[tuple[float, int]] = []
    now, commit, applied = 0.0, 11, 0
    for pause, more, done in words:
        now, commit = now + pause, commit + more
        applied = min(commit, applied + done)
        staleness.observe_append(core, word(commit, now), applied)
        said.append((now, commit))
        covered = [when for when, index in said if index <= applied]
        truth = now + 1 - max(covered) if covered else inf
        assert staleness.seconds(now + 1, applied) >= truth + FOLLOWER - 1e-9


# -- messages that waited in buffers ----------------------------------------------------------


class Follower:
    """The bound of ``c``, computed as a driver does; its messages may be held back."""

    def __init__(self) -> None:
        self.harness = CoreHarness("abc")
        self.core = self.harness.nodes["c"]
        self.leader = self.harness.elect("a")
        config = self.harness.config
        self.unnoticed = config.election_timeout + config.heartbeat_interval
        self.staleness = StalenessBound(config.election_timeout, config.heartbeat_interval)
        self.held: list[Message] | None = None
        self.harness.lose = self._take

    def _take(self, message: Message) -> bool:
        if message.to != "c":
            return False
        if self.held is None:
            self.read(message)
        else:
            self.held.append(message)
        return True

    def read(self, message: Message) -> None:
        """Give a message to the core and to the bound."""
        self.core.step(message)
        if isinstance(message, AppendEntries):
            self.staleness.observe_append(self.core, message, self.core.commit_index)

    @property
    def seconds(self) -> float:
        """The age that a stale read reports now."""
        return self.staleness.seconds(self.harness.now, self.core.commit_index)


@pytest.mark.parametrize("pause", [2.5, 6.0, 60.0])
def test_a_backlog_that_is_read_after_a_pause_is_as_old_as_the_pause(pause: float) -> None:
    """The process was suspended or the network delayed; messages are read one by one."""
    node = Follower()
    node.leader.propose([b"x"])
    node.harness.advance(1.0)
    assert node.seconds < node.unnoticed + 0.3
    node.held = []
    node.harness.advance(pause / 2)
    node.leader.propose([b"y"])
    node.harness.settle()
    missing_since = node.harness.now
    node.harness.advance(pause / 2)
    backlog, node.held = node.held, None
    for message in backlog:
        if node.core.commit_index < node.leader.commit_index:
            assert node.seconds > node.harness.now - missing_since
        node.read(message)
        assert node.seconds > pause
        node.core.tick(node.harness.now)
    node.harness.advance(1.0)
    assert node.core.commit_index == node.leader.commit_index
    assert node.seconds < node.unnoticed + 0.3


def test_a_leader_that_returns_no_stamps_makes_nothing_known() -> None:
    """Like HashiCorp raft's: its appends are applied, and their age stays unknown."""
    node = Follower()
    node.harness.advance(1.0)
    plain = Follower()
    original = plain.read

    def read(message: Message) -> None:
        if isinstance(message, AppendEntries):
            message.echo = 0
        original(message)

    plain.read = read  # type: ignore[method-assign]
    plain.harness.advance(5.0)
    assert plain.core.commit_index == plain.leader.commit_index
    assert plain.seconds == inf


def test_stamps_are_unique_for_as_long_as_they_are_remembered() -> None:
    stamps = Stamps(1000, 0.5)
    assert stamps.made_at(999) == stamps.made_at(1000) == -inf
    first = stamps.stamp(10.0)
    assert (first, stamps.stamp(10.4)) == (1000, 1000)
    second = stamps.stamp(10.5)
    assert (stamps.made_at(first), stamps.made_at(second)) == (10.0, 10.5)
    assert stamps.made_at(second + 1) == stamps.made_at(0) == -inf
    for step in range(600):
        stamps.stamp(20.0 + step)
    assert stamps.made_at(first) == -inf
    assert stamps.made_at(stamps.stamp(619.1)) == 619.0
