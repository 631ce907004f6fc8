"""How long a node's consensus loop was blocked, sampled on its own thread.

A callback schedules itself every millisecond. If it is late, the loop was blocked: by other work on
it, by another thread that held the GIL in one call of C code, or by a lack of CPU. Such a silence
is measured twice: by the clock, and by the CPU time that the process spent meanwhile. The CPU time
is what the process itself caused, and hardly depends on other work of the machine.
"""

from __future__ import annotations

import asyncio
import time

from braft_core import Node
from braft_testing.internals import internals

__all__ = ["LoopLag"]

_PERIOD = 0.001
#: Shorter silences are noise and are not kept, seconds.
_NOISE = 0.005


class LoopLag:
    """Samples the loop of one node. Query it from any thread."""

    def __init__(self, node: Node) -> None:
        self._loop: asyncio.AbstractEventLoop = internals(node).loop.loop
        #: End, length and CPU time of every silence, seconds.
        self._silences: list[tuple[float, float, float]] = []
        self._due = time.monotonic()
        self._spent = time.process_time()
        self._loop.call_soon_threadsafe(self._look)

    def longest(self, begin: float, end: float) -> tuple[float, float]:
        """Return the longest silence that overlaps an interval of ``time.monotonic``, seconds.

        :returns: the longest by the clock, and the longest by CPU time.
        """
        found = [
            (length, spent)
            for ended, length, spent in list(self._silences)
            if ended >= begin and ended - length <= end
        ]
        # The current silence has no end yet.
        lasting = (time.monotonic() - self._due, time.process_time() - self._spent)
        lengths, times = zip((0.0, 0.0), lasting, *found, strict=True)
        return max(lengths), max(times)

    def _look(self) -> None:
        now, spent = time.monotonic(), time.process_time()
        late = now - self._due
        if late > _NOISE:
            self._silences.append((now, late, spent - self._spent))
        self._due, self._spent = now + _PERIOD, spent
        self._loop.call_later(_PERIOD, self._look)
