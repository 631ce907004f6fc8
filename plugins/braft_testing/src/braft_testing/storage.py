"""Conformance suite for stores.

Derive a test class from :class:`StorageConformance`, give it one factory, and pytest runs every
rule of :class:`braft_core.abc.Storage` against your store::

    class TestMyStorage(StorageConformance):
        def make(self, tmp_path):
            return MyStorage(StorageOptions(data_dir=tmp_path / "node"))

``make`` is called several times in a test, always with the same ``tmp_path``: each call is a new
store over the *same* data, as after a restart of the process. ``make`` must not open it.
"""

# Method names state the rules, and the suite consists of asserts.
# ruff: noqa: D102, S101

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from braft_core.abc import NO_SNAPSHOT, SnapshotName, Storage, StoredState, WriteBatch
from braft_core.errors import StorageError, StorageLocked
from braft_core.raft.types import EMPTY_CONFIGURATION, Entry, EntryType, HardState, SnapshotMeta

__all__ = ["StorageConformance", "entries"]


def entries(first: int, last: int, term: int = 1) -> list[Entry]:
    """Return consecutive command entries whose data names their index and term."""
    return [
        Entry(index, term, EntryType.COMMAND, f"{index}@{term}".encode())
        for index in range(first, last + 1)
    ]


class StorageConformance:
    """Rules for every store. Each ``test_*`` method is one rule."""

    def make(self, tmp_path: Path) -> Storage:
        """Return a new, unopened store over the data that belongs to ``tmp_path``."""
        raise NotImplementedError("derive from StorageConformance and define make()")

    @contextmanager
    def opened(self, tmp_path: Path) -> Iterator[Storage]:
        """Open a store, and close it at the end."""
        store = self.make(tmp_path)
        store.open()
        try:
            yield store
        finally:
            store.close()

    def stored(self, tmp_path: Path) -> StoredState:
        """Return what a restarted node would find."""
        store = self.make(tmp_path)
        try:
            return store.open()
        finally:
            store.close()

    # ---------------------------------------------------------------- durability

    def test_a_new_store_is_empty(self, tmp_path: Path) -> None:
        state = self.stored(tmp_path)
        assert state.hard_state == HardState(0, "")
        assert list(state.entries) == []
        assert (state.compacted_index, state.compacted_term) == (0, 0)

    def test_entries_survive_with_every_field(self, tmp_path: Path) -> None:
        written = [
            Entry(1, 1, EntryType.NOOP, b""),
            Entry(
                2, 1, EntryType.COMMAND, bytes(range(256)), b"\x00ext", 1_700_000_000_123_456_789
            ),
            Entry(3, 2**40, EntryType.CONFIGURATION, b"x" * 300_000, b"", 1),
            Entry(4, 2**40, EntryType.BARRIER, b"", b"\xff", 0),
        ]
        with self.opened(tmp_path) as store:
            store.write([WriteBatch(entries=written)])
        assert list(self.stored(tmp_path).entries) == written

    def test_term_and_vote_survive(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as store:
            store.write([WriteBatch(hard_state=HardState(7, "n\u00f6de"))])
        assert self.stored(tmp_path).hard_state == HardState(7, "n\u00f6de")

    def test_a_later_write_without_hard_state_keeps_it(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as store:
            store.write([WriteBatch(hard_state=HardState(7, "a"))])
            store.write([WriteBatch(entries=entries(1, 2))])
        state = self.stored(tmp_path)
        assert state.hard_state == HardState(7, "a")
        assert list(state.entries) == entries(1, 2)

    def test_writes_continue_after_a_restart(self, tmp_path: Path) -> None:
        for first in (1, 4, 7):
            with self.opened(tmp_path) as store:
                store.write([WriteBatch(entries=entries(first, first + 2))])
        assert list(self.stored(tmp_path).entries) == entries(1, 9)

    def test_the_state_handed_out_is_the_callers_own(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as store:
            store.write([WriteBatch(entries=entries(1, 3))])
        store = self.make(tmp_path)
        store.open().entries.clear()
        store.close()
        assert list(self.stored(tmp_path).entries) == entries(1, 3)

    # ---------------------------------------------------------------- order and atomicity

    def test_one_batch_truncates_before_it_appends(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as store:
            store.write([WriteBatch(entries=entries(1, 5))])
            store.write([WriteBatch(HardState(2, ""), truncate_from=3, entries=entries(3, 4, 2))])
        state = self.stored(tmp_path)
        assert list(state.entries) == [*entries(1, 2), *entries(3, 4, term=2)]
        assert state.hard_state == HardState(2, "")

    def test_batches_of_one_write_are_taken_in_order(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as store:
            store.write(
                [
                    WriteBatch(HardState(1, "a"), entries=entries(1, 4)),
                    WriteBatch(HardState(2, ""), truncate_from=2),
                    WriteBatch(HardState(3, "b"), entries=entries(2, 3, 3)),
                ]
            )
        state = self.stored(tmp_path)
        assert list(state.entries) == [*entries(1, 1), *entries(2, 3, term=3)]
        assert state.hard_state == HardState(3, "b")

    def test_the_newest_two_snapshots_that_were_named_are_remembered(self, tmp_path: Path) -> None:
        def meta(index: int) -> SnapshotMeta:
            return SnapshotMeta(f"s{index}", index, 1, EMPTY_CONFIGURATION, 0, 1, 100 + index)

        assert self.stored(tmp_path).snapshots is None
        with self.opened(tmp_path) as store:
            store.write([WriteBatch(snapshot=NO_SNAPSHOT)])
        assert self.stored(tmp_path).snapshots == ()
        with self.opened(tmp_path) as store:
            store.write([WriteBatch(snapshot=meta(3)), WriteBatch(snapshot=meta(5))])
            store.write([WriteBatch(reset=(9, 1), snapshot=meta(9)), WriteBatch(snapshot=meta(4))])
            store.write([WriteBatch(entries=entries(10, 11))])
        state = self.stored(tmp_path)
        assert state.snapshots == (SnapshotName("s9", 9, 109), SnapshotName("s5", 5, 105))
        assert (state.compacted_index, len(state.entries)) == (9, 2)

    def test_truncation_beyond_the_end_changes_nothing(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as store:
            store.write([WriteBatch(entries=entries(1, 3))])
            store.write([WriteBatch(truncate_from=9)])
            store.write([WriteBatch(entries=entries(4, 4))])
        assert list(self.stored(tmp_path).entries) == entries(1, 4)

    def test_an_empty_write_is_accepted(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as store:
            store.write([])
            store.write([WriteBatch()])
        assert list(self.stored(tmp_path).entries) == []

    def test_a_gap_is_refused(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as store:
            store.write([WriteBatch(entries=entries(1, 3))])
            with pytest.raises(StorageError):
                store.write([WriteBatch(entries=entries(5, 5))])
        assert list(self.stored(tmp_path).entries) == entries(1, 3)

    def test_a_repeated_index_is_refused(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as store:
            store.write([WriteBatch(entries=entries(1, 3))])
            with pytest.raises(StorageError):
                store.write([WriteBatch(entries=entries(3, 4, 2))])
        assert list(self.stored(tmp_path).entries) == entries(1, 3)

    def test_indexes_out_of_turn_are_refused(self, tmp_path: Path) -> None:
        one, two, three, four = entries(1, 4)
        with self.opened(tmp_path) as store:
            for batch in ([one, three, two, four], [one, three, three, four], [one, three]):
                with pytest.raises(StorageError):
                    store.write([WriteBatch(entries=batch)])
        assert list(self.stored(tmp_path).entries) == []

    def test_a_refused_write_leaves_nothing_and_the_store_usable(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as store:
            store.write([WriteBatch(HardState(1, "a"), entries=entries(1, 2))])
            with pytest.raises(StorageError):
                store.write(
                    [
                        WriteBatch(HardState(9, "z"), truncate_from=1, entries=entries(1, 4, 9)),
                        WriteBatch(entries=entries(6, 6, 9)),
                    ]
                )
            store.write([WriteBatch(entries=entries(3, 3))])
        state = self.stored(tmp_path)
        assert state.hard_state == HardState(1, "a")
        assert list(state.entries) == entries(1, 3)

    # ---------------------------------------------------------------- compaction and reset

    def test_compaction_keeps_the_tail_and_remembers_where_it_begins(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as store:
            store.write([WriteBatch(HardState(2, "a"), entries=entries(1, 9, 2))])
            store.compact(6, 2)
        state = self.stored(tmp_path)
        assert (state.compacted_index, state.compacted_term) == (6, 2)
        assert list(state.entries) == entries(7, 9, 2)
        assert state.hard_state == HardState(2, "a")

    def test_compaction_to_an_older_index_changes_nothing(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as store:
            store.write([WriteBatch(entries=entries(1, 9))])
            store.compact(6, 1)
            store.compact(6, 1)
            store.compact(2, 1)
        state = self.stored(tmp_path)
        assert (state.compacted_index, state.compacted_term) == (6, 1)
        assert list(state.entries) == entries(7, 9)

    def test_a_log_compacted_to_its_end_goes_on(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as store:
            store.write([WriteBatch(entries=entries(1, 3))])
            store.compact(3, 1)
        with self.opened(tmp_path) as store:
            store.write([WriteBatch(entries=entries(4, 5))])
        assert list(self.stored(tmp_path).entries) == entries(4, 5)

    def test_compaction_beyond_the_end_is_refused(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as store:
            store.write([WriteBatch(entries=entries(1, 3))])
            with pytest.raises(StorageError):
                store.compact(4, 1)
        assert list(self.stored(tmp_path).entries) == entries(1, 3)

    def test_truncating_compacted_entries_is_refused(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as store:
            store.write([WriteBatch(entries=entries(1, 5))])
            store.compact(3, 1)
            with pytest.raises(StorageError):
                store.write([WriteBatch(truncate_from=3)])
        assert list(self.stored(tmp_path).entries) == entries(4, 5)

    def test_truncation_works_after_compaction(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as store:
            store.write([WriteBatch(entries=entries(1, 9))])
            store.compact(3, 1)
            store.write([WriteBatch(truncate_from=6, entries=entries(6, 7, 2))])
        assert list(self.stored(tmp_path).entries) == [*entries(4, 5), *entries(6, 7, term=2)]

    def test_reset_forgets_the_log_alone(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as store:
            store.set_meta({"node_id": b"n"})
            store.write([WriteBatch(HardState(5, "a"), entries=entries(1, 9))])
            store.write([WriteBatch(reset=(100, 4))])
        with self.opened(tmp_path) as store:
            assert store.get_meta("node_id") == b"n"
            store.write([WriteBatch(entries=entries(101, 102, 5))])
        state = self.stored(tmp_path)
        assert (state.compacted_index, state.compacted_term) == (100, 4)
        assert list(state.entries) == entries(101, 102, 5)
        assert state.hard_state == HardState(5, "a")

    def test_reset_may_go_back(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as store:
            store.write([WriteBatch(entries=entries(1, 9))])
            store.compact(8, 1)
            store.write([WriteBatch(reset=(0, 0))])
            store.write([WriteBatch(entries=entries(1, 2, 3))])
        state = self.stored(tmp_path)
        assert (state.compacted_index, state.compacted_term) == (0, 0)
        assert list(state.entries) == entries(1, 2, 3)

    def test_one_batch_resets_after_its_hard_state_and_before_its_entries(
        self, tmp_path: Path
    ) -> None:
        with self.opened(tmp_path) as store:
            store.write([WriteBatch(HardState(5, "a"), entries=entries(1, 9))])
            store.write(
                [WriteBatch(HardState(6, ""), reset=(100, 4), entries=entries(101, 103, 6))]
            )
        state = self.stored(tmp_path)
        assert (state.compacted_index, state.compacted_term) == (100, 4)
        assert list(state.entries) == entries(101, 103, 6)
        assert state.hard_state == HardState(6, "")

    def test_a_reset_into_the_log_forgets_what_is_behind_it_too(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as store:
            store.write([WriteBatch(entries=entries(1, 9))])
            store.write([WriteBatch(reset=(5, 2)), WriteBatch(entries=entries(6, 7, 3))])
        assert list(self.stored(tmp_path).entries) == entries(6, 7, 3)

    def test_batches_around_a_reset_are_taken_in_order(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as store:
            store.write([WriteBatch(entries=entries(1, 9))])
            store.write(
                [
                    WriteBatch(truncate_from=5, entries=entries(5, 6, 2)),
                    WriteBatch(reset=(20, 3), entries=entries(21, 22, 3)),
                    WriteBatch(truncate_from=22, entries=entries(22, 24, 4)),
                    WriteBatch(reset=(50, 5)),
                    WriteBatch(entries=entries(51, 51, 5)),
                ]
            )
        state = self.stored(tmp_path)
        assert (state.compacted_index, state.compacted_term) == (50, 5)
        assert list(state.entries) == entries(51, 51, 5)

    def test_a_refused_write_does_not_reset(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as store:
            store.write([WriteBatch(HardState(1, "a"), entries=entries(1, 3))])
            with pytest.raises(StorageError):
                store.write([WriteBatch(HardState(2, "b"), reset=(100, 4), entries=entries(1, 2))])
            store.write([WriteBatch(entries=entries(4, 4))])
        state = self.stored(tmp_path)
        assert state.hard_state == HardState(1, "a")
        assert (state.compacted_index, state.compacted_term) == (0, 0)
        assert list(state.entries) == entries(1, 4)

    def test_compaction_reset_and_restarts_in_turn_keep_the_log(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as store:
            store.write([WriteBatch(entries=entries(1, 3000))])
            store.compact(2900, 1)
        with self.opened(tmp_path) as store:
            store.write([WriteBatch(entries=entries(3001, 3010))])
            store.compact(3005, 1)
        assert list(self.stored(tmp_path).entries) == entries(3006, 3010)
        with self.opened(tmp_path) as store:
            # Return to indexes where compacted entries may still be stored.
            store.write([WriteBatch(reset=(2500, 1), entries=entries(2501, 2600, 2))])
            store.compact(2550, 2)
            store.write([WriteBatch(entries=entries(2601, 2601, 2))])
        state = self.stored(tmp_path)
        assert (state.compacted_index, state.compacted_term) == (2550, 2)
        assert list(state.entries) == entries(2551, 2601, 2)

    # ---------------------------------------------------------------- snapshots

    def test_snapshots_survive_a_restart(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as store:
            sink = store.snapshots.create(5, 2, EMPTY_CONFIGURATION, 0)
            sink.write(b"state")
            meta = sink.commit()
        with self.opened(tmp_path) as store:
            assert store.snapshots.list() == [meta]
            assert b"".join(store.snapshots.open(meta.id)) == b"state"

    def test_snapshots_do_not_touch_the_log(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as store:
            store.write([WriteBatch(HardState(2, "a"), entries=entries(1, 5))])
            store.snapshots.create(3, 2, EMPTY_CONFIGURATION, 0).commit()
            store.snapshots.retain(0)
        assert list(self.stored(tmp_path).entries) == entries(1, 5)

    # ---------------------------------------------------------------- named values

    def test_named_values_survive(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as store:
            store.set_meta({"node_id": b"\x00\xff", "empty": b""})
            assert store.get_meta("node_id") == b"\x00\xff"
        with self.opened(tmp_path) as store:
            assert store.get_meta("node_id") == b"\x00\xff"
            assert store.get_meta("empty") == b""

    def test_an_unknown_name_is_none(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as store:
            assert store.get_meta("nothing") is None

    def test_named_values_are_replaced_and_deleted(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as store:
            store.set_meta({"a": b"1", "b": b"1", "c": b"1"})
            store.set_meta({"a": b"2", "b": None, "never": None})
        with self.opened(tmp_path) as store:
            found = [store.get_meta(key) for key in ("a", "b", "c", "never")]
        assert found == [b"2", None, b"1", None]

    # ---------------------------------------------------------------- opening, closing, threads

    def test_a_second_store_is_locked_out(self, tmp_path: Path) -> None:
        with self.opened(tmp_path), pytest.raises(StorageLocked):
            self.make(tmp_path).open()

    def test_one_locked_out_does_not_unlock(self, tmp_path: Path) -> None:
        with self.opened(tmp_path):
            for _ in range(2):
                loser = self.make(tmp_path)
                with pytest.raises(StorageLocked):
                    loser.open()
                loser.close()

    def test_close_releases_and_may_be_repeated(self, tmp_path: Path) -> None:
        store = self.make(tmp_path)
        store.open()
        store.close()
        store.close()
        self.stored(tmp_path)

    def test_close_before_open_is_harmless(self, tmp_path: Path) -> None:
        self.make(tmp_path).close()
        self.stored(tmp_path)

    def test_a_closed_store_refuses_everything(self, tmp_path: Path) -> None:
        store = self.make(tmp_path)
        store.open()
        store.close()
        uses: list[Callable[[], object]] = [
            lambda: store.write([WriteBatch(entries=entries(1, 1))]),
            lambda: store.set_meta({"a": b"1"}),
            lambda: store.get_meta("a"),
            lambda: store.compact(0, 0),
            lambda: store.snapshots,
        ]
        for use in uses:
            with pytest.raises(StorageError):
                use()

    def test_a_store_whose_files_are_gone_reports_nothing_as_durable(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as store:
            store.write([WriteBatch(entries=entries(1, 3))])
            store.verify()
            files = list(tmp_path.iterdir())
            if not files:
                pytest.skip("this store keeps no files")
            for path in files:
                path.rename(path.with_name(f"moved-{path.name}"))
            with pytest.raises(StorageError):
                store.write([WriteBatch(entries=entries(4, 4))])
            with pytest.raises(StorageError):
                store.verify()

    def test_calls_may_move_between_threads(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as store:
            for index in range(1, 4):
                with ThreadPoolExecutor(max_workers=1) as thread:
                    batch = WriteBatch(entries=entries(index, index))
                    thread.submit(store.write, [batch]).result()
        assert list(self.stored(tmp_path).entries) == entries(1, 3)
