"""Which reasons for not being ready are logged."""

from __future__ import annotations

from braft_core.runtime.status import REMEMBERED, LogThrottle

PATIENCE = 4.0


def test_a_reason_is_logged_once_however_long_it_lasts() -> None:
    throttle = LogThrottle(PATIENCE)
    logged = [
        n for n in range(60) if throttle.should_log(n, f"no leader for {n} s: 2 of 3 are missing")
    ]
    assert logged == [int(PATIENCE)]


def test_reasons_that_alternate_are_logged_once_each() -> None:
    throttle = LogThrottle(PATIENCE)
    logged = [why for n in range(60) if throttle.should_log(n, why := "ab"[n % 2])]
    assert sorted(logged) == ["a", "b"]


def test_numbers_that_are_no_durations_are_logged() -> None:
    throttle = LogThrottle(PATIENCE)
    throttle.should_log(0.0, "1 of 3 nodes are here")
    assert throttle.should_log(PATIENCE, "1 of 3 nodes are here")
    assert throttle.should_log(PATIENCE + 1, "2 of 3 nodes are here")


def test_a_short_trouble_is_not_logged_and_the_next_long_one_is() -> None:
    throttle = LogThrottle(PATIENCE)
    for again in range(3):
        began = 100.0 * again
        assert not throttle.should_log(began, "why")
        assert not throttle.should_log(began + PATIENCE / 2, "why")
        assert not throttle.should_log(began + PATIENCE - 0.1, "")
    throttle.should_log(1000.0, "why")
    assert throttle.should_log(1000.0 + PATIENCE, "why")
    assert not throttle.should_log(1050.0, "")
    throttle.should_log(1100.0, "why")
    assert throttle.should_log(1100.0 + PATIENCE, "why")


def test_the_memory_is_bounded() -> None:
    throttle = LogThrottle(PATIENCE)
    throttle.should_log(0.0, "first")
    assert all(throttle.should_log(PATIENCE, f"reason {n}") for n in range(REMEMBERED + 1))
    assert throttle.should_log(PATIENCE, "reason 0")
    assert not throttle.should_log(PATIENCE, f"reason {REMEMBERED}")
