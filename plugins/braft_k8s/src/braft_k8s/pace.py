"""When to list after a change: at once after a calm, less often while changes continue.

Pure: time is passed in. Listing costs the API two or more requests, and a busy namespace has many
changes per second that do not concern this node.
"""

from __future__ import annotations

from typing import Final

__all__ = ["ListPace"]

#: Seconds after the first change, in which more changes usually follow.
FIRST_WAIT: Final = 0.1
#: The longest wait, unless ``poll_interval`` is shorter: the delay of a change in a namespace that
#: changes continuously.
MAX_WAIT: Final = 5.0
#: Seconds without a change, and at least twice the last wait, after which the next one is a first
#: one again.
CALM_AFTER: Final = 1.0


class ListPace:
    """Waits that double while changes continue, from FIRST_WAIT to MAX_WAIT seconds."""

    def __init__(self, most: float = MAX_WAIT) -> None:
        self._most = min(most, MAX_WAIT)
        self._wait = 0.0
        self._listed_at: float | None = None

    def listed(self, now: float) -> None:
        """Note that a list request has finished."""
        self._listed_at = now

    def wait(self, now: float) -> float:
        """Return how many seconds after a change at ``now`` to list."""
        calm = self._listed_at is None or now - self._listed_at >= max(CALM_AFTER, 2 * self._wait)
        self._wait = min(self._most, FIRST_WAIT if calm or not self._wait else 2 * self._wait)
        return self._wait
