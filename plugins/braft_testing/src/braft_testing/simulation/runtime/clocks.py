"""The clocks of simulated machines: fast, slow, and set forward or back."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["MachineClock"]

_EPOCH_NS = 1_750_000_000_000_000_000


class MachineClock:
    """The clocks of one machine, as functions of the true time.

    :param true: returns the true time, seconds.
    """

    def __init__(self, true: Callable[[], float]) -> None:
        self._true = true
        #: Seconds of this clock in a true second.
        self.rate = 1.0
        #: The lowest rate that it ever had.
        self.slowest = 1.0
        #: Seconds by which the wall clock was set forward; below 0: back.
        self.wall_offset = 0.0
        self._since = self._began = 0.0
        #: Called after the rate has changed: what was planned by this clock must be planned anew.
        self.on_change: list[Callable[[], None]] = []

    def monotonic(self) -> float:
        """Return seconds that never go backwards."""
        return self._began + (self._true() - self._since) * self.rate

    def wall_ns(self) -> int:
        """Return nanoseconds since the epoch."""
        return _EPOCH_NS + int((self._true() + self.wall_offset) * 1e9)

    def true_time(self, when: float) -> float:
        """Return the true time at which :meth:`monotonic` returns ``when``, at this rate."""
        return self._since + (when - self._began) / self.rate

    def run_at(self, rate: float) -> None:
        """Let the monotonic clock go slower or faster from now on."""
        self._began, self._since = self.monotonic(), self._true()
        self.rate, self.slowest = rate, min(self.slowest, rate)
        for changed in self.on_change:
            changed()
