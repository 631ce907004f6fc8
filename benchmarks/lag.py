"""How long a node's consensus loop was kept from its work: sampled on its own thread.

A callback asks to be called again in a millisecond. What it comes late by, the loop was silent
for: because something else ran on it, because another thread held the interpreter's lock in one
call of C code, or because the machine had no processor for it. Each silence is measured twice: by
the clock, and by the processors' time that the process spent meanwhile, which is what it did to
itself and hardly depends on what else the machine had to do.
"""

from __future__ import annotations

import asyncio
import time

from braft_core import Node

__all__ = ["LoopLag"]

_PERIOD = 0.001
#: What is shorter is the machine's noise, and not worth its memory, seconds.
_NOISE = 0.005


class LoopLag:
    """Samples one node from its making on. May be asked from any thread."""

    def __init__(self, node: Node) -> None:
        host = node._host
        if host is None:
            raise RuntimeError("the node was not started")
        self._loop: asyncio.AbstractEventLoop = host._loop.loop
        #: End, length and processors' time of every silence, seconds.
        self._silences: list[tuple[float, float, float]] = []
        self._due = time.monotonic()
        self._spent = time.process_time()
        self._loop.call_soon_threadsafe(self._look)

    def longest(self, begin: float, end: float) -> tuple[float, float]:
        """The longest silence that overlaps a stretch of ``time.monotonic``, seconds.

        :returns: the longest by the clock, and the longest by the processors' time.
        """
        found = [
            (length, spent)
            for ended, length, spent in list(self._silences)
            if ended >= begin and ended - length <= end
        ]
        # One that lasts still has no end yet.
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
