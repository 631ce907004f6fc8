"""Limits how many connections, calls or streams there are, per address and in total."""

from __future__ import annotations

from collections import Counter

__all__ = ["AddressQuota"]


class AddressQuota:
    """Counts what is in use. Not thread-safe.

    :param each: limit for one address.
    :param total: limit for all addresses together.
    """

    def __init__(self, each: int, total: int) -> None:
        self.each, self.total = each, total
        self._inside: Counter[str] = Counter()
        self._all = 0

    def __len__(self) -> int:
        """Return how many are in use."""
        return self._all

    def in_use(self, address: str) -> int:
        """Return how many that address uses."""
        return self._inside[address]

    def acquire(self, address: str) -> bool:
        """Take one for that address, if the limits allow; then :meth:`release` has to follow."""
        if self._inside[address] >= self.each or self._all >= self.total:
            return False
        self._inside[address] += 1
        self._all += 1
        return True

    def release(self, address: str) -> None:
        """Give one of that address back."""
        self._inside[address] -= 1
        self._all -= 1
        if not self._inside[address]:
            del self._inside[address]
