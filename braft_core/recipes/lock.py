"""``node.lock(name)``: one holder at a time in the whole cluster."""

from __future__ import annotations

from braft_core.recipes.claim import AcquirableClaim

__all__ = ["Lock"]


class Lock(AcquirableClaim):
    """A lock. Who asks first gets it first.

    On loss another process may hold it, at the earliest a moment after :attr:`lost` was set.
    Closed, it is free at once. If the process dies, or its network, it is free after the ttl.
    """

    kind = "lock"
