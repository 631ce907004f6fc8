"""Stamps on a server's answers, by which it recognises messages that were sent later.

A message may wait in buffers while its receiver or the network is paused, so its arrival does not
say when it was sent. Therefore each answer to a leader carries a stamp, and each message with a
commit index carries the latest stamp that the leader has received from its receiver. A message with
a stamp was sent after that stamp was made.
"""

from __future__ import annotations

from collections import deque
from math import inf

__all__ = ["Stamps"]

#: Number of stamps that are remembered. Older ones are unknown.
_REMEMBERED = 512


class Stamps:
    """The stamps of one server since its start.

    :param first: above 0, random from a large range, so that stamps from before a restart are
        unknown.
    :param spacing: seconds from its first use for which a stamp is used again.
    """

    def __init__(self, first: int, spacing: float) -> None:
        self._next = first
        self._spacing = spacing
        self._made: deque[float] = deque(maxlen=_REMEMBERED)

    def stamp(self, now: float) -> int:
        """Return the stamp for an answer that is made now."""
        made = self._made
        if not made or now - made[-1] >= self._spacing:
            made.append(now)
            self._next += 1
        return self._next - 1

    def made_at(self, stamp: int) -> float:
        """Return when a stamp was made; -infinity if it is unknown."""
        age = self._next - 1 - stamp
        return self._made[-1 - age] if 0 <= age < len(self._made) else -inf
