"""Conformance suite for snapshot stores.

Derive a test class from :class:`SnapshotStoreConformance`, give it one factory, and pytest runs
every rule of :class:`braft_core.abc.SnapshotStore` against your store::

    class TestMySnapshots(SnapshotStoreConformance):
        def make(self, tmp_path):
            return MySnapshots(tmp_path)

``make`` may be called several times in a test, always with the same ``tmp_path``: each call is a
new store over the *same* data, as after a restart of the process.
"""

# Method names state the rules, and the suite consists of asserts.
# ruff: noqa: D102, S101

from __future__ import annotations

import random
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from braft_core.abc import SnapshotStore
from braft_core.errors import DecodeError, StorageError, StorageFull
from braft_core.raft.types import Configuration, Server, SnapshotMeta, Suffrage

__all__ = ["CONFIGURATION", "SnapshotStoreConformance", "pattern", "put"]

#: A configuration in which every field is set.
CONFIGURATION = Configuration(
    (
        Server("n\u00f6de-1", "127.0.0.1:1", Suffrage.VOTER),
        Server("node-2", "[::1]:2", Suffrage.NONVOTER),
    )
)
_MAX_CHUNK = 1 << 20


def pattern(size: int, seed: int = 0) -> bytes:
    """Return bytes without repetition; the same for the same seed."""
    return random.Random(seed).randbytes(size)  # noqa: S311 - not a secret


