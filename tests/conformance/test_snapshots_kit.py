"""Every check of the snapshot suite can fail: each fails on a store that breaks its rule."""

from __future__ import annotations

import builtins
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from braft_core.abc import SnapshotSink, SnapshotStore
from braft_core.errors import StorageError
from braft_core.raft.types import EMPTY_CONFIGURATION, Configuration, SnapshotMeta
from braft_core.storage.memory_snapshots import MemorySnapshots
from braft_testing.snapshots import SnapshotStoreConformance, put
from braft_testing.watched_snapshots import DelegatingSink, DelegatingSnapshots

Verify = Callable[[Iterator[bytes]], None]


class _DropsTheLastChunk(DelegatingSnapshots):
    def open(self, snapshot_id: str) -> Iterator[bytes]:
        return iter([*super().open(snapshot_id)][:-1])


class _OneBigChunk(DelegatingSnapshots):
    def open(self, snapshot_id: str) -> Iterator[bytes]:
        return iter([b"".join(super().open(snapshot_id))])


class _KeepsTheBuffer(DelegatingSnapshots):
    class sink(DelegatingSink):
        def __init__(self, store: DelegatingSnapshots, inner: SnapshotSink) -> None:
            super().__init__(store, inner)
            self.chunks: list[bytes] = []

        def write(self, chunk: bytes) -> None:
            self.chunks.append(chunk)

        def commit(self, verify: Verify | None = None) -> SnapshotMeta:
            for chunk in self.chunks:
                self.inner.write(chunk)
            return self.inner.commit()


class _ForgetsTheConfiguration(DelegatingSnapshots):
    def create(
        self,
        index: int,
        term: int,
        configuration: Configuration,
        configuration_index: int,
        size: int = 0,
    ) -> SnapshotSink:
        return super().create(index, term, EMPTY_CONFIGURATION, configuration_index, size)


class _OnePerIndex(DelegatingSnapshots):
    def place(self, meta: SnapshotMeta, chunks: Sequence[bytes]) -> None:
        for other in self.list():
            if other.index == meta.index:
                chunks = [b"".join(self.open(other.id)), *chunks]
                self._whole.pop(other.id)
        super().place(meta, chunks)


class _OneAtATime(DelegatingSnapshots):
    class sink(DelegatingSink):
        def __init__(self, store: DelegatingSnapshots, inner: SnapshotSink) -> None:
            super().__init__(store, getattr(store, "open_sink", inner))
            store.open_sink = self.inner  # type: ignore[attr-defined]


class _InventsOne(DelegatingSnapshots):
    def list(self) -> list[SnapshotMeta]:
        return super().list() or [SnapshotMeta("x", 1, 1, EMPTY_CONFIGURATION, 0)]


class _ShowsItAtOnce(DelegatingSnapshots):
    class sink(DelegatingSink):
        def write(self, chunk: bytes) -> None:
            super().write(chunk)
            put(self.store, 1) if not self.store._whole else None


class _FinishesByItself(DelegatingSnapshots):
    class sink(DelegatingSink):
        def write(self, chunk: bytes) -> None:
            super().write(chunk)
            if len(chunk) == 100_000:
                self.inner.commit()


class _AbortPlaces(DelegatingSnapshots):
    class sink(DelegatingSink):
        def abort(self) -> None:
            self.inner.commit()


class _TakesMore(DelegatingSnapshots):
    class sink(DelegatingSink):
        def write(self, chunk: bytes) -> None:
            try:
                super().write(chunk)
            except StorageError:
                put(self.store, 9, [chunk])


class _ListsBeforeItVerifies(DelegatingSnapshots):
    class sink(DelegatingSink):
        def commit(self, verify: Verify | None = None) -> SnapshotMeta:
            meta = self.inner.commit()
            if verify is not None:
                verify(self.store.open(meta.id))
            return meta


class _VerifiesNothing(DelegatingSnapshots):
    class sink(DelegatingSink):
        def commit(self, verify: Verify | None = None) -> SnapshotMeta:
            return self.inner.commit()


class _DeletesNothing(DelegatingSnapshots):
    def delete(self, snapshot_id: str) -> None:
        pass


class _DeletesOthers(DelegatingSnapshots):
    def delete(self, snapshot_id: str) -> None:
        self._whole.clear()


class _TakesAnySize(DelegatingSnapshots):
    def create(
        self,
        index: int,
        term: int,
        configuration: Configuration,
        configuration_index: int,
        size: int = 0,
    ) -> SnapshotSink:
        return super().create(index, term, configuration, configuration_index)


class _AbortDeletes(DelegatingSnapshots):
    class sink(DelegatingSink):
        def abort(self) -> None:
            super().abort()
            self.store.retain(0)


class _OldestFirst(DelegatingSnapshots):
    def list(self) -> list[SnapshotMeta]:
        return super().list()[::-1]


class _SortsByText(DelegatingSnapshots):
    def list(self) -> builtins.list[SnapshotMeta]:
        return sorted(super().list(), key=lambda meta: str(meta.index), reverse=True)


class _KeepsTheFirst(DelegatingSnapshots):
    def retain(self, count: int, keep: str = "") -> None:
        for name in builtins.list(self._whole)[count:]:
            del self._whole[name]


