"""Which of its snapshots a starting node begins from: the newest that is whole.

Everything in it is read and checked before anything runs. A damaged one found later, when half of
it is already in the state machine, could only end the node again and again.
"""

from __future__ import annotations

import logging

from braft_core.abc import SnapshotStore, StoredState
from braft_core.errors import StorageCorrupt
from braft_core.raft import SnapshotMeta
from braft_core.storage.recovery import Recovery, reconcile

__all__ = ["recover"]

_log = logging.getLogger(__name__)


def recover(stored: StoredState, store: SnapshotStore) -> Recovery:
    """How to begin from what the disk holds.

    An older snapshot (or none) takes the place of a damaged one as long as the log still reaches
    back to it: nothing is lost then.

    :raises StorageCorrupt: naming the damaged file, if the log does not.
    :raises StorageError: a snapshot cannot be read.
    """
    usable = store.list()
    damage: StorageCorrupt | None = None
    while True:
        try:
            recovery = reconcile(stored, usable)
        except StorageCorrupt as error:
            if damage is None:
                raise
            raise _no_way_back(damage, error) from damage
        chosen = recovery.snapshot
        found = _damage(store, chosen) if chosen is not None else None
        if found is None:
            if damage is not None:
                _log.warning("beginning from %s instead; nothing is lost", _name(chosen))
            return recovery
        _log.error("%s", found.message)
        damage = damage or found
        usable = [meta for meta in usable if meta != chosen]


def _damage(store: SnapshotStore, meta: SnapshotMeta) -> StorageCorrupt | None:
    try:
        for _ in store.open(meta.id):
            pass
    except StorageCorrupt as error:
        return error
    return None


def _name(meta: SnapshotMeta | None) -> str:
    return f"the older snapshot {meta.id}" if meta is not None else "the log, which is whole,"


def _no_way_back(damage: StorageCorrupt, error: StorageCorrupt) -> StorageCorrupt:
    return StorageCorrupt(f"{damage.message}; {error.message}", **{**error.data, **damage.data})
