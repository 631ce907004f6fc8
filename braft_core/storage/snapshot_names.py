"""The snapshots that a store names beside its log: only these are used at a start. Pure.

A snapshot is named in the transaction that resets the log to it, or before the log is compacted.
Raft refused any other snapshot in the store, or a crash came before it was named.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgpack

from braft_core.abc import SnapshotName, WriteBatch

__all__ = ["after", "decode", "encode"]

#: The snapshot in use, and the one before it in case the first is damaged.
_KEEP = 2


def after(
    names: tuple[SnapshotName, ...] | None, batches: Iterable[WriteBatch]
) -> tuple[SnapshotName, ...] | None:
    """Return the names after these batches are written."""
    for batch in batches:
        meta = batch.snapshot
        if meta is None:
            continue
        names = names if names and meta.id else ()
        if meta.id and (not names or meta.index >= names[0].index):
            others = [known for known in names if known.id != meta.id]
            names = (SnapshotName(meta.id, meta.index, meta.checksum), *others)[:_KEEP]
    return names


def encode(names: Sequence[SnapshotName]) -> bytes:
    """Return the bytes that :func:`decode` reads."""
    packed: bytes = msgpack.packb([list(name) for name in names])
    return packed


def decode(data: bytes) -> tuple[SnapshotName, ...]:
    """Decode the output of :func:`encode`. :raises ValueError: ``data`` is something else."""
    rows = msgpack.unpackb(data)
    if type(rows) is not list:
        raise ValueError("not the names of snapshots")
    return tuple(_name(row) for row in rows)


def _name(row: object) -> SnapshotName:
    match row:
        case [str(snapshot_id), int(index), int(checksum)]:
            return SnapshotName(snapshot_id, index, checksum)
    raise ValueError(f"{row!r:.80} does not name a snapshot")