class _CountsEach(DelegatingSnapshots):
    def retain(self, count: int, keep: str = "") -> None:
        for meta in self.list()[count:]:
            del self._whole[meta.id]


class _RetainsOnlyWhatIsThere(DelegatingSnapshots):
    """Retention aborts the snapshot that is being written."""

    def retain(self, count: int, keep: str = "") -> None:
        super().retain(count, keep)
        self.retained = True

    def place(self, meta: SnapshotMeta, chunks: Sequence[bytes]) -> None:
        super().place(meta, [] if getattr(self, "retained", False) else chunks)


class _ReadsLate(DelegatingSnapshots):
    def open(self, snapshot_id: str) -> Iterator[bytes]:
        for number in range(len(self._whole[snapshot_id][1])):
            yield self._whole[snapshot_id][1][number]


class _OpensAnything(DelegatingSnapshots):
    def open(self, snapshot_id: str) -> Iterator[bytes]:
        return super().open(snapshot_id) if snapshot_id in self._whole else iter(())


class _HoldsWhatItRemoved(DelegatingSnapshots):
    def holds(self, snapshot_id: str) -> bool:
        return True


class _BelongsToAThread(DelegatingSnapshots):
    class sink(DelegatingSink):
        def __init__(self, store: DelegatingSnapshots, inner: SnapshotSink) -> None:
            super().__init__(store, inner)
            self.thread = threading.get_ident()

        def write(self, chunk: bytes) -> None:
            if threading.get_ident() != self.thread:
                raise StorageError("another thread")
            super().write(chunk)


class _PlacesForOneThread(DelegatingSnapshots):
    _thread = 0

    def place(self, meta: SnapshotMeta, chunks: Sequence[bytes]) -> None:
        self._thread = self._thread or threading.get_ident()
        if threading.get_ident() == self._thread:
            super().place(meta, chunks)


BROKEN: dict[str, builtins.list[tuple[type[MemorySnapshots], tuple[object, ...]]]] = {
    "contents_come_back_byte_for_byte": [(_DropsTheLastChunk, (1000,))],
    "chunks_are_at_most_a_mebibyte_and_never_empty": [(_OneBigChunk, ())],
    "a_written_buffer_may_be_used_again": [(_KeepsTheBuffer, ())],
    "the_description_survives_with_every_field": [(_ForgetsTheConfiguration, ())],
    "two_snapshots_of_one_index_are_two": [(_OnePerIndex, ())],
    "two_may_be_written_at_once": [(_OneAtATime, ())],
    "a_new_store_is_empty": [(_InventsOne, ())],
    "nothing_is_listed_before_it_is_whole": [(_ShowsItAtOnce, ())],
    "an_unfinished_snapshot_is_gone_after_a_restart": [(_FinishesByItself, ())],
    "what_is_verified_is_what_was_written_and_not_listed_yet": [
        (_ListsBeforeItVerifies, ()),
        (_VerifiesNothing, ()),
    ],
    "what_does_not_pass_is_never_listed": [(_ListsBeforeItVerifies, ()), (_VerifiesNothing, ())],
    "a_snapshot_is_deleted_by_its_id": [(_DeletesNothing, ()), (_DeletesOthers, ())],
    "a_snapshot_that_can_have_no_room_is_refused": [(_TakesAnySize, ())],
    "an_aborted_snapshot_leaves_nothing": [(_AbortPlaces, ()), (_FinishesByItself, ())],
    "an_ended_sink_takes_nothing_more": [(_TakesMore, ())],
    "abort_after_commit_is_harmless": [(_AbortDeletes, ())],
    "the_newest_comes_first": [(_OldestFirst, ()), (_SortsByText, ())],
    "what_is_there_is_held_and_what_was_removed_is_not": [(_HoldsWhatItRemoved, ())],
    "retention_keeps_the_newest": [(_KeepsTheFirst, ())],
    "retention_counts_those_of_one_index_and_term_once": [(_CountsEach, ())],
    "retention_keeps_the_one_in_use": [(_CountsEach, ())],
    "retention_spares_one_that_is_being_written": [(_RetainsOnlyWhatIsThere, ())],
    "one_that_is_being_read_stays_readable": [(_ReadsLate, ())],
    "an_unknown_snapshot_is_an_error_at_once": [(_OpensAnything, ("nothing",))],
    "a_sink_may_move_between_threads": [(_BelongsToAThread, ())],
    "all_may_be_done_at_once": [(_PlacesForOneThread, ())],
}


@pytest.mark.parametrize(
    ("check", "broken", "args"),
    [(check, broken, args) for check, found in BROKEN.items() for broken, args in found],
)
def test_the_check_finds_the_broken_store(
    check: str, broken: type[MemorySnapshots], args: tuple[object, ...], tmp_path: Path
) -> None:
    store = broken()

    class Suite(SnapshotStoreConformance):
        __test__ = False

        def make(self, tmp_path: Path) -> SnapshotStore:
            return store

    run: Any = getattr(Suite(), f"test_{check}")
    with pytest.raises(
        (AssertionError, StorageError, KeyError, ValueError, IndexError, pytest.fail.Exception)
    ):
        run(tmp_path, *args)


def test_every_check_has_a_broken_store() -> None:
    checks = {n[5:] for n in vars(SnapshotStoreConformance) if n.startswith("test_")}
    assert checks == set(BROKEN)
