"""Refused messages of peers are counted, reported, and logged within bounds."""

from __future__ import annotations

import logging

import pytest

from braft_core.errors import ProtocolViolation
from braft_core.runtime.protocol_violations import ProtocolViolations
from braft_core.runtime.timing import Timing


def test_however_many_there_are_the_log_has_a_line_each_ten_seconds(
    caplog: pytest.LogCaptureFixture,
) -> None:
    violations = ProtocolViolations(Timing())
    with caplog.at_level(logging.WARNING):
        for second in range(25):
            for _ in range(100):
                violations.note(ProtocolViolation("a lie"), 1000.0 + second)
    assert violations.count == 2500
    assert len(caplog.records) == 3
    assert "999 more" in caplog.messages[1]


def test_the_latest_violation_is_reported_for_ten_minutes() -> None:
    violations = ProtocolViolations(Timing())
    assert violations.message(0.0) == ""
    violations.note(ProtocolViolation("a lie"), 10.0)
    violations.note(ProtocolViolation("another"), 20.0)
    assert violations.message(25.0).startswith("2 message(s) of peers broke a rule")
    assert "5 s ago: another" in violations.message(25.0)
    assert violations.message(700.0) == ""
