"""A limit for the memory that large bodies take, over all requests. For one event loop."""

from __future__ import annotations

from typing import Final

__all__ = ["UNCOUNTED_BYTES", "MemoryBudget"]

#: Bodies up to this size are not counted: the number of connections bounds them.
UNCOUNTED_BYTES: Final = 64 << 10


class MemoryBudget:
    """A number of bytes that all requests share."""

    def __init__(self, total: int) -> None:
        self.left = total

    def reserve(self, size: int) -> bool:
        """Reserve ``size`` bytes; return ``False`` if fewer are left."""
        if size > self.left:
            return False
        self.left -= size
        return True

    def release(self, size: int) -> None:
        """Return reserved bytes."""
        self.left += size
