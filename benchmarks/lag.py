"""How long a node's consensus loop was kept from its work: sampled on its own thread.

A callback asks to be called again in a millisecond. What it comes late by, the loop was silent
for: because something else ran on it, because another thread held the interpreter's lock in one
call of C code, or because the machine had no processor for it.
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
        #: End and length of every silence, seconds of ``time.monotonic``.
        self._silences: list[tuple[float, float]] = []
        self._due = time.monotonic()
        self._loop.call_soon_threadsafe(self._look)

    def longest(self, begin: float, end: float) -> float:
        """The longest silence that overlaps a stretch of ``time.monotonic``, seconds."""
        found = [
            length
            for ended, length in list(self._silences)
            if ended >= begin and ended - length <= end
        ]
        # One that lasts still has no end yet.
        return max([*found, time.monotonic() - self._due, 0.0])

    def _look(self) -> None:
        now = time.monotonic()
        late = now - self._due
        if late > _NOISE:
            self._silences.append((now, late))
        self._due = now + _PERIOD
        self._loop.call_later(_PERIOD, self._look)
