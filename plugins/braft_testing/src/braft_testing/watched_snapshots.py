"""Snapshot stores in memory that tests can watch, block and break."""

# Method names are those of the store.
# ruff: noqa: D102

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar

from braft_core.abc import SnapshotSink
from braft_core.raft.types import Configuration, SnapshotMeta
from braft_core.storage.memory_snapshots import MemorySnapshots

__all__ = ["DelegatingSink", "DelegatingSnapshots", "WatchedSnapshots"]

Verify = Callable[[Iterator[bytes]], None]


class DelegatingSink(SnapshotSink):
    """Passes every call to ``inner``; derive from it to change one."""

    def __init__(self, store: DelegatingSnapshots, inner: SnapshotSink) -> None:
        self.store, self.inner = store, inner

    def write(self, chunk: bytes) -> None:
        self.inner.write(chunk)

    def commit(self, verify: Verify | None = None) -> SnapshotMeta:
        return self.inner.commit(verify)

    def abort(self) -> None:
        self.inner.abort()


class DelegatingSnapshots(MemorySnapshots):
    """A memory store whose sinks are of the class :attr:`sink`."""

    sink: ClassVar[type[DelegatingSink]] = DelegatingSink

    def create(
        self,
        index: int,
        term: int,
        configuration: Configuration,
        configuration_index: int,
        size: int = 0,
    ) -> SnapshotSink:
        inner = super().create(index, term, configuration, configuration_index, size)
        return self.sink(self, inner)


class _WatchedSink(DelegatingSink):
    store: WatchedSnapshots

    def __init__(self, store: DelegatingSnapshots, inner: SnapshotSink) -> None:
        super().__init__(store, inner)
        self._over = False
        self.store.events.append("begun")

    def write(self, chunk: bytes) -> None:
        self.store.writing(chunk)
        super().write(chunk)

    def commit(self, verify: Verify | None = None) -> SnapshotMeta:
        meta = super().commit(verify)
        self._over = True
        self.store.events.append("committed")
        return meta

    def abort(self) -> None:
        super().abort()
        if not self._over:
            self._over = True
            self.store.events.append("aborted")


class WatchedSnapshots(DelegatingSnapshots):
    """Snapshots whose reads and writes a test can watch, block and break."""

    sink: ClassVar[type[DelegatingSink]] = _WatchedSink

    def __init__(self) -> None:
        super().__init__()
        #: Transforms the contents that are read.
        self.reading: Callable[[Iterator[bytes]], Iterator[bytes]] = iter
        #: Called on the transfer's thread before each chunk is written.
        self.writing: Callable[[bytes], object] = lambda _chunk: None
        #: Events of received snapshots: ``begun``, ``aborted``, ``committed``.
        self.events: list[str] = []

    def open(self, snapshot_id: str) -> Iterator[bytes]:
        return self.reading(super().open(snapshot_id))
