"""Damping of repeated log lines."""

from __future__ import annotations

import io
import logging

from braft_core.cli.damping import BURST, PERIOD, DampedHandler


class Log:
    """A separate logger on a clock that the test advances."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._stream = io.StringIO()
        self.handler = DampedHandler(self._stream, lambda: self.now)
        self.handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
        self.logger = logging.Logger("braft_core.x", logging.DEBUG)  # noqa: LOG001 - of a test alone
        self.logger.addHandler(self.handler)

    def lines(self) -> list[str]:
        found = self._stream.getvalue().splitlines()
        self._stream.seek(0)
        self._stream.truncate()
        return found


def test_a_flood_leaves_its_first_lines_and_their_number() -> None:
    log = Log()
    for number in range(10_000):
        log.logger.warning("call %d failed", number)
        log.now += PERIOD / 20_000
    assert log.lines() == [f"WARNING call {number} failed" for number in range(BURST)]
    log.now += PERIOD
    log.logger.info("calm")
    left_out = f"{10_000 - BURST} more lines like this one were left out: call %d failed"
    assert log.lines() == [f"WARNING {left_out}", "INFO calm"]
    log.logger.warning("call %d failed", 7)
    assert log.lines() == ["WARNING call 7 failed"]


def test_a_lasting_problem_is_logged_once_a_period() -> None:
    log = Log()
    for _ in range(1280):
        log.logger.error("gone")
        log.now += PERIOD / 128  # which is exact
    lines = log.lines()
    assert len(lines) <= 10 * (BURST + 1)
    assert lines.count("ERROR 108 more lines like this one were left out: gone") >= 9


def test_other_lines_are_not_concerned() -> None:
    log = Log()
    for _ in range(BURST + 5):
        log.logger.warning("gone")
        log.logger.error("gone")
        log.logger.debug("looked")
    log.logger.warning("another")
    lines = log.lines()
    assert lines.count("WARNING gone") == lines.count("ERROR gone") == BURST
    assert lines.count("DEBUG looked") == BURST + 5
    assert lines[-1] == "WARNING another"


def test_each_kind_of_exception_is_a_kind_of_line() -> None:
    log = Log()
    for kind in (KeyError, ValueError):
        for _ in range(BURST + 1):
            try:
                raise kind("x")
            except (KeyError, ValueError):
                log.logger.exception("a call failed")
    lines = log.lines()
    assert [lines.count(name) for name in ("KeyError: 'x'", "ValueError: x")] == [BURST, BURST]


def test_suppressed_lines_are_counted_at_the_end_at_the_latest() -> None:
    log = Log()
    for _ in range(BURST + 3):
        log.logger.warning("gone")
    log.lines()
    log.handler.close()
    assert log.lines() == ["WARNING 3 more lines like this one were left out: gone"]


def test_many_kinds_take_bounded_memory() -> None:
    log = Log()
    for number in range(10_000):
        log.logger.warning(f"kind {number}")  # noqa: G004 - as others do
    assert len(log.handler._windows) < 300
