"""The leases that a process holds: which to renew now, and which are lost.

What renews the leases of a node and what renews those of a client share it. Pure: the caller has
the clock, and sends the renewals. Not thread-safe.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from braft_core.store.lease import GONE, Lease

__all__ = ["HeldLeases"]

#: A lease is renewed after this part of its ttl.
_PART: Final = 3


class _Held:
    __slots__ = ("lease", "renew_at", "renewing")

    def __init__(self, lease: Lease, renew_at: float) -> None:
        self.lease = lease
        self.renew_at = renew_at
        self.renewing = False


class HeldLeases:
    """Granted leases by their ids."""

    def __init__(self) -> None:
        self._held: dict[int, _Held] = {}

    def __len__(self) -> int:
        return len(self._held)

    def add(self, lease: Lease, now: float) -> None:
        """Take a lease that was granted just now."""
        self._held[lease.id] = _Held(lease, now + lease.ttl / _PART)

    def remove(self, lease_id: int) -> None:
        """Forget a lease."""
        self._held.pop(lease_id, None)

    def due(self, now: float) -> list[int]:
        """Lose the leases that may have ended; return the ids of those to renew.

        A lease is returned once until its renewal was answered or failed.
        """
        found = []
        for held in list(self._held.values()):
            if now >= held.lease.valid_until:
                self._lose(held, "it could not be renewed in time")
            elif now >= held.renew_at and not held.renewing:
                held.renewing = True
                found.append(held.lease.id)
        return found

    def shortest_ttl(self, lease_ids: Iterable[int]) -> float:
        """Return the shortest ttl of these leases, seconds; 0 if none is held."""
        held = [self._held[lease_id] for lease_id in lease_ids if lease_id in self._held]
        return min((each.lease.ttl for each in held), default=0.0)

    def renewed(self, lease_id: int, ttl: float, sent_at: float) -> None:
        """Take the answer to a renewal.

        :param ttl: what the store answered: 0 if there is no such lease.
        :param sent_at: when the renewal was sent: the ttl begins then or later.
        """
        held = self._held.get(lease_id)
        if held is None:
            return
        held.renewing = False
        if ttl == 0:
            self._lose(held, GONE)
        else:
            held.lease.renewed(sent_at)
            held.renew_at = sent_at + held.lease.ttl / _PART

    def failed(self, lease_id: int) -> None:
        """Note that a renewal failed: the lease is due again."""
        held = self._held.get(lease_id)
        if held is not None:
            held.renewing = False

    def lose_all(self, why: str) -> None:
        """Give up all leases."""
        for held in list(self._held.values()):
            self._lose(held, why)

    def renew_now(self) -> None:
        """Make all leases due."""
        for held in self._held.values():
            held.renew_at = float("-inf")

    def _lose(self, held: _Held, why: str) -> None:
        self._held.pop(held.lease.id, None)
        held.lease.lose(why)
