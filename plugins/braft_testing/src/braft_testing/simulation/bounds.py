"""How old a stale read may be: the real rules of the runtime, and the observer who judges them.

The promise is that of ``braft_core.runtime.staleness``: what was committed longer ago than the
bound is in the state. The observer knows when each entry was first committed anywhere, and how slow
each clock really was. It allows for slow clocks, as the promise does, and for nothing else: neither
for messages that were under way for long, nor for processes that stood still.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from math import inf

from braft_core.raft.config import RaftConfig
from braft_core.raft.messages import AppendEntries
from braft_core.raft.types import Entry
from braft_core.runtime.staleness import StalenessBound
from braft_testing.simulation.clock import NodeClock, Scheduler
from braft_testing.simulation.core import Core
from braft_testing.simulation.errors import InvariantBroken

__all__ = ["Bound", "Bounds"]

#: Virtual seconds by which numbers are rounded at most.
_ROUNDING = 1e-6


class Bounds:
    """The observer: when what was committed, and whether a bound was kept."""

    def __init__(
        self, scheduler: Scheduler, committed: Sequence[Entry], clocks: Sequence[NodeClock]
    ) -> None:
        self._scheduler = scheduler
        self._committed = committed
        self._clocks = clocks
        #: When each entry was first committed anywhere, virtual seconds.
        self._times: list[float] = []
        #: How often a state was judged that missed something.
        self.judged = 0

    def note(self) -> None:
        """Call whenever something may have been committed."""
        times, now = self._times, self._scheduler.now
        while len(times) < len(self._committed):
            times.append(now)

    def misses(self, applied: int) -> bool:
        """Whether more is committed than ``applied`` entries."""
        return applied < len(self._times)

    def check(self, server: str, applied: int, bound: float) -> None:
        """A stale read of ``server`` would now show ``applied`` entries and tell ``bound``.

        :param bound: seconds of the server's clock.
        :raises InvariantBroken: something is missing that was committed longer ago.
        """
        self.judged += 1
        now = self._scheduler.now
        slowest = min(1.0, *(clock.slowest for clock in self._clocks))
        since = now - bound / slowest - _ROUNDING
        if applied < bisect_left(self._times, since):
            missing = now - self._times[applied]
            raise InvariantBroken(
                "a stale read is no older than it says",
                f"{server} shows {applied} entries and says that they are {bound:.6f} s old at"
                f" most; entry {applied + 1} was committed {missing:.6f} s ago"
                f" (slowest clock {slowest:.3f})",
            )


class Bound:
    """What one life of a server knows of the age of its state, as a driver does."""

    def __init__(self, observer: Bounds, config: RaftConfig, now: float) -> None:
        self._observer = observer
        self._staleness = StalenessBound(config.election_timeout, config.heartbeat_interval)
        #: The time of this turn, by the server's clock.
        self._turn = now

    def turn(self, now: float) -> None:
        """Note that the process wakes up."""
        self._turn = now

    def observe_append(self, core: Core, message: AppendEntries, applied: int) -> None:
        """Note what a message says that the core has just taken."""
        self._staleness.observe_append(core, message, applied)

    def observe_leadership(self, core: Core, applied: int) -> None:
        """The end of a turn."""
        self._staleness.observe_leadership(core, self._turn, applied)

    def check(self, server: str, now: float, applied: int) -> None:
        """Let the observer judge what a stale read would tell now.

        :raises InvariantBroken: it would tell too little.
        """
        bound = self._staleness.seconds(now, applied)
        if bound < inf and self._observer.misses(applied):
            self._observer.check(server, applied, bound)
