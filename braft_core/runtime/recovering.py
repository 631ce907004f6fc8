"""Which of its snapshots a starting node begins from: the newest that the store names and is whole.

What else lies among them is not used, and is deleted: Raft refused it, or a crash came before it
was named. A store that never named any was written by an earlier version: then a snapshot counts if
the log holds its last entry, which is true of each that was taken here or installed.

Everything in it is read and checked before anything runs. A damaged one found later, when half of
it is already in the state machine, could only end the node again and again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from braft_core.abc import NO_SNAPSHOT, SnapshotStore, Storage, StoredState, WriteBatch
from braft_core.errors import StorageCorrupt, StorageError
from braft_core.raft import SnapshotMeta
from braft_core.storage.recovery import Recovery, reconcile, term_at

__all__ = ["begin", "candidates", "recover"]

_log = logging.getLogger(__name__)


def begin(storage: Storage, stored: StoredState) -> Recovery:
    """:func:`recover`, and put the store in order: name what is used, delete what is not.

    :raises StorageError: as :func:`recover`, or something cannot be written.
    """
    store = storage.snapshots
    known = candidates(stored, store.list())
    recovery = recover(stored, store)
    batches = [recovery.repair] if recovery.repair is not None else []
    if stored.snapshots is None:
        batches += [WriteBatch(snapshot=meta) for meta in (NO_SNAPSHOT, *reversed(known))]
    if batches:
        storage.write(batches)
    for meta in store.list():
        if meta not in known:
            _discard(store, meta)
    return recovery


def _discard(store: SnapshotStore, meta: SnapshotMeta) -> None:
    try:
        store.delete(meta.id)
    except StorageError as error:
        _log.warning("snapshot %s, which is not used, cannot be deleted: %s", meta.id, error)
    else:
        _log.info("deleted snapshot %s, which Raft never took", meta.id)


def candidates(stored: StoredState, found: Sequence[SnapshotMeta]) -> list[SnapshotMeta]:
    """Return the snapshots that a start may begin from, the newest first."""
    if stored.snapshots is None:
        return [meta for meta in found if term_at(stored, meta.index) == meta.term]
    named = {(name.id, name.checksum) for name in stored.snapshots}
    return [meta for meta in found if (meta.id, meta.checksum) in named]


def recover(stored: StoredState, store: SnapshotStore) -> Recovery:
    """How to begin from what the disk holds.

    An older snapshot (or none) takes the place of a damaged one as long as the log still reaches
    back to it: nothing is lost then.

    :raises StorageCorrupt: naming the damaged file, if the log does not.
    :raises StorageError: a snapshot cannot be read.
    """
    usable = candidates(stored, store.list())
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
