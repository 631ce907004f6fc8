"""How many bytes of large bodies may be in memory at a time. On one event loop."""

from __future__ import annotations

from typing import Final

__all__ = ["UNCOUNTED_BYTES", "MemoryBudget"]

#: Bodies up to this size are not counted: there are no more of them than connections.
UNCOUNTED_BYTES: Final = 64 << 10


class MemoryBudget:
    """A number of bytes that many share."""

    def __init__(self, most: int) -> None:
        self.left = most

    def take(self, size: int) -> bool:
        """Take ``size`` bytes; ``False`` if there are not so many."""
        if size > self.left:
            return False
        self.left -= size
        return True

    def give(self, size: int) -> None:
        """Give back what was taken."""
        self.left += size
