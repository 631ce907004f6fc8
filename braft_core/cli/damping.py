"""A log handler that limits repeated lines: it writes the first ones, then how many were left out.

Lines repeat if logger, level, template and type of exception are the same, whatever the arguments.
A caller that provokes errors, or a loop that fails at every turn, does not fill the disk.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TextIO

__all__ = ["BURST", "PERIOD", "DampedHandler"]

#: Lines of one kind that are written in :data:`PERIOD` seconds; further ones are counted.
BURST: Final = 20
PERIOD: Final = 10.0
#: Kinds that are remembered; the oldest is dropped first.
_REMEMBERED: Final = 256

_Kind = tuple[Any, ...]


class _Window(NamedTuple):
    """Lines of one kind since a moment."""

    since: float
    written: int
    left_out: int


class DampedHandler(logging.StreamHandler[TextIO]):
    """Writes to a stream and limits repeated lines. Debug lines are never left out.

    :param clock: monotonic seconds.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream)
        self._clock = clock
        self._windows: dict[_Kind, _Window] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, or count it. Called by ``logging`` with the handler's lock held."""
        now = self._clock()
        self._report(now)
        if record.levelno <= logging.DEBUG or self._has_room(_kind(record), now):
            super().emit(record)

    def close(self) -> None:
        """Report what was left out, and close."""
        self.acquire()
        try:
            self._report(float("inf"))
        finally:
            self.release()
        super().close()

    def _has_room(self, kind: _Kind, now: float) -> bool:
        since, written, left_out = self._windows.pop(kind, _Window(now, 0, 0))
        has_room = written < BURST
        self._windows[kind] = _Window(since, written + has_room, left_out + (not has_room))
        return has_room

    def _report(self, now: float) -> None:
        """Drop the windows that are over, with a line for each that left something out."""
        over = [kind for kind, window in self._windows.items() if now - window.since >= PERIOD]
        over += list(self._windows)[: max(0, len(self._windows) - _REMEMBERED)]
        for kind in dict.fromkeys(over):
            window = self._windows.pop(kind)
            if window.left_out:
                super().emit(_summary(kind, window.left_out))


def _kind(record: logging.LogRecord) -> _Kind:
    raised = record.exc_info[0] if record.exc_info else None
    return record.name, record.levelno, str(record.msg), raised


def _summary(kind: _Kind, left_out: int) -> logging.LogRecord:
    name, level, template, _ = kind
    message = "%d more lines like this one were left out: %s"
    return logging.LogRecord(name, level, __file__, 0, message, (left_out, template), None)
