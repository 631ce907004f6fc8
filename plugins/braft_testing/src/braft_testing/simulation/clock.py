"""Virtual time: the event heap of a simulation, and the imperfect clock of each server.

Owns the order of all events. Events of equal time run in the order of scheduling, so that a run is
a function of its seed alone. Nothing here reads a real clock.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

from braft_testing.simulation.errors import InvariantBroken

__all__ = ["NodeClock", "Scheduler"]

#: A hundred times what a usual run takes; more means that something requests wake-ups endlessly.
_MOST_STEPS = 1_000_000


class Scheduler:
    """An event heap. ``now`` is in virtual seconds since the simulation began."""

    __slots__ = ("_heap", "_sequence", "now", "steps")

    def __init__(self) -> None:
        self.now = 0.0
        self.steps = 0
        self._sequence = 0
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []

    def after(self, delay: float, action: Callable[..., None], *args: Any) -> None:
        """Run ``action(*args)`` in ``delay`` seconds (negative counts as 0)."""
        self._sequence += 1
        when = self.now + delay if delay > 0.0 else self.now
        heappush(self._heap, (when, self._sequence, action, args))

    def run_until(self, until: float, max_steps: int | None = None) -> bool:
        """Run events up to the virtual time ``until``; return False at ``max_steps``."""
        heap = self._heap
        while heap and heap[0][0] <= until:
            if max_steps is not None and self.steps >= max_steps:
                return False
            self.now, _, action, args = heappop(heap)
            self.steps += 1
            if self.steps > _MOST_STEPS:
                raise InvariantBroken(
                    "virtual time advances", f"{self.steps} events until {self.now} s"
                )
            action(*args)
        self.now = until
        return True


class NodeClock:
    """A server's clocks. The monotonic one may run fast or slow and jump ahead, but never back.

    The wall clock runs with it, and may be set forward and back.
    """

    __slots__ = ("_local", "_since", "fastest", "rate", "set_ahead", "slowest", "wall_offset")

    def __init__(self, start: float, rate: float = 1.0) -> None:
        self._since = 0.0
        self._local = start
        self.rate = rate
        #: The lowest and the highest rate so far.
        self.slowest = self.fastest = rate
        #: How far the wall clock is ahead of the monotonic one, seconds.
        self.wall_offset = 0.0
        #: The virtual times at which the wall clock went ahead all at once.
        self.set_ahead: list[float] = []

    def local(self, now: float) -> float:
        """Return this clock's reading at the virtual time ``now``."""
        return self._local + (now - self._since) * self.rate

    def delay_until(self, local: float, now: float) -> float:
        """Return the virtual seconds from ``now`` until this clock will show ``local``."""
        return (local - self.local(now)) / self.rate

    def adjust(self, now: float, *, rate: float, jump: float = 0.0) -> None:
        """Run at ``rate`` (> 0) from now on, after a jump of ``jump`` >= 0 seconds."""
        self._local = self.local(now) + jump
        self._since = now
        self.rate = rate
        self.slowest, self.fastest = min(self.slowest, rate), max(self.fastest, rate)
        if jump > 0:
            self.set_ahead.append(now)

    def wall(self, now: float) -> float:
        """Return the wall clock's reading at the virtual time ``now``."""
        return self.local(now) + self.wall_offset

    def set_wall(self, now: float, offset: float) -> None:
        """Set the wall clock."""
        if offset > self.wall_offset:
            self.set_ahead.append(now)
        self.wall_offset = offset

    def set_back(self, now: float, local: float) -> None:
        """Show ``local`` again, which a monotonic clock never does: for mutants."""
        self._local, self._since = local, now
