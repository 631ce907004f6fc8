"""Snapshots in memory, with the interface of :mod:`braft_core.storage.file_snapshots`."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from zlib import crc32

import psutil

from braft_core.abc import SnapshotSink, SnapshotStore, surplus
from braft_core.errors import StorageError, StorageFull
from braft_core.raft.types import Configuration, SnapshotMeta

__all__ = ["MemorySnapshots"]

_MAX_CHUNK = 1 << 20


class MemorySnapshots(SnapshotStore):
    """Snapshots as lists of chunks. A reader keeps its list when the snapshot is deleted."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._whole: dict[str, tuple[SnapshotMeta, Sequence[bytes]]] = {}

    def create(
        self,
        index: int,
        term: int,
        configuration: Configuration,
        configuration_index: int,
        size: int = 0,
    ) -> SnapshotSink:
        """See :meth:`SnapshotStore.create`."""
        # The state restored from it needs as much memory again.
        if size and 2 * size > (free := psutil.virtual_memory().available):
            raise StorageFull(
                f"a snapshot of {size} bytes has no room in memory; {free} bytes are free"
            )
        with self._lock:
            snapshot_id = f"{index:020d}-{term:020d}-{next(self._numbers):08x}"
        meta = SnapshotMeta(snapshot_id, index, term, configuration, configuration_index)
        return _MemorySink(self, meta)

    def list(self) -> list[SnapshotMeta]:
        """See :meth:`SnapshotStore.list`."""
        with self._lock:
            metas = [meta for meta, _ in self._whole.values()]
        return sorted(metas, key=lambda meta: (meta.index, meta.term, meta.id), reverse=True)

    def open(self, snapshot_id: str) -> Iterator[bytes]:
        """See :meth:`SnapshotStore.open`."""
        with self._lock:
            found = self._whole.get(snapshot_id)
        if found is None:
            raise StorageError(f"there is no snapshot {snapshot_id!r}", id=snapshot_id)
        return iter(found[1])

    def delete(self, snapshot_id: str) -> None:
        """See :meth:`SnapshotStore.delete`."""
        with self._lock:
            self._whole.pop(snapshot_id, None)

    def retain(self, count: int, keep: str = "") -> None:
        """See :meth:`SnapshotStore.retain`."""
        for meta in surplus(self.list(), count, keep):
            self.delete(meta.id)

    def place(self, meta: SnapshotMeta, chunks: Sequence[bytes]) -> None:
        """Add a finished snapshot. Only the sink calls this."""
        with self._lock:
            self._whole[meta.id] = (meta, chunks)


class _MemorySink(SnapshotSink):
    def __init__(self, store: MemorySnapshots, meta: SnapshotMeta) -> None:
        self._store = store
        self._meta = meta
        self._chunks: list[bytes] = []
        self._over = False

    def write(self, chunk: bytes) -> None:
        self._usable()
        self._chunks += (
            bytes(chunk[start : start + _MAX_CHUNK]) for start in range(0, len(chunk), _MAX_CHUNK)
        )

    def commit(self, verify: Callable[[Iterator[bytes]], None] | None = None) -> SnapshotMeta:
        self._usable()
        if verify is not None:
            verify(iter(self._chunks))
        self._over = True
        checksum = 0
        for chunk in self._chunks:
            checksum = crc32(chunk, checksum)
        size = sum(map(len, self._chunks))
        meta = self._meta._replace(size=size, checksum=checksum)
        self._store.place(meta, self._chunks)
        return meta

    def abort(self) -> None:
        self._over = True
        self._chunks = []

    def _usable(self) -> None:
        if self._over:
            raise StorageError(f"the snapshot {self._meta.id} is already committed or aborted")
