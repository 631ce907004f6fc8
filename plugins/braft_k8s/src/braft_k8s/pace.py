"""How soon to look after news: at once after a calm, ever more rarely while it keeps coming.

Pure: time is passed in. A look costs the API two lists and more, and in a busy namespace something
changes many times a second that is no business of this node.
"""

from __future__ import annotations

from typing import Final

__all__ = ["Pace"]

#: Seconds after the first news in which more of it usually arrives.
FIRST: Final = 0.1
#: The longest wait, unless ``poll_interval`` is shorter: how late a change may be seen in a
#: namespace that never rests.
MOST: Final = 5.0
#: After so many seconds without news, and twice the last wait, the next counts as the first again.
CALM: Final = 1.0


class Pace:
    """Waits that double while news follows on news, from :data:`FIRST` to :data:`MOST` seconds."""

    def __init__(self, most: float = MOST) -> None:
        self._most = min(most, MOST)
        self._wait = 0.0
        self._looked_at: float | None = None

    def looked(self, now: float) -> None:
        """Note that a look is over."""
        self._looked_at = now

    def wait(self, now: float) -> float:
        """Return how many seconds after news at ``now`` the next look is due."""
        calm = self._looked_at is None or now - self._looked_at >= max(CALM, 2 * self._wait)
        self._wait = min(self._most, FIRST if calm or not self._wait else 2 * self._wait)
        return self._wait
