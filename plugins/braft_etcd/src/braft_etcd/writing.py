"""Writes the newest values and the leases of a database into a store that is served."""

from __future__ import annotations

from collections.abc import Iterator
from operator import itemgetter
from typing import Any, Final, Protocol

from braft_core.errors import InvalidRequest, LeaseExists
from braft_core.store import Put
from braft_core.store_import import StoreContents

__all__ = ["write_into"]

#: Of one transaction; the store accepts 128 operations.
_OPERATIONS: Final = 100
_BYTES: Final = 256 << 10


class _Leases(Protocol):
    def grant(self, ttl: float, *, id: int = 0) -> Any:
        """Make a lease."""


class _Store(Protocol):
    """The handle of a store, on a node or from outside."""

    @property
    def leases(self) -> _Leases:
        """The leases."""

    def status(self) -> Any:
        """Return numbers of the whole store."""

    def txn(self, when: Any = (), then: Any = (), otherwise: Any = ()) -> Any:
        """Do several operations in one revision."""


def write_into(store: _Store, contents: StoreContents, *, merge: bool = False) -> int:
    """Write the newest version of each key, with its lease; return the revision of the store.

    Keys of the store that the database has not stay. If it is interrupted, do it again with
    ``merge``: writing a value twice does no harm.

    :param merge: accept a store that has keys or leases. A lease that is there keeps its TTL.
    :raises InvalidRequest: the store has some, and ``merge`` is false. Nothing was written.
    :raises BraftError: as ``store.txn``. What was written before stays.
    """
    status = store.status()
    if not merge and (status.keys or status.leases):
        raise InvalidRequest(
            f"the store has {status.keys} keys and {status.leases} leases; accepted: an empty "
            "store, or --merge to write over keys of the same names"
        )
    left = dict(contents.leases)
    revision: int = status.revision
    for batch in _batches(_newest(contents)):
        # Just before their keys: a lease may be short.
        for lease in {record[6] for record in batch if record[6] in left}:
            _grant(store, lease, left.pop(lease), merge=merge)
        puts = [Put(record[0], record[1], record[6] or None) for record in batch]
        revision = store.txn(then=puts).revision
    for lease, ttl in left.items():
        _grant(store, lease, ttl, merge=merge)
    return revision


def _grant(store: _Store, lease: int, ttl: int, *, merge: bool) -> None:
    try:
        store.leases.grant(ttl, id=lease)
    except LeaseExists:
        if not merge:
            raise


def _newest(contents: StoreContents) -> list[Any]:
    """Return the newest record of each key that exists, those of a lease together."""
    newest = {record[0]: record for record in contents.records}
    found = [record for record in newest.values() if record[1] is not None]
    return sorted(found, key=itemgetter(6))


def _batches(records: list[Any]) -> Iterator[list[Any]]:
    batch: list[Any] = []
    size = 0
    for record in records:
        room = len(record[0]) + len(record[1])
        if batch and (len(batch) >= _OPERATIONS or size + room > _BYTES):
            yield batch
            batch, size = [], 0
        batch.append(record)
        size += room
    if batch:
        yield batch
