"""Who may be connected: how many callers, of one address and in all, said who they are or did not.

Owns the numbers and who has to go. A caller that has not been admitted makes room for a later one,
since an honest caller says its hello within a round trip; admitted callers that are no members of
the cluster leave room for those that are. Used on the loop only.
"""

from __future__ import annotations

import asyncio
from typing import Final

from braft_core.transport import AddressQuota
from braft_tcp.connection import Connection

__all__ = ["EACH", "UNPROVED_EACH", "ConnectionSlots", "Slot"]

#: Connections of one address, and those among them that may not have been admitted yet.
EACH: Final = 256
UNPROVED_EACH: Final = 64


class Slot:
    """The place of one caller, from its arrival to its end."""

    def __init__(self, host: str) -> None:
        self.host = host
        #: The handshake, and what comes out of it.
        self.entering: asyncio.Task[None] | None = None
        self.connection: Connection | None = None

    def evict(self) -> None:
        """End whatever there is of it."""
        if self.entering is not None and not self.entering.done():
            self.entering.cancel()
        elif self.connection is not None:
            self.connection.abort()


class ConnectionSlots:
    """All callers of one node.

    :param total: connections in all. A quarter is for callers that are not admitted yet, and a
        quarter for members alone.
    """

    def __init__(self, total: int) -> None:
        self._all = AddressQuota(EACH, total)
        self._most_unproved = max(1, total // 4)
        self._most_others = max(1, total // 2)
        #: Oldest first: all of them, and those of each address.
        self._unproved: dict[Slot, None] = {}
        self._of: dict[str, dict[Slot, None]] = {}
        self._others: set[Slot] = set()

    def arrive(self, host: str) -> Slot | None:
        """Return the slot of a new caller; ``None`` if all are taken."""
        if not self._all.acquire(host):
            return None
        ours = self._of.setdefault(host, {})
        if len(ours) >= UNPROVED_EACH:
            self._evict(next(iter(ours)))
        elif len(self._unproved) >= self._most_unproved:
            self._evict(next(iter(self._unproved)))
        slot = Slot(host)
        self._unproved[slot] = self._of.setdefault(host, {})[slot] = None
        return slot

    def admit(self, slot: Slot, *, member: bool) -> bool:
        """Return whether a caller that said who it is may stay."""
        if not member and len(self._others) >= self._most_others:
            return False
        self._proved(slot)
        if not member:
            self._others.add(slot)
        return True

    def leave(self, slot: Slot) -> None:
        """Free the slot: its connection is closed."""
        self._proved(slot)
        self._others.discard(slot)
        self._all.release(slot.host)

    def _evict(self, slot: Slot) -> None:
        self._proved(slot)
        slot.evict()

    def _proved(self, slot: Slot) -> None:
        self._unproved.pop(slot, None)
        ours = self._of.get(slot.host)
        if ours is not None:
            ours.pop(slot, None)
            if not ours:
                del self._of[slot.host]
