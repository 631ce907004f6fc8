"""Plain values: errors say what is wrong and what is accepted."""

from __future__ import annotations

import pytest
from hypothesis import given

from braft_core.serializers.plain import INT_MAX, INT_MIN, MAX_DEPTH, check_plain
from braft_testing.serializers import EDGE_VALUES, NOT_PLAIN, plain_values


@given(plain_values())
def test_generated_values_are_plain(value: object) -> None:
    check_plain(value)


def test_values_at_the_limits_are_plain() -> None:
    for value in (*EDGE_VALUES, INT_MIN, INT_MAX):
        check_plain(value)


@pytest.mark.parametrize("position", range(len(NOT_PLAIN)))
def test_everything_else_is_refused(position: int) -> None:
    with pytest.raises(TypeError):
        check_plain(NOT_PLAIN[position])


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({1}, "{1} of type set is not a plain value; accepted are None"),
        (1 << 64, "65 bits is too large; accepted is -2"),
        ({7: 1}, "dict key 7 is not a str"),
        ("\ud800", "not valid Unicode"),
    ],
)
def test_messages_name_the_value_and_what_is_accepted(value: object, words: str) -> None:
    with pytest.raises(TypeError, match=words.replace("{", r"\{")):
        check_plain([value])


def test_the_limits_are_published() -> None:
    """With smaller limits, values in existing logs could not be written again."""
    assert (MAX_DEPTH, INT_MIN, INT_MAX) == (128, -(2**63), 2**64 - 1)


def test_depth_is_counted_along_each_branch() -> None:
    branch: list[object] = []
    for _ in range(MAX_DEPTH - 2):
        branch = [branch]
    check_plain([branch, branch, {"k": 1}])
    with pytest.raises(TypeError, match=f"deeper than {MAX_DEPTH}"):
        check_plain([[branch, branch]])


def test_counts_the_values() -> None:
    assert check_plain(None) == 1
    assert check_plain([]) == 1
    assert check_plain({"a": [1, (2, "x")], "b": {}}) == 9
