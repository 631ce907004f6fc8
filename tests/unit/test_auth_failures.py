"""Log lines and delays for callers without the right token."""

from __future__ import annotations

import logging

import pytest

from braft_core.auth_failures import DELAY, AuthFailures


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_one_line_per_address_and_minute(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    auth_failures = AuthFailures("gRPC", clock)
    with caplog.at_level(logging.WARNING):
        for _ in range(100):
            auth_failures.record("10.0.0.1")
            auth_failures.record("10.0.0.2\n\x1b[31m")
        assert len(caplog.records) == 2
        assert "\n" not in caplog.records[1].getMessage()
        assert "\x1b" not in caplog.records[1].getMessage()
        clock.now += 61
        auth_failures.record("10.0.0.1")
    assert "refused 100 attempt(s) of 10.0.0.1" in caplog.records[-1].getMessage()


def test_many_addresses_are_neither_remembered_nor_logged(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    auth_failures = AuthFailures("gRPC", clock)
    with caplog.at_level(logging.WARNING):
        for number in range(5000):
            auth_failures.record(f"10.0.{number // 250}.{number % 250}")
    assert len(caplog.records) == 60
    assert len(auth_failures._known) == 1024


def test_few_wait_at_a_time() -> None:
    auth_failures = AuthFailures("gRPC")
    assert [auth_failures.delay() for _ in range(64)] == [DELAY] * 64
    assert auth_failures.delay() == 0
    auth_failures.delay_ended()
    assert auth_failures.delay() == DELAY
