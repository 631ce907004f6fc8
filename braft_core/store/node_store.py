"""``node.store``: the store, with leases that the node renews."""

from __future__ import annotations

from collections.abc import Callable

from braft_core.kv import Caller
from braft_core.store.lease import Lease
from braft_core.store.store import Store

__all__ = ["NodeStore"]


class NodeStore(Store):
    """The store of a node, which renews leases; a session does not."""

    def __init__(self, caller: Caller, make_lease: Callable[[float], Lease]) -> None:
        super().__init__(caller)
        self._make_lease = make_lease

    def lease(self, ttl: float = 10.0) -> Lease:
        """Return a lease for a ``with`` or ``async with`` statement: :meth:`braft_core.Node.lease`.

        :param ttl: seconds.
        """
        return self._make_lease(ttl)
