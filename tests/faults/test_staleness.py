"""The check of stale reads accepts correct ones and names those that lack too many writes."""

from __future__ import annotations

import pytest

from braft_testing.faults.staleness import StaleRead, check_staleness

#: (acknowledged at, revision). Revision 40 is acknowledged before 30.
WRITTEN = [(1.0, 10), (2.0, 20), (3.0, 40), (3.1, 30), (9.0, 50)]


@pytest.mark.parametrize(
    ("began", "revision", "age"),
    [
        (0.5, 0, 0.1),  # nothing was written
        (1.5, 0, 1.0),  # nothing was written a second ago
        (2.5, 10, 1.0),
        (2.5, 20, 0.1),
        (2.5, 30, 0.1),  # newer than it says
        (8.0, 40, 1.0),
        (9.5, 40, 1.0),
        (20.0, 50, 0.0),
    ],
)
def test_a_read_within_its_bound_passes(began: float, revision: int, age: float) -> None:
    assert check_staleness(WRITTEN, [StaleRead("reader-0", began, revision, age)]) == []


@pytest.mark.parametrize(
    ("began", "revision", "age", "missed"),
    [(1.5, 0, 0.4, 10), (2.5, 10, 0.5, 20), (8.0, 30, 1.0, 40), (20.0, 40, 10.9, 50)],
)
def test_a_read_beyond_its_bound_is_reported(
    began: float, revision: int, age: float, missed: int
) -> None:
    [violation] = check_staleness(WRITTEN, [StaleRead("reader-0", began, revision, age)])
    assert violation.rule == "age"
    assert f"saw revision {revision}; revision {missed} was acknowledged" in violation.sentence


def test_without_writes_no_read_is_too_old() -> None:
    assert check_staleness([], [StaleRead("reader-0", 1.0, 0, 0.0)]) == []
