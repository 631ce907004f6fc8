"""What a recipe needs of a store: that of a node, or anything with the same semantics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from braft_core.store import (
    Condition,
    Entry,
    Held,
    Lease,
    Operation,
    StoreStatus,
    TxnResult,
    Watch,
)
from braft_core.store.keys import Bytes

__all__ = ["RecipeStore"]


class RecipeStore(Protocol):
    """Transactions, ordered reads, watches and leases; see :class:`braft_core.store.NodeStore`."""

    def get(
        self, key: Bytes, *, at: int | None = None, timeout: float | None = None
    ) -> Entry | None:
        """Return a key's entry at a revision."""

    async def aget(
        self, key: Bytes, *, at: int | None = None, timeout: float | None = None
    ) -> Entry | None:
        """Call :meth:`get` asynchronously."""

    def status(self, *, timeout: float | None = None) -> StoreStatus:
        """Return numbers of the store, its revision among them."""

    async def astatus(self, *, timeout: float | None = None) -> StoreStatus:
        """Call :meth:`status` asynchronously."""

    def txn(
        self,
        when: Sequence[Condition] = (),
        then: Sequence[Operation] = (),
        otherwise: Sequence[Operation] = (),
        *,
        if_held: Held | None = None,
        timeout: float | None = None,
    ) -> TxnResult:
        """Do ``then`` if all conditions hold, else ``otherwise``."""

    async def atxn(
        self,
        when: Sequence[Condition] = (),
        then: Sequence[Operation] = (),
        otherwise: Sequence[Operation] = (),
        *,
        if_held: Held | None = None,
        timeout: float | None = None,
    ) -> TxnResult:
        """Call :meth:`txn` asynchronously."""

    def oldest(
        self, prefix: Bytes, limit: int = 1, *, timeout: float | None = None
    ) -> tuple[int, list[Entry]]:
        """Return the store's revision, and the keys of a prefix that were made first."""

    async def aoldest(
        self, prefix: Bytes, limit: int = 1, *, timeout: float | None = None
    ) -> tuple[int, list[Entry]]:
        """Call :meth:`oldest` asynchronously."""

    def newest(
        self, prefix: Bytes, limit: int = 1, *, until: int = 0, timeout: float | None = None
    ) -> tuple[int, list[Entry]]:
        """Return the store's revision, and the keys of a prefix that were made last."""

    async def anewest(
        self, prefix: Bytes, limit: int = 1, *, until: int = 0, timeout: float | None = None
    ) -> tuple[int, list[Entry]]:
        """Call :meth:`newest` asynchronously."""

    def watch(
        self, prefix: Bytes | None = None, *, key: Bytes | None = None, since: int = 0
    ) -> Watch:
        """Return the changes of a prefix or a key after a revision."""

    def lease(self, ttl: float = 10.0) -> Lease:
        """Return a lease that is renewed while it is held."""
