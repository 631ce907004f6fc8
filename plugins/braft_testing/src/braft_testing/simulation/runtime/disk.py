"""The disk of a simulated node: the memory store, with space, failures and an end at any write."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from braft_core.abc import SnapshotSink, StorageOptions, WriteBatch
from braft_core.errors import StorageError, StorageFull
from braft_core.raft.types import Configuration, SnapshotMeta
from braft_core.storage.memory import MemoryDisk, MemoryStorage
from braft_core.storage.memory_snapshots import MemorySnapshots

__all__ = ["PowerCut", "VirtualDisk", "VirtualStorage"]


class PowerCut(BaseException):
    """The machine lost its power; what was to be written is not."""


class _Snapshots(MemorySnapshots):
    def __init__(self, check: Callable[[], None]) -> None:
        super().__init__()
        self._check = check
        #: Sinks that are neither committed nor aborted.
        self.open_sinks = 0

    def create(
        self,
        index: int,
        term: int,
        configuration: Configuration,
        configuration_index: int,
        size: int = 0,
    ) -> SnapshotSink:
        """See the base class; memory is not looked at, since the real one differs."""
        self._check()
        self.open_sinks += 1
        inner = super().create(index, term, configuration, configuration_index)
        return _Sink(self, inner, self._check)


class _Sink(SnapshotSink):
    def __init__(self, store: _Snapshots, inner: SnapshotSink, check: Callable[[], None]) -> None:
        self._store, self._inner, self._check, self._open = store, inner, check, True

    def write(self, chunk: bytes) -> None:
        self._check()
        self._inner.write(chunk)

    def commit(self, verify: Callable[[Iterator[bytes]], None] | None = None) -> SnapshotMeta:
        self._check()
        meta = self._inner.commit(verify)
        self._end()
        return meta

    def abort(self) -> None:
        self._inner.abort()
        self._end()

    def _end(self) -> None:
        self._store.open_sinks -= self._open
        self._open = False


@dataclass(slots=True)
class VirtualDisk(MemoryDisk):
    """What survives a process."""

    #: No write succeeds until there is space.
    full: bool = False
    #: The next write fails, and nobody knows what it wrote.
    broken: bool = False
    #: So many writes succeed before the power is cut; ``None``: it is not.
    fuse: int | None = None
    writes: int = 0

    def __post_init__(self) -> None:
        self.snapshots = _Snapshots(self.check)

    @property
    def open_sinks(self) -> int:
        """Snapshots that are being written."""
        return self.snapshots.open_sinks if isinstance(self.snapshots, _Snapshots) else 0

    def check(self) -> None:
        """Count a write. :raises StorageError: it fails. :raises PowerCut: the fuse is over."""
        if self.fuse is not None:
            if self.fuse <= 0:
                raise PowerCut
            self.fuse -= 1
        if self.full:
            raise StorageFull("no space left on the simulated disk")
        if self.broken:
            self.broken = False
            raise StorageError("the simulated disk failed")
        self.writes += 1

    def power_off(self) -> None:
        """End the process that has it open."""
        self.owner, self.fuse = None, None
        if isinstance(self.snapshots, _Snapshots):
            self.snapshots.open_sinks = 0


class VirtualStorage(MemoryStorage):
    """The store of a simulated node. A write is atomic: a crash leaves all of it, or nothing."""

    name = "virtual"

    def __init__(self, disk: VirtualDisk) -> None:
        super().__init__(StorageOptions(None, {"disk": disk}))
        self._virtual = disk

    def write(self, batches: Sequence[WriteBatch]) -> None:
        """See the base class."""
        self._virtual.check()
        super().write(batches)

    def set_meta(self, values: Mapping[str, bytes | None]) -> None:
        """See the base class."""
        self._virtual.check()
        super().set_meta(values)

    def compact(self, index: int, term: int) -> None:
        """See the base class."""
        self._virtual.check()
        super().compact(index, term)
