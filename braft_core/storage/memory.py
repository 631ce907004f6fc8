"""The store in memory, for ``BRAFT_DATA_DIR=:memory:`` and for fast tests.

The state is in a :class:`MemoryDisk`. A test restarts a node by passing the same disk to a second
store. Without a disk, a store creates one that lasts as long as the store.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from braft_core.abc import (
    SnapshotName,
    SnapshotStore,
    Storage,
    StorageOptions,
    StoredState,
    WriteBatch,
)
from braft_core.errors import StorageError, StorageLocked
from braft_core.raft.types import Entry, HardState
from braft_core.storage import snapshot_names
from braft_core.storage.bounds import Bounds
from braft_core.storage.memory_snapshots import MemorySnapshots

__all__ = ["MemoryDisk", "MemoryStorage"]


@dataclass(slots=True)
class MemoryDisk:
    """The data of a :class:`MemoryStorage`. ``owner`` is the store that has it open."""

    hard_state: HardState = field(default_factory=HardState)
    entries: list[Entry] = field(default_factory=list)
    bounds: Bounds = field(default_factory=Bounds)
    meta: dict[str, bytes] = field(default_factory=dict)
    names: tuple[SnapshotName, ...] | None = None
    snapshots: MemorySnapshots = field(default_factory=MemorySnapshots)
    owner: MemoryStorage | None = None


class MemoryStorage(Storage):
    """A store in memory; ``options.options["disk"]`` may hold a :class:`MemoryDisk`."""

    name = "memory"

    def __init__(self, options: StorageOptions) -> None:
        super().__init__(options)
        disk = options.options.get("disk")
        self._disk = disk if isinstance(disk, MemoryDisk) else MemoryDisk()

    def open(self) -> StoredState:
        """See :meth:`Storage.open`."""
        disk = self._disk
        if disk.owner is not None:
            raise StorageLocked("the memory disk is in use by another store of this process")
        disk.owner = self
        return StoredState(
            hard_state=disk.hard_state,
            entries=list(disk.entries),
            compacted_index=disk.bounds.compacted_index,
            compacted_term=disk.bounds.compacted_term,
            snapshots=disk.names,
        )

    def write(self, batches: Sequence[WriteBatch]) -> None:
        """See :meth:`Storage.write`."""
        disk = self._open_disk()
        bounds = disk.bounds.after(batches)
        begin = disk.bounds.compacted_index
        for batch in batches:
            if batch.hard_state is not None:
                disk.hard_state = batch.hard_state
            if batch.truncate_from is not None:
                del disk.entries[batch.truncate_from - begin - 1 :]
            if batch.reset is not None:
                disk.entries.clear()
                begin, _ = batch.reset
            disk.entries.extend(batch.entries)
        disk.bounds, disk.names = bounds, snapshot_names.after(disk.names, batches)

    def get_meta(self, key: str) -> bytes | None:
        """See :meth:`Storage.get_meta`."""
        return self._open_disk().meta.get(key)

    def set_meta(self, values: Mapping[str, bytes | None]) -> None:
        """See :meth:`Storage.set_meta`."""
        meta = self._open_disk().meta
        for key, value in values.items():
            if value is None:
                meta.pop(key, None)
            else:
                meta[key] = bytes(value)

    def compact(self, index: int, term: int) -> None:
        """See :meth:`Storage.compact`."""
        disk = self._open_disk()
        if index <= disk.bounds.compacted_index:
            return
        bounds = disk.bounds.compacted(index, term)
        del disk.entries[: index - disk.bounds.compacted_index]
        disk.bounds = bounds

    @property
    def snapshots(self) -> SnapshotStore:
        """See :attr:`Storage.snapshots`."""
        return self._open_disk().snapshots

    def close(self) -> None:
        """See :meth:`Storage.close`."""
        if self._disk.owner is self:
            self._disk.owner = None

    def _open_disk(self) -> MemoryDisk:
        if self._disk.owner is not self:
            raise StorageError("the memory store is not open")
        return self._disk
