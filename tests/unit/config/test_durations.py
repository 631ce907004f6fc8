"""Durations and ranges in the notation of the Go original."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braft_core.config import format_duration, format_range, parse_duration, parse_range

seconds = st.floats(min_value=0, max_value=1e9, allow_nan=False)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("90s", 90.0),
        ("1m30s", 90.0),
        ("100ms", 0.1),
        ("0", 0.0),
        ("0s", 0.0),
        ("1.5h", 5400.0),
        (".5s", 0.5),
        ("1h2m3s4ms5us6ns", 3723.004005006),
        (7, 7.0),
        (0.25, 0.25),
    ],
)
def test_duration(text: object, value: float) -> None:
    assert parse_duration(text) == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize(
    "text",
    ["", "90", "s", "1 s", "-1s", "1x", "1s2", "s1", -1, float("nan"), float("inf"), True, None],
)
def test_no_duration(text: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "bounds"),
    [
        ("10ms-15s", (0.01, 15.0)),
        ("15-30s", (15.0, 30.0)),
        ("50-80s", (50.0, 80.0)),
        ("100ms", (0.1, 0.1)),
        ("0", (0.0, 0.0)),
        ("0-1s", (0.0, 1.0)),
        ("100ms - 3s", (0.1, 3.0)),
        (2, (2.0, 2.0)),
        ([1, "2s"], (1.0, 2.0)),
    ],
)
def test_range(text: object, bounds: tuple[float, float]) -> None:
    assert parse_range(text) == bounds


@pytest.mark.parametrize(
    "text", ["", "-", "1s-", "-1s", "2s-1s", "1-2", "1s-2s-3s", [1], [1, 2, 3]]
)
def test_no_range(text: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_range(text)


@given(seconds)
def test_duration_round_trip(value: float) -> None:
    assert parse_duration(format_duration(value)) == value


@given(st.tuples(seconds, seconds).map(sorted).map(tuple))
def test_range_round_trip(bounds: tuple[float, float]) -> None:
    assert parse_range(format_range(bounds)) == bounds
