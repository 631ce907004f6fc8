"""Marks on a server's answers by which it recognises what was said after them.

A message may have waited in buffers for as long as its receiver, or the network, stood still, and
its arrival says nothing of when it was sent. So each answer to a leader carries a stamp, and each
message with a commit index carries the latest stamp that the leader has seen of its receiver. What
comes with a stamp was said after that stamp was made.
"""

from __future__ import annotations

from collections import deque
from math import inf

__all__ = ["Stamps"]

#: Stamps that are remembered. A message with an older one says nothing.
_REMEMBERED = 512


class Stamps:
    """Those of one life of a server.

    :param first: from a large range, so that stamps of other lives are not taken for ours; above 0.
    :param spacing: seconds for which a stamp is used again; it counts from the first use.
    """

    def __init__(self, first: int, spacing: float) -> None:
        self._next = first
        self._spacing = spacing
        self._made: deque[float] = deque(maxlen=_REMEMBERED)

    def stamp(self, now: float) -> int:
        """Return the stamp of an answer that is made now."""
        made = self._made
        if not made or now - made[-1] >= self._spacing:
            made.append(now)
            self._next += 1
        return self._next - 1

    def made_at(self, stamp: int) -> float:
        """Return when a stamp was made; -infinity if it is none of ours, or long ago."""
        age = self._next - 1 - stamp
        return self._made[-1 - age] if 0 <= age < len(self._made) else -inf
