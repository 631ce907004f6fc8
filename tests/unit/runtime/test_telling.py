"""What is news to the log, and what is not."""

from __future__ import annotations

from braft_core.runtime.telling import PATIENCE, REMEMBERED, Telling


def test_a_reason_is_told_once_however_long_it_lasts() -> None:
    telling = Telling()
    told = [n for n in range(60) if telling.is_news(n, f"no leader for {n} s: 2 of 3 are missing")]
    assert told == [int(PATIENCE)]


def test_reasons_that_alternate_are_told_once_each() -> None:
    telling = Telling()
    told = [why for n in range(60) if telling.is_news(n, why := "ab"[n % 2])]
    assert sorted(told) == ["a", "b"]


def test_numbers_that_are_no_durations_are_news() -> None:
    telling = Telling()
    telling.is_news(0.0, "1 of 3 nodes are here")
    assert telling.is_news(PATIENCE, "1 of 3 nodes are here")
    assert telling.is_news(PATIENCE + 1, "2 of 3 nodes are here")


def test_a_short_trouble_is_not_told_and_the_next_long_one_is() -> None:
    telling = Telling()
    for again in range(3):
        began = 100.0 * again
        assert not telling.is_news(began, "why")
        assert not telling.is_news(began + PATIENCE / 2, "why")
        assert not telling.is_news(began + PATIENCE - 0.1, "")
    telling.is_news(1000.0, "why")
    assert telling.is_news(1000.0 + PATIENCE, "why")
    assert not telling.is_news(1050.0, "")
    telling.is_news(1100.0, "why")
    assert telling.is_news(1100.0 + PATIENCE, "why")


def test_the_memory_is_bounded() -> None:
    telling = Telling()
    telling.is_news(0.0, "first")
    assert all(telling.is_news(PATIENCE, f"reason {n}") for n in range(REMEMBERED + 1))
    assert telling.is_news(PATIENCE, "reason 0")
    assert not telling.is_news(PATIENCE, f"reason {REMEMBERED}")
