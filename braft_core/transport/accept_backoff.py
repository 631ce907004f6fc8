"""Pauses a listener when the process or the machine is out of descriptors or memory.

A socket whose connection cannot be accepted stays readable, so a loop without a pause would spin.
"""

from __future__ import annotations

import errno
import logging
from typing import Final

__all__ = ["PAUSE", "AcceptBackoff"]

_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
#: Seconds until a listener tries again.
PAUSE: Final = 1.0
#: Seconds between two log lines about it.
PERIOD: Final = 60.0


class AcceptBackoff:
    """The state of one listener. Not thread-safe. Times are monotonic seconds."""

    def __init__(self, what: str, log: logging.Logger, pause: float = PAUSE) -> None:
        """:param what: the listener's name in log lines."""
        self._what, self._log = what, log
        #: Seconds until the listener tries again.
        self.pause = pause
        self._until = self._next_line = 0.0
        self._times = 0

    def is_paused(self, now: float) -> bool:
        """Return whether the listener should leave connections waiting."""
        return now < self._until

    def exhausted_by(self, error: OSError, now: float) -> bool:
        """Return whether ``error`` means that resources are exhausted; if so, begin the pause."""
        if error.errno not in _EXHAUSTED:
            return False
        self._until = now + self.pause
        self._times += 1
        if now >= self._next_line:
            self._next_line = now + PERIOD
            self._log.warning(
                "%s cannot accept connections: %s (%d times since this was last reported); "
                "existing connections continue. Raise the limit of open files (ulimit -n), or find "
                "out who holds the connections",
                self._what,
                error,
                self._times,
            )
            self._times = 0
        return True
