"""How old the state of this node may be: the bound of a stale read.

Owns what is remembered of a leader's words. A message on the lane of the entries says how far is
committed; once that much is applied here, the state is as new as the leader's was when it spoke.
Two things can make it older, and each is limited to an election timeout:

* the leader was deposed and had not noticed: it steps down when a majority has been silent for so
  long (thesis §6.2), and until then its followers hear of no new commits;
* the message was under way. Nobody can see that at its end without a question that went before
  (which is a linearizable read), so it is the assumption: **no message takes longer than an
  election timeout**.

By the monotonic clock of this machine alone. A node that stood still takes what it finds in its
buffers for as old as the last time it looked.
"""

from __future__ import annotations

from math import inf

__all__ = ["Freshness"]


class Freshness:
    """Written on the loop; :meth:`age` may be called from any thread."""

    def __init__(self) -> None:
        self._fresh_at = -inf
        #: (when it was said, how far was committed): the oldest that is not applied yet, and the
        #: newest. Replaced, never changed.
        self._said: tuple[tuple[float, int], ...] = ()

    def heard(self, at: float, commit: int, applied: int) -> None:
        """The leader said that everything up to ``commit`` is committed, not before ``at``."""
        reached = [when for when, index in self._said if index <= applied]
        self._fresh_at = max(self._fresh_at, *reached) if reached else self._fresh_at
        ahead = tuple(said for said in self._said if said[1] > applied)
        self._said = (*ahead[:1], (at, commit))

    def age(self, now: float, applied: int) -> float:
        """Seconds since the leader said something that is wholly applied; infinity for never."""
        reached = [when for when, index in self._said if index <= applied]
        return now - max(self._fresh_at, *reached, -inf)
