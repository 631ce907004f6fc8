"""What a listener does when the machine or the process has no room for another connection.

A socket that cannot be accepted stays readable, so a loop that merely tries again tries for ever,
as fast as it can. Owns which errors mean that, how long to wait, and how often a log line is due.
"""

from __future__ import annotations

import errno
import logging
from typing import Final

__all__ = ["PAUSE", "AcceptBackoff"]

_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
#: Seconds until a listener tries again.
PAUSE: Final = 1.0
#: Seconds between two lines about it.
PERIOD: Final = 60.0


class AcceptBackoff:
    """Decides for one listener. Not thread-safe. Times are monotonic seconds."""

    def __init__(self, what: str, log: logging.Logger, pause: float = PAUSE) -> None:
        """:param what: the listener's name in log lines."""
        self._what, self._log = what, log
        #: Seconds until the listener tries again.
        self.pause = pause
        self._until = self._next_line = 0.0
        self._times = 0

    def is_paused(self, now: float) -> bool:
        """Return whether the listener is to leave connections waiting."""
        return now < self._until

    def exhausted_by(self, error: OSError, now: float) -> bool:
        """Return whether ``error`` means that there is no room; then the pause begins."""
        if error.errno not in _EXHAUSTED:
            return False
        self._until = now + self.pause
        self._times += 1
        if now >= self._next_line:
            self._next_line = now + PERIOD
            self._log.warning(
                "%s cannot accept connections: %s (%d times since this was last reported); "
                "those that there are go on. Raise the limit of open files (ulimit -n), or find "
                "out who holds the connections",
                self._what,
                error,
                self._times,
            )
            self._times = 0
        return True
