"""A store of snapshots that says what was done with it, for the rules of transports."""

# The methods are those of the store.
# ruff: noqa: D102

from __future__ import annotations

from collections.abc import Callable, Iterator

from braft_core.abc import SnapshotSink
from braft_core.raft.types import Configuration, SnapshotMeta
from braft_core.storage.memory_snapshots import MemorySnapshots

__all__ = ["WatchedSnapshots"]


class WatchedSnapshots(MemorySnapshots):
    """Snapshots whose reading and writing a test watches, stops and breaks."""

    def __init__(self) -> None:
        super().__init__()
        #: What is read instead of the contents.
        self.reading: Callable[[Iterator[bytes]], Iterator[bytes]] = iter
        #: Called on the transfer's thread before each chunk is written.
        self.writing: Callable[[bytes], object] = lambda _chunk: None
        #: What became of received snapshots: ``begun``, ``aborted``, ``committed``.
        self.events: list[str] = []

    def open(self, snapshot_id: str) -> Iterator[bytes]:
        return self.reading(super().open(snapshot_id))

    def create(
        self,
        index: int,
        term: int,
        configuration: Configuration,
        configuration_index: int,
        size: int = 0,
    ) -> SnapshotSink:
        self.events.append("begun")
        inner = super().create(index, term, configuration, configuration_index, size)
        return _WatchedSink(self, inner)


class _WatchedSink(SnapshotSink):
    def __init__(self, store: WatchedSnapshots, inner: SnapshotSink) -> None:
        self._store = store
        self._inner = inner
        self._over = False

    def write(self, chunk: bytes) -> None:
        self._store.writing(chunk)
        self._inner.write(chunk)

    def commit(self, verify: Callable[[Iterator[bytes]], None] | None = None) -> SnapshotMeta:
        meta = self._inner.commit(verify)
        self._over = True
        self._store.events.append("committed")
        return meta

    def abort(self) -> None:
        self._inner.abort()
        if not self._over:
            self._over = True
            self._store.events.append("aborted")
