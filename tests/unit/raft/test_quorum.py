"""Majorities compared with a naive count."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braft_core.raft.quorum import majority, majority_index


@pytest.mark.parametrize(("voters", "needed"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (6, 4)])
def test_majority(voters: int, needed: int) -> None:
    assert majority(voters) == needed


@given(st.integers(1, 9))
def test_any_two_majorities_share_a_voter_and_fewer_would_not(voters: int) -> None:
    groups = list(combinations(range(voters), majority(voters)))
    assert all(set(a) & set(b) for a in groups for b in groups)
    smaller = list(combinations(range(voters), majority(voters) - 1))
    assert any(not set(a) & set(b) for a in smaller for b in smaller)


@given(st.lists(st.integers(0, 20), max_size=9))
def test_agreed_is_the_largest_value_that_a_majority_reached(values: list[int]) -> None:
    reached = [v for v in values if sum(w >= v for w in values) > len(values) / 2]
    assert majority_index(values) == max(reached, default=0)
