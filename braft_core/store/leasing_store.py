"""What ``node.store`` and ``client.store`` are beside their watches: the store with kept leases."""

from __future__ import annotations

from collections.abc import Callable

from braft_core.store.caller import StoreCaller
from braft_core.store.lease import Lease
from braft_core.store.store import Store

__all__ = ["LeasingStore"]


class LeasingStore(Store):
    """The store of a node or client, which renews leases; a session does not."""

    def __init__(self, caller: StoreCaller, make_lease: Callable[[float], Lease]) -> None:
        super().__init__(caller)
        self._make_lease = make_lease

    def lease(self, ttl: float = 10.0) -> Lease:
        """Return a lease for a ``with`` or ``async with`` statement; see :class:`Lease`.

        :param ttl: seconds.
        """
        return self._make_lease(ttl)
