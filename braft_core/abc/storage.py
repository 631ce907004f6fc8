"""Storage: the durable state of a node."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from braft_core.raft.types import (
    EMPTY_CONFIGURATION,
    Configuration,
    Entry,
    HardState,
    SnapshotMeta,
)

__all__ = [
    "NO_SNAPSHOT",
    "SnapshotName",
    "SnapshotSink",
    "SnapshotStore",
    "Storage",
    "StorageOptions",
    "StoredState",
    "WriteBatch",
    "surplus",
]


@dataclass(frozen=True, slots=True)
class StorageOptions:
    """What a store is built from."""

    #: The node's data directory; ``None`` for a node without durable state.
    data_dir: Path | None
    #: The options of the plugin; see ``braft_core.plugin.options``.
    options: Mapping[str, Any] = field(default_factory=dict)


#: In a :class:`WriteBatch`: the store names no snapshot from now on.
NO_SNAPSHOT = SnapshotMeta("", 0, 0, EMPTY_CONFIGURATION, 0)


class SnapshotName(NamedTuple):
    """A snapshot that a start may begin from, as the store remembers it beside the log."""

    id: str
    index: int  # type: ignore[assignment]  # the field's name in the paper, over tuple.index
    checksum: int


@dataclass(slots=True)
class StoredState:
    """What a store holds at start. ``entries`` are consecutive and begin after the snapshot."""

    hard_state: HardState
    entries: list[Entry]
    #: Index and term of the last entry removed by compaction (0, 0 if none was).
    compacted_index: int = 0
    compacted_term: int = 0
    #: The snapshots that were named, newest first: the one in use, and perhaps the one before it.
    #: ``None``: no batch ever named a snapshot or :data:`NO_SNAPSHOT`.
    snapshots: tuple[SnapshotName, ...] | None = None


@dataclass(slots=True)
class WriteBatch:
    """One atomic, durable change: hard state, then truncation or reset, then appends."""

    hard_state: HardState | None = None
    truncate_from: int | None = None
    #: Discard the whole log and continue after this index and term (a snapshot was installed).
    reset: tuple[int, int] | None = None
    entries: Sequence[Entry] = ()
    #: Name this durable snapshot: the next start begins from it. A snapshot older than the newest
    #: named one changes nothing.
    snapshot: SnapshotMeta | None = None


class SnapshotSink(abc.ABC):
    """A snapshot that is being written. One user, any thread; methods may block."""

    @abc.abstractmethod
    def write(self, chunk: bytes) -> None:
        """Add bytes. :raises StorageFull: no space; call only :meth:`abort` then."""

    @abc.abstractmethod
    def commit(self, verify: Callable[[Iterator[bytes]], None] | None = None) -> SnapshotMeta:
        """Make it durable and visible, atomically; return its description with id and size.

        :param verify: called with the stored contents before the snapshot becomes visible. If it
            raises, the error propagates, and the caller must call :meth:`abort`.
        """

    @abc.abstractmethod
    def abort(self) -> None:
        """Discard what was written. Idempotent, and harmless after :meth:`commit`."""


class SnapshotStore(abc.ABC):
    """Snapshots of one node. Thread-safe; methods may block.

    A snapshot is listed only once it is complete and durable, even after a crash at any moment.
    """

    @abc.abstractmethod
    def create(
        self,
        index: int,
        term: int,
        configuration: Configuration,
        configuration_index: int,
        size: int = 0,
    ) -> SnapshotSink:
        """Begin a snapshot of the state after ``index``.

        :param size: the number of bytes to expect, 0 if it is not known.
        :raises StorageFull: there is certainly not enough space.
        """

    @abc.abstractmethod
    def list(self) -> list[SnapshotMeta]:
        """Return all whole snapshots, newest (highest index, then term) first."""

    @abc.abstractmethod
    def open(self, snapshot_id: str) -> Iterator[bytes]:
        """Return the contents in chunks of at most 1 MiB, each verified before it is yielded.

        :raises StorageError: there is no such snapshot.
        :raises StorageCorrupt: while iterating: a chunk fails its checksum, or the end is missing.
        """

    def holds(self, snapshot_id: str) -> bool:
        """Return whether the snapshot still exists. Called each second for the one in use."""
        return any(meta.id == snapshot_id for meta in self.list())

    @abc.abstractmethod
    def delete(self, snapshot_id: str) -> None:
        """Delete the snapshot if it exists. A snapshot that is being read stays readable."""

    @abc.abstractmethod
    def retain(self, count: int, keep: str = "") -> None:
        """Delete all but the ``count`` newest and ``keep``; :func:`surplus` says which.

        A snapshot that is being read stays readable.
        """


def surplus(newest_first: Sequence[SnapshotMeta], count: int, keep: str = "") -> list[SnapshotMeta]:
    """Return the snapshots that :meth:`SnapshotStore.retain` deletes.

    A node's own snapshot and received ones may have the same index and term. They count as one,
    because this function cannot know which of them the node uses.
    """
    positions = list(dict.fromkeys((meta.index, meta.term) for meta in newest_first))
    kept = set(positions[: max(count, 0)])
    return [m for m in newest_first if (m.index, m.term) not in kept and m.id != keep]


class Storage(abc.ABC):
    """Durable state of one node. All methods but the constructor may block.

    ``open`` and ``close`` are called once each. All calls come from one thread at a time (the
    writer thread while the node runs), not necessarily always the same one.
    """

    name: ClassVar[str]

    def __init__(self, options: StorageOptions) -> None:
        """Remember the options; touch nothing."""
        self.options = options

    @abc.abstractmethod
    def open(self) -> StoredState:
        """Lock the store, check it and load it.

        :raises StorageLocked: another process has it.
        :raises StorageForeign: it is not a braft store, or of a newer format.
        :raises StorageCorrupt: a record fails its checksum. Only the torn last write of the store's
            own journal is truncated. A damaged record never is, because it may have been
            acknowledged.
        """

    @abc.abstractmethod
    def write(self, batches: Sequence[WriteBatch]) -> None:
        """Make the batches durable, in order and all together, before returning.

        :raises StorageFull: nothing was written; the store stays usable.
        :raises StorageGone: see :meth:`verify`.
        :raises StorageError: it is unknown what was written.
        """

    @abc.abstractmethod
    def get_meta(self, key: str) -> bytes | None:
        """Return a small named value (node id, cluster id, bootstrap record)."""

    @abc.abstractmethod
    def set_meta(self, values: Mapping[str, bytes | None]) -> None:
        """Durably set (or with ``None`` delete) named values, all or nothing."""

    @property
    @abc.abstractmethod
    def snapshots(self) -> SnapshotStore:
        """The node's snapshots. Valid between :meth:`open` and :meth:`close`."""

    @abc.abstractmethod
    def compact(self, index: int, term: int) -> None:
        """Discard entries up to and including ``index``, which a durable snapshot covers."""

    def verify(self) -> None:  # noqa: B027 - a store without files has nothing to verify
        """Check that the open files are still those that the next start will find.

        *Any thread*, also while another one writes. Called each second, and before the node reports
        to be ready. Writes to files that were deleted, renamed, replaced or hidden by a mount
        succeed while the files are open. So a store with files compares the files at its paths with
        those that it has open. :meth:`write` does the same before it returns. After a failure the
        store accepts no more writes, and the node stops. Does nothing by default.

        :raises StorageGone: the files are not those that were opened.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Release the lock and all resources. Idempotent."""
