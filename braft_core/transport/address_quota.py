"""How many of one thing there are, of each address and in all."""

from __future__ import annotations

from collections import Counter

__all__ = ["AddressQuota"]


class AddressQuota:
    """Counts who is in. Not thread-safe.

    :param each: how many of one address may be in at a time.
    :param total: how many may be in altogether.
    """

    def __init__(self, each: int, total: int) -> None:
        self.each, self.total = each, total
        self._inside: Counter[str] = Counter()
        self._all = 0

    def __len__(self) -> int:
        """How many are in."""
        return self._all

    def in_use(self, address: str) -> int:
        """Return how many of that address are in."""
        return self._inside[address]

    def acquire(self, address: str) -> bool:
        """Let one of that address in, if there is room. :meth:`release` follows only if it is."""
        if self._inside[address] >= self.each or self._all >= self.total:
            return False
        self._inside[address] += 1
        self._all += 1
        return True

    def release(self, address: str) -> None:
        """One of that address is out again."""
        self._inside[address] -= 1
        self._all -= 1
        if not self._inside[address]:
            del self._inside[address]
