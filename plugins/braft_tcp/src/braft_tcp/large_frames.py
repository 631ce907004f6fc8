"""Limits how many large frames of one address are received at a time; others wait in the kernel.

A receiver keeps an incomplete frame in memory, and a frame may have many megabytes. Used on the
loop only.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Final

__all__ = ["LARGE", "LargeFrames"]

#: Bytes from which on a frame counts as large.
LARGE: Final = 128 << 10
#: Large frames of one address and channel that are received at a time.
_AT_ONCE: Final = 4


class LargeFrames:
    """Whose turn it is. ``whose`` is what the bound is for: an address and a channel."""

    def __init__(self) -> None:
        self._current: dict[Hashable, int] = {}
        #: Those that wait, oldest first.
        self._waiting: dict[Hashable, dict[Callable[[], None], None]] = {}

    def take(self, whose: Hashable, on_turn: Callable[[], None]) -> bool:
        """Return whether the frame may be received now; if not, ``on_turn`` is called later."""
        if self._current.get(whose, 0) < _AT_ONCE:
            self._current[whose] = self._current.get(whose, 0) + 1
            return True
        self._waiting.setdefault(whose, {})[on_turn] = None
        return False

    def give(self, whose: Hashable) -> None:
        """Give the turn back: the frame is complete, or its connection closed."""
        waiting = self._waiting.get(whose)
        if waiting:
            on_turn = next(iter(waiting))
            self.forget(whose, on_turn)
            on_turn()  # the turn is handed on
            return
        self._current[whose] -= 1
        if not self._current[whose]:
            del self._current[whose]

    def forget(self, whose: Hashable, on_turn: Callable[[], None]) -> None:
        """Do not wait any longer."""
        waiting = self._waiting.get(whose)
        if waiting is not None:
            waiting.pop(on_turn, None)
            if not waiting:
                del self._waiting[whose]
