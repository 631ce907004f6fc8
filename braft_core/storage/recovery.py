"""What a starting node makes of its log and its snapshots. Pure.

A received snapshot is durable before the log is cut behind it, and a crash may come in between.
A snapshot holds committed entries only, so the newest one is right whatever the log says: where the
log does not hold the snapshot's last entry, everything in it is older, or was never committed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from braft_core.abc import StoredState, WriteBatch
from braft_core.errors import StorageCorrupt
from braft_core.raft.types import HardState, SnapshotMeta

__all__ = ["Recovery", "reconcile", "term_at"]


_WAY_OUT = (
    "remove the member from the cluster, delete its data directory and let it join as a new one"
)


class Recovery(NamedTuple):
    """How to begin."""

    #: To be restored before any entry of the log is applied; ``None``: there is none.
    snapshot: SnapshotMeta | None
    #: To be written before anything else: what the crash prevented. ``None``: nothing.
    repair: WriteBatch | None
    #: What the store holds once that is written.
    state: StoredState


def reconcile(state: StoredState, snapshots: Sequence[SnapshotMeta]) -> Recovery:
    """Choose the snapshot to restore, and say whether the log has to be reset behind it.

    :param snapshots: those that may be used. When the contents of the chosen one prove damaged,
        ask again without it.
    :raises StorageCorrupt: the log was compacted further than any of the snapshots reaches.
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
        # The crash came before the leader's term was stored. This server has not voted in it.
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
