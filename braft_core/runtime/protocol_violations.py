"""Count the messages of peers that the core rejected; log and show them within bounds.

Pure except for its log: time is passed in (monotonic seconds).
"""

from __future__ import annotations

import logging
from math import inf

from braft_core.errors import ProtocolViolation
from braft_core.runtime.timing import Timing

__all__ = ["ProtocolViolations"]

_log = logging.getLogger(__name__)


class ProtocolViolations:
    """Messages of peers that break a rule of the protocol. Written on the loop, read anywhere."""

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        #: How many since the start.
        self.count = 0
        self._latest: tuple[float, str] = (-inf, "")
        self._logged_at = -inf
        self._unlogged = 0

    def note(self, violation: ProtocolViolation, now: float) -> None:
        """Count one. However many come, the rate of log lines is bounded."""
        self.count += 1
        self._latest = (now, violation.message)
        self._unlogged += 1
        if now - self._logged_at < self._timing.violation_log_interval:
            return
        more = f"; {self._unlogged - 1} more since the last such line" if self._unlogged > 1 else ""
        self._logged_at, self._unlogged = now, 0
        _log.warning(
            "a peer broke a rule of the protocol; its message is refused, and its connection "
            "closed: %s%s",
            violation.message,
            more,
        )

    def message(self, now: float) -> str:
        """Return the note to show for a while after the latest, or "". Any thread."""
        when, what = self._latest
        ago = now - when
        if ago > self._timing.violation_reported:
            return ""
        return (
            f"{self.count} message(s) of peers broke a rule of the protocol and were refused, the "
            f"latest {ago:.0f} s ago: {what}"
        )
