"""How old a node's state may be, from what its leader said."""

from __future__ import annotations

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from braft_core.runtime.freshness import Freshness


def test_nothing_is_known_before_a_leader_spoke() -> None:
    assert Freshness().age(100.0, 5) == inf


def test_what_is_applied_is_as_new_as_the_word() -> None:
    freshness = Freshness()
    freshness.heard(10.0, commit=5, applied=5)
    assert freshness.age(12.0, applied=5) == 2.0


def test_what_is_not_applied_yet_does_not_count() -> None:
    freshness = Freshness()
    freshness.heard(10.0, commit=5, applied=5)
    freshness.heard(11.0, commit=7, applied=5)
    assert freshness.age(12.0, applied=6) == 2.0
    assert freshness.age(12.0, applied=7) == 1.0


def test_a_state_that_is_always_behind_grows_younger_all_the_same() -> None:
    """The leader is always ahead, and what was asked of us first is reached now and then."""
    freshness = Freshness()
    for second in range(100):
        freshness.heard(float(second), commit=10 * second, applied=10 * second - 25)
    assert freshness.age(100.0, applied=965) <= 8


@given(
    words=st.lists(st.tuples(st.floats(0.01, 5), st.integers(0, 9), st.integers(0, 9)), max_size=30)
)
def test_the_age_never_promises_more_than_was_said(words: list[tuple[float, int, int]]) -> None:
    """The state with ``applied`` entries is at least as new as the last word that it covers."""
    freshness = Freshness()
    said: list[tuple[float, int]] = []
    now, commit, applied = 0.0, 0, 0
    for pause, more, done in words:
        now, commit = now + pause, commit + more
        applied = min(commit, applied + done)
        freshness.heard(now, commit, applied)
        said.append((now, commit))
        covered = [when for when, index in said if index <= applied]
        truth = now + 1 - max(covered) if covered else inf
        assert freshness.age(now + 1, applied) >= truth