def put(
    store: SnapshotStore, index: int, chunks: Iterable[bytes] = (), term: int = 1
) -> SnapshotMeta:
    """Store a snapshot with these contents and return its metadata."""
    sink = store.create(index, term, CONFIGURATION, index // 2)
    for chunk in chunks:
        sink.write(chunk)
    return sink.commit()


class SnapshotStoreConformance:
    """Rules for every snapshot store. Each ``test_*`` method is one rule."""

    def make(self, tmp_path: Path) -> SnapshotStore:
        """Return a store over the data that belongs to ``tmp_path``."""
        raise NotImplementedError("derive from SnapshotStoreConformance and define make()")

    # ---------------------------------------------------------------- contents

    @pytest.mark.parametrize("size", [0, 1, 1000, _MAX_CHUNK, 3 * _MAX_CHUNK + 17])
    def test_contents_come_back_byte_for_byte(self, tmp_path: Path, size: int) -> None:
        data = pattern(size)
        store = self.make(tmp_path)
        meta = put(store, 7, [data[start : start + 70_001] for start in range(0, size, 70_001)])
        assert meta.size == size
        assert b"".join(store.open(meta.id)) == data

    def test_chunks_are_at_most_a_mebibyte_and_never_empty(self, tmp_path: Path) -> None:
        store = self.make(tmp_path)
        meta = put(store, 7, [b"", bytes(5 * _MAX_CHUNK // 2), b"", b"x"])
        sizes = [len(chunk) for chunk in store.open(meta.id)]
        assert sum(sizes) == 5 * _MAX_CHUNK // 2 + 1
        assert min(sizes) > 0
        assert max(sizes) <= _MAX_CHUNK

    def test_a_written_buffer_may_be_used_again(self, tmp_path: Path) -> None:
        store = self.make(tmp_path)
        buffer = bytearray(b"first")
        sink = store.create(7, 1, CONFIGURATION, 3)
        sink.write(buffer)  # type: ignore[arg-type]  # the type checker's view; callers do it
        buffer[:] = b"other"
        meta = sink.commit()
        assert b"".join(store.open(meta.id)) == b"first"

    def test_the_description_survives_with_every_field(self, tmp_path: Path) -> None:
        store = self.make(tmp_path)
        sink = store.create(2**40, 2**33, CONFIGURATION, 2**39)
        sink.write(b"contents")
        meta = sink.commit()
        assert meta == SnapshotMeta(meta.id, 2**40, 2**33, CONFIGURATION, 2**39, 8, meta.checksum)
        assert self.make(tmp_path).list() == [meta]

    def test_two_snapshots_of_one_index_are_two(self, tmp_path: Path) -> None:
        store = self.make(tmp_path)
        first, second = put(store, 7, [b"one"]), put(store, 7, [b"two"])
        assert b"".join(store.open(first.id)) == b"one"
        assert b"".join(store.open(second.id)) == b"two"
        assert len(store.list()) == 2

    def test_two_may_be_written_at_once(self, tmp_path: Path) -> None:
        store = self.make(tmp_path)
        one, two = (store.create(7, 1, CONFIGURATION, 3) for _ in range(2))
        one.write(b"one")
        two.write(b"two")
        assert b"".join(store.open(two.commit().id)) == b"two"
        assert b"".join(store.open(one.commit().id)) == b"one"

    # ---------------------------------------------------------------- visibility

    def test_a_new_store_is_empty(self, tmp_path: Path) -> None:
        assert self.make(tmp_path).list() == []

    def test_nothing_is_listed_before_it_is_whole(self, tmp_path: Path) -> None:
        store = self.make(tmp_path)
        sink = store.create(7, 1, CONFIGURATION, 3)
        sink.write(b"part")
        assert store.list() == []
        meta = sink.commit()
        assert store.list() == [meta]

    def test_an_unfinished_snapshot_is_gone_after_a_restart(self, tmp_path: Path) -> None:
        kept = put(self.make(tmp_path), 5, [b"whole"])
        self.make(tmp_path).create(7, 1, CONFIGURATION, 3).write(bytes(100_000))
        assert self.make(tmp_path).list() == [kept]

    def test_what_is_verified_is_what_was_written_and_not_listed_yet(self, tmp_path: Path) -> None:
        store = self.make(tmp_path)
        sink = store.create(7, 1, CONFIGURATION, 3)
        sink.write(bytes(300_000))
        sink.write(b"end")
        seen: list[tuple[bytes, int]] = []
        meta = sink.commit(lambda chunks: seen.append((b"".join(chunks), len(store.list()))))
        assert seen == [(bytes(300_000) + b"end", 0)]
        assert store.list() == [meta]

    def test_what_does_not_pass_is_never_listed(self, tmp_path: Path) -> None:
        store = self.make(tmp_path)
        sink = store.create(7, 1, CONFIGURATION, 3)
        sink.write(bytes(300_000))

        def refuse(chunks: Iterator[bytes]) -> None:
            next(chunks)
            raise DecodeError("no")

        with pytest.raises(DecodeError):
            sink.commit(refuse)
        sink.abort()
        assert store.list() == []
        assert self.make(tmp_path).list() == []

    def test_a_snapshot_is_deleted_by_its_id(self, tmp_path: Path) -> None:
        store = self.make(tmp_path)
        gone, kept = put(store, 5, [b"gone"]), put(store, 7, [b"kept"])
        reader = store.open(gone.id)
        store.delete(gone.id)
        store.delete(gone.id)
        assert store.list() == [kept]
        assert b"".join(reader) == b"gone"

    def test_a_snapshot_that_can_have_no_room_is_refused(self, tmp_path: Path) -> None:
        store = self.make(tmp_path)
        with pytest.raises(StorageFull):
            store.create(7, 1, CONFIGURATION, 3, 1 << 60)
        assert store.list() == []

    def test_an_aborted_snapshot_leaves_nothing(self, tmp_path: Path) -> None:
        store = self.make(tmp_path)
        sink = store.create(7, 1, CONFIGURATION, 3)
        sink.write(bytes(100_000))
        sink.abort()
        sink.abort()
        assert store.list() == []

    def test_an_ended_sink_takes_nothing_more(self, tmp_path: Path) -> None:
        store = self.make(tmp_path)
        for end in ("abort", "commit"):
            sink = store.create(7, 1, CONFIGURATION, 3)
            getattr(sink, end)()
            with pytest.raises(StorageError):
                sink.write(b"late")
            with pytest.raises(StorageError):
                sink.commit()

    def test_abort_after_commit_is_harmless(self, tmp_path: Path) -> None:
        store = self.make(tmp_path)
        sink = store.create(7, 1, CONFIGURATION, 3)
        sink.write(b"kept")
        meta = sink.commit()
        sink.abort()
        assert store.list() == [meta]
        assert b"".join(store.open(meta.id)) == b"kept"

    # ---------------------------------------------------------------- order, retention

    def test_the_newest_comes_first(self, tmp_path: Path) -> None:
        store = self.make(tmp_path)
        for index, term in ((9, 1), (10, 1), (2, 1), (10, 3), (10, 2)):
            put(store, index, term=term)
        found = [(meta.index, meta.term) for meta in store.list()]
        assert found == [(10, 3), (10, 2), (10, 1), (9, 1), (2, 1)]

    def test_retention_keeps_the_newest(self, tmp_path: Path) -> None:
        store = self.make(tmp_path)
        metas = [put(store, index) for index in (5, 9, 7)]
        store.retain(2)
        assert [meta.index for meta in store.list()] == [9, 7]
        with pytest.raises(StorageError):
            list(store.open(metas[0].id))
        store.retain(5)
        assert len(store.list()) == 2
        store.retain(0)
        assert store.list() == []

    def test_retention_counts_those_of_one_index_and_term_once(self, tmp_path: Path) -> None:
        """Check that duplicates of one index and term count as one: a node may use any of them."""
        store = self.make(tmp_path)
        for index in (5, 7, 9, 7, 9, 9):
            put(store, index)
        store.retain(2)
        assert [meta.index for meta in store.list()] == [9, 9, 9, 7, 7]

    def test_retention_keeps_the_one_in_use(self, tmp_path: Path) -> None:
        store = self.make(tmp_path)
        metas = [put(store, index, [b"state"]) for index in (5, 9, 7)]
        store.retain(1, metas[0].id)
        assert [meta.index for meta in store.list()] == [9, 5]
        assert b"".join(store.open(metas[0].id)) == b"state"

    def test_retention_spares_one_that_is_being_written(self, tmp_path: Path) -> None:
        store = self.make(tmp_path)
        sink = store.create(3, 1, CONFIGURATION, 1)
        sink.write(b"part")
        put(store, 7)
        store.retain(1)
        meta = sink.commit()
        assert b"".join(store.open(meta.id)) == b"part"

    def test_one_that_is_being_read_stays_readable(self, tmp_path: Path) -> None:
        store = self.make(tmp_path)
        data = pattern(3 * _MAX_CHUNK)
        meta = put(store, 7, [data])
        unread, reading = store.open(meta.id), store.open(meta.id)
        first = next(reading)
        store.retain(0)
        assert first + b"".join(reading) == data
        assert b"".join(unread) == data

    @pytest.mark.parametrize("name", ["nothing", "", "../raft", "a/b", "\0"])
    def test_an_unknown_snapshot_is_an_error_at_once(self, tmp_path: Path, name: str) -> None:
        store = self.make(tmp_path)
        put(store, 7)
        with pytest.raises(StorageError):
            store.open(name)

    def test_what_is_there_is_held_and_what_was_removed_is_not(self, tmp_path: Path) -> None:
        store = self.make(tmp_path)
        older, newer = put(store, 7), put(store, 8)
        assert store.holds(older.id)
        assert store.holds(newer.id)
        store.retain(1)
        assert not store.holds(older.id)
        assert store.holds(newer.id)

    # ---------------------------------------------------------------- threads

    def test_a_sink_may_move_between_threads(self, tmp_path: Path) -> None:
        store = self.make(tmp_path)
        sink = store.create(7, 1, CONFIGURATION, 3)
        for part in (b"a", b"b"):
            with ThreadPoolExecutor(max_workers=1) as thread:
                thread.submit(sink.write, part).result()
        assert b"".join(store.open(sink.commit().id)) == b"ab"

    def test_all_may_be_done_at_once(self, tmp_path: Path) -> None:
        store = self.make(tmp_path)
        put(store, 1, [pattern(1000, 1)])
        over = threading.Event()

        def write(thread: int) -> None:
            for number in range(1, 16):
                index = 2 + number * 3 + thread
                put(store, index, [pattern(1000, index)])

        def read() -> None:
            while not over.is_set():
                for meta in store.list():
                    try:
                        chunks = store.open(meta.id)
                    except StorageError:
                        continue  # deleted since it was listed
                    assert b"".join(chunks) == pattern(1000, meta.index)

        def retain() -> None:
            while not over.is_set():
                store.retain(2)

        with ThreadPoolExecutor(max_workers=5) as pool:
            watchers = [pool.submit(act) for act in (read, retain)]
            writers = [pool.submit(write, thread) for thread in range(3)]
            try:
                _all_done(writers)
            finally:
                over.set()
            _all_done(watchers)
        store.retain(2)
        assert [meta.index for meta in store.list()] == [49, 48]


def _all_done(futures: Iterable[Future[None]]) -> None:
    for future in futures:
        future.result()
