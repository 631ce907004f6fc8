"""Snapshots of nodes that forget: the twin of :mod:`braft_core.storage.snapshots` in memory."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Sequence

from braft_core.abc import SnapshotSink, SnapshotStore, surplus
from braft_core.errors import StorageError
from braft_core.raft.types import Configuration, SnapshotMeta

__all__ = ["MemorySnapshots"]

_MAX_CHUNK = 1 << 20


class MemorySnapshots(SnapshotStore):
    """Keeps snapshots as lists of chunks. A reader has a list of its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._whole: dict[str, tuple[SnapshotMeta, Sequence[bytes]]] = {}

    def create(
        self, index: int, term: int, configuration: Configuration, configuration_index: int
    ) -> SnapshotSink:
        """See :meth:`SnapshotStore.create`."""
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

    def retain(self, count: int, keep: str = "") -> None:
        """See :meth:`SnapshotStore.retain`."""
        for meta in surplus(self.list(), count, keep):
            with self._lock:
                self._whole.pop(meta.id, None)

    def place(self, meta: SnapshotMeta, chunks: Sequence[bytes]) -> None:
        """A finished one. For the sink alone."""
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

    def commit(self) -> SnapshotMeta:
        self._usable()
        self._over = True
        meta = self._meta._replace(size=sum(map(len, self._chunks)))
        self._store.place(meta, self._chunks)
        return meta

    def abort(self) -> None:
        self._over = True
        self._chunks = []

    def _usable(self) -> None:
        if self._over:
            raise StorageError(f"the snapshot {self._meta.id} is already finished or given up")
