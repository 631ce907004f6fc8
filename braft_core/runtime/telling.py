"""Which reasons for not being ready are news to the log.

Owns the memory of what was told. Pure: time is passed in (seconds, any origin).

A reason is told once in a stretch of not being ready, however long that lasts and however often it
comes and goes: the sentences themselves stand in ``/readyz`` at any time.
"""

from __future__ import annotations

import re

__all__ = ["Telling"]

#: Seconds of not being ready before the first reason is told: forming and elections are over by
#: then, and have lines of their own.
PATIENCE = 4.0
#: Reasons remembered; the oldest is forgotten first.
REMEMBERED = 64

#: What changes in a sentence while its reason stays: how long it has lasted.
_DURATION = re.compile(r"\d+(\.\d+)? m?s\b")


class Telling:
    """Not thread-safe: used on the node's loop alone."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._told: dict[str, None] = {}

    def is_news(self, now: float, reason: str) -> bool:
        """Whether to tell ``reason`` now. To be called several times a second; "" means ready."""
        if not reason:
            self._since = None
            self._told.clear()
            return False
        if self._since is None:
            self._since = now
        key = _DURATION.sub("", reason)
        if now - self._since < PATIENCE or key in self._told:
            return False
        self._told[key] = None
        if len(self._told) > REMEMBERED:
            del self._told[next(iter(self._told))]
        return True
