"""Check the staleness bound of the runtime against an omniscient observer.

``braft_core.runtime.staleness`` guarantees that everything committed longer ago than the bound is
in the state. The observer knows when each entry was first committed anywhere, and how slow each
clock really was. It allows for slow clocks, as the guarantee does, but not for delayed messages or
paused processes.
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

__all__ = ["ReportedBound", "StalenessInvariants"]

#: Largest rounding error, virtual seconds.
_ROUNDING = 1e-6


class StalenessInvariants:
    """The observer: records when entries were committed, and checks bounds."""

    def __init__(
        self, scheduler: Scheduler, committed: Sequence[Entry], clocks: Sequence[NodeClock]
    ) -> None:
        self._scheduler = scheduler
        self._committed = committed
        self._clocks = clocks
        #: When each entry was first committed anywhere, virtual seconds.
        self._times: list[float] = []
        #: How often a state that misses an entry was checked.
        self.checked = 0

    def note(self) -> None:
        """Record the time of new commits. Call whenever something may have been committed."""
        times, now = self._times, self._scheduler.now
        while len(times) < len(self._committed):
            times.append(now)

    def misses(self, applied: int) -> bool:
        """Return whether more than ``applied`` entries are committed."""
        return applied < len(self._times)

    def check(self, server: str, applied: int, bound: float) -> None:
        """Check a stale read that ``server`` would answer now.

        :param applied: the number of entries that it would show.
        :param bound: the bound it would report, seconds of the server's clock.
        :raises InvariantBroken: if an entry is missing that was committed longer ago.
        """
        self.checked += 1
        now = self._scheduler.now
        slowest = min(1.0, *(clock.slowest for clock in self._clocks))
        since = now - bound / slowest - _ROUNDING
        if applied < bisect_left(self._times, since):
            missing = now - self._times[applied]
            raise InvariantBroken(
                "a stale read keeps its staleness bound",
                f"{server} shows {applied} entries and says that they are {bound:.6f} s old at"
                f" most; entry {applied + 1} was committed {missing:.6f} s ago"
                f" (slowest clock {slowest:.3f})",
            )


class ReportedBound:
    """The staleness bound of one life of a server, computed as the driver does."""

    def __init__(self, observer: StalenessInvariants, config: RaftConfig, now: float) -> None:
        self._observer = observer
        self._staleness = StalenessBound(config.election_timeout, config.heartbeat_interval)
        #: The time of this turn, by the server's clock.
        self._turn = now

    def turn(self, now: float) -> None:
        """Record that the process wakes up."""
        self._turn = now

    def observe_append(self, core: Core, message: AppendEntries, applied: int) -> None:
        """Record what an append that the core has just processed shows."""
        self._staleness.observe_append(core, message, applied)

    def observe_leadership(self, core: Core, applied: int) -> None:
        """Record leadership at the end of a turn."""
        self._staleness.observe_leadership(core, self._turn, applied)

    def check(self, server: str, now: float, applied: int) -> None:
        """Check the bound that a stale read would report now.

        :raises InvariantBroken: if it is too small.
        """
        bound = self._staleness.seconds(now, applied)
        if bound < inf and self._observer.misses(applied):
            self._observer.check(server, applied, bound)
