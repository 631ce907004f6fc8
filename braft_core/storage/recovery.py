"""Choose the snapshot and the log from which a node starts.

A received snapshot is durable before the log is reset to it, and a crash may come in between. A
snapshot holds committed entries only, so the newest one is right whatever the log holds. If the log
does not hold the snapshot's last entry, all its entries are older or were never committed.

Only snapshots that the store names are used. A start deletes the others: Raft rejected them, or a
crash came before they were named. If a store names none, a snapshot is used if the log holds its
last entry.

The chosen snapshot is verified before the node starts. Damage that is found later, with half of the
snapshot in the state machine, would end the node at every start.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

from braft_core.abc import NO_SNAPSHOT, SnapshotStore, Storage, StoredState, WriteBatch
from braft_core.errors import StorageCorrupt, StorageError
from braft_core.raft.types import HardState, SnapshotMeta

__all__ = ["Recovery", "candidates", "choose_snapshot", "reconcile", "recover_store", "term_at"]

_log = logging.getLogger(__name__)

_WAY_OUT = (
    "remove the member from the cluster, delete its data directory and let it join as a new one"
)


class Recovery(NamedTuple):
    """From what a node starts."""

    #: Restore this before any entry of the log is applied; ``None`` if there is no snapshot.
    snapshot: SnapshotMeta | None
    #: Write this first; it completes what a crash interrupted. ``None`` if nothing was.
    repair: WriteBatch | None
    #: What the store holds after that.
    state: StoredState


def reconcile(state: StoredState, snapshots: Sequence[SnapshotMeta]) -> Recovery:
    """Choose the snapshot to restore, and whether the log must be reset to it.

    :param snapshots: those that may be used. If the chosen one is damaged, call again without it.
    :raises StorageCorrupt: the log is compacted further than any of the snapshots reaches.
    """
    newest = max(snapshots, key=lambda meta: (meta.index, meta.term), default=None)
    reached = newest.index if newest is not None else 0
    if reached < state.compacted_index:
        raise _uncovered(state, newest)
    if newest is None or term_at(state, newest.index) == newest.term:
        return Recovery(newest, None, state)
    if newest.index == state.compacted_index:
        raise _contradiction(state, newest)
    return _reset(state, newest)


def term_at(state: StoredState, index: int) -> int | None:
    """Return the term of an entry, ``None`` if the log does not hold it."""
    if index == state.compacted_index:
        return state.compacted_term
    position = index - state.compacted_index - 1
    return state.entries[position].term if 0 <= position < len(state.entries) else None


def _reset(state: StoredState, newest: SnapshotMeta) -> Recovery:
    hard_state = state.hard_state
    if newest.term > hard_state.term:
        # The crash came before the leader's term was stored; this server has not voted in it.
        hard_state = HardState(newest.term, "")
    repair = WriteBatch(
        hard_state=hard_state if hard_state != state.hard_state else None,
        reset=(newest.index, newest.term),
    )
    return Recovery(newest, repair, StoredState(hard_state, [], newest.index, newest.term))


def _contradiction(state: StoredState, newest: SnapshotMeta) -> StorageCorrupt:
    return StorageCorrupt(
        f"the log was compacted up to entry {state.compacted_index} of term "
        f"{state.compacted_term}, but snapshot {newest.id} says that this entry is of term "
        f"{newest.term}: {_WAY_OUT}",
        compacted_index=state.compacted_index,
        snapshot_index=newest.index,
    )


def _uncovered(state: StoredState, newest: SnapshotMeta | None) -> StorageCorrupt:
    best = "there is no snapshot" if newest is None else f"the newest ends at {newest.index}"
    return StorageCorrupt(
        f"the log begins behind entry {state.compacted_index}, and no usable snapshot holds what "
        f"came before: {best}. Put the missing file back into the directory 'snapshots' of the "
        f"data directory (a damaged one is there as '*.corrupt'); or {_WAY_OUT}",
        compacted_index=state.compacted_index,
        snapshot_index=newest.index if newest is not None else 0,
    )


def recover_store(storage: Storage, stored: StoredState) -> Recovery:
    """Choose a snapshot, repair the log, name the usable snapshots and delete the others.

    :raises StorageError: as :func:`choose_snapshot`, or something cannot be written.
    """
    store = storage.snapshots
    known = candidates(stored, store.list())
    recovery = choose_snapshot(stored, store)
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
    """Return the snapshots that a start may use, the newest first."""
    if stored.snapshots is None:
        return [meta for meta in found if term_at(stored, meta.index) == meta.term]
    named = {(name.id, name.checksum) for name in stored.snapshots}
    return [meta for meta in found if (meta.id, meta.checksum) in named]


def choose_snapshot(stored: StoredState, store: SnapshotStore) -> Recovery:
    """Choose the newest undamaged snapshot.

    An older snapshot, or none, replaces a damaged one if the log reaches back far enough. Nothing
    is lost then.

    :raises StorageCorrupt: the log does not; names the damaged file.
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
