"""The snapshots that a store names beside its log: those that a start may begin from. Pure.

A snapshot is named in the same transaction that resets the log behind it, or before the log is
compacted. Whatever else lies among the snapshots was refused by Raft, or a crash came before it was
named: no start uses it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgpack

from braft_core.abc import SnapshotName, WriteBatch

__all__ = ["after", "decode", "encode"]

#: That in use, and the one before it, for the case that the first turns out to be damaged.
_KEEP = 2


def after(
    names: tuple[SnapshotName, ...] | None, batches: Iterable[WriteBatch]
) -> tuple[SnapshotName, ...] | None:
    """Return what is named once these batches are written."""
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
    """Read what :func:`encode` wrote. :raises ValueError: it is something else."""
    rows = msgpack.unpackb(data)
    if type(rows) is not list:
        raise ValueError("not the names of snapshots")
    return tuple(_name(row) for row in rows)


def _name(row: object) -> SnapshotName:
    match row:
        case [str(snapshot_id), int(index), int(checksum)]:
            return SnapshotName(snapshot_id, index, checksum)
    raise ValueError(f"{row!r:.80} does not name a snapshot")
