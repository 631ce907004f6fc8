"""A listener without free descriptors pauses and logs that at intervals."""

from __future__ import annotations

import errno
import logging

import pytest

from braft_core.transport.accept_backoff import PAUSE, PERIOD, AcceptBackoff


def test_it_pauses_and_reports_once_in_a_period(caplog: pytest.LogCaptureFixture) -> None:
    backoff = AcceptBackoff("HTTP on port 1", logging.getLogger("braft_core.test"))
    now = 50.0
    assert not backoff.is_paused(now)
    full = OSError(errno.EMFILE, "Too many open files")
    for _ in range(100):
        assert backoff.exhausted_by(full, now)
        assert backoff.is_paused(now + 0.99 * PAUSE)
        assert not backoff.is_paused(now + PAUSE)
        now += PAUSE
    first, second = (record.getMessage() for record in caplog.records)
    assert first.startswith("HTTP on port 1 cannot accept connections: [Errno 24] Too many open")
    assert "(1 times since" in first
    assert f"({PERIOD / PAUSE:.0f} times since" in second


@pytest.mark.parametrize("number", [errno.ECONNABORTED, errno.EPERM, errno.EINVAL])
def test_other_errors_are_none_of_its_business(
    caplog: pytest.LogCaptureFixture, number: int
) -> None:
    backoff = AcceptBackoff("HTTP on port 1", logging.getLogger("braft_core.test"))
    assert not backoff.exhausted_by(OSError(number, "x"), 1.0)
    assert not backoff.is_paused(1.0)
    assert caplog.records == []
