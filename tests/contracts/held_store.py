"""A store that a test holds, fills, breaks and cuts off, and the journal of what happened to it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from math import inf
from typing import Any, NamedTuple, TypeVar

from braft_core.abc import SnapshotSink, SnapshotStore, StorageOptions, WriteBatch, surplus
from braft_core.errors import StorageError, StorageFull
from braft_core.raft import Configuration, SnapshotMeta
from braft_core.storage.memory import MemoryDisk, MemoryStorage
from braft_testing.processes import PATIENCE

__all__ = ["Fact", "Gate", "HeldStore", "Journal", "PowerCut"]

_T = TypeVar("_T")


class Fact(NamedTuple):
    """Something that happened: ``what`` depends on ``kind``."""

    kind: str
    what: Any


class Journal:
    """What happened, in order. Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._facts: list[Fact] = []
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()

    def note(self, kind: str, what: Any = None) -> None:
        """Add a fact."""
        with self._lock:
            self._facts.append(Fact(kind, what))
        with suppress(RuntimeError):  # the test has ended
            self._loop.call_soon_threadsafe(self._changed.set)

    def forget(self) -> None:
        """Begin anew."""
        with self._lock:
            self._facts.clear()

    @property
    def facts(self) -> list[Fact]:
        """All facts so far."""
        with self._lock:
            return list(self._facts)

    def of(self, *kinds: str) -> list[Any]:
        """Return what happened of these kinds."""
        return [fact.what for fact in self.facts if fact.kind in kinds]

    async def until(self, condition: Callable[[], _T], what: str) -> _T:
        """Wait until the condition holds; it may change with a fact only."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not (found := condition()):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"it never happened: {what}; {self.facts[-20:]}") from None
        return found


class Gate:
    """Threads pass while it is open."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        #: How many may pass.
        self._left = inf

    def close(self) -> None:
        self._left = 0

    def open(self, count: float = inf) -> None:
        with self._condition:
            self._left = count
            self._condition.notify_all()

    def wait(self) -> None:
        with self._condition:
            assert self._condition.wait_for(lambda: self._left > 0, 2 * PATIENCE)
            self._left -= 1


class PowerCut(StorageError):
    """The store has gone, as if the machine had lost its power."""


class _Snapshots(SnapshotStore):
    """Notes what happens to the snapshots, and loses its power with the store."""

    def __init__(self, store: HeldStore, base: SnapshotStore) -> None:
        self._store, self._base = store, base

    def create(
        self,
        index: int,
        term: int,
        configuration: Configuration,
        configuration_index: int,
        size: int = 0,
    ) -> SnapshotSink:
        """See the base class."""
        sink = self._base.create(index, term, configuration, configuration_index, size)
        return _Sink(self._store, sink)

    def list(self) -> list[SnapshotMeta]:
        """See the base class."""
        return self._base.list()

    def open(self, snapshot_id: str) -> Iterator[bytes]:
        """See the base class."""
        return self._base.open(snapshot_id)

    def delete(self, snapshot_id: str) -> None:
        """See the base class."""
        self._store.use_power()
        self._base.delete(snapshot_id)
        self._store.journal.note("snapshot deleted", snapshot_id)

    def retain(self, count: int, keep: str = "") -> None:
        """See the base class."""
        for meta in surplus(self.list(), count, keep):
            self.delete(meta.id)


class _Sink(SnapshotSink):
    def __init__(self, store: HeldStore, base: SnapshotSink) -> None:
        self._store, self._base = store, base

    def write(self, chunk: bytes) -> None:
        """See the base class."""
        self._base.write(chunk)

    def commit(self, verify: Callable[[Iterator[bytes]], None] | None = None) -> SnapshotMeta:
        """See the base class."""
        self._store.use_power()
        return self._base.commit(verify)

    def abort(self) -> None:
        """See the base class."""
        self._base.abort()
        self._store.journal.note("snapshot aborted")


class HeldStore(MemoryStorage):
    """A memory store whose writes can be held in the middle, fail, and lose their power."""

    def __init__(self, disk: MemoryDisk, journal: Journal) -> None:
        super().__init__(StorageOptions(None, {"disk": disk}))
        self.journal = journal
        self._gate = Gate()
        self._failures: list[Exception] = []
        self.full = False
        #: Changes of the disk that are made before the power is cut.
        self.power = inf

    def use_power(self) -> None:
        """Count a change of the disk. :raises PowerCut: there is no power."""
        if self.power <= 0:
            raise PowerCut("the power is cut")
        self.power -= 1

    def hold(self) -> None:
        """Let no write end."""
        self._gate.close()

    def release(self, count: float = inf) -> None:
        """Let so many writes go on."""
        self._gate.open(count)

    def fail(self, *errors: Exception) -> None:
        """Let the next writes fail."""
        self._failures += errors

    def write(self, batches: Sequence[WriteBatch]) -> None:
        """See the base class."""
        self.journal.note("write begins", list(batches))
        self._gate.wait()
        if self._failures:
            raise self._failures.pop(0)
        if self.full:
            raise StorageFull("no space")
        self.use_power()
        super().write(batches)
        self.journal.note("durable", list(batches))

    def compact(self, index: int, term: int) -> None:
        """See the base class."""
        self.use_power()
        super().compact(index, term)
        self.journal.note("compacted", index)

    def set_meta(self, values: Mapping[str, bytes | None]) -> None:
        """See the base class."""
        self.use_power()
        super().set_meta(values)

    @property
    def snapshots(self) -> SnapshotStore:
        """See the base class."""
        return _Snapshots(self, super().snapshots)
