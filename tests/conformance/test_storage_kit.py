"""Every check of the store suite can fail: each fails on a store that breaks its rule."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from braft_core.abc import Storage, StorageOptions, StoredState, WriteBatch
from braft_core.errors import StorageError
from braft_core.raft.types import Entry, HardState
from braft_core.storage.bounds import Bounds
from braft_core.storage.memory import MemoryDisk, MemoryStorage
from braft_testing.storage import StorageConformance


class _InventsATerm(MemoryStorage):
    def open(self) -> StoredState:
        state = super().open()
        state.hard_state = HardState(1, "")
        return state


class _DropsExtensions(MemoryStorage):
    def write(self, batches: Sequence[WriteBatch]) -> None:
        for batch in batches:
            batch.entries = [entry._replace(extensions=b"") for entry in batch.entries]
        super().write(batches)


class _ForgetsTheVote(MemoryStorage):
    def close(self) -> None:
        self._disk.hard_state = self._disk.hard_state._replace(voted_for="")
        super().close()


class _ResetsHardState(MemoryStorage):
    def write(self, batches: Sequence[WriteBatch]) -> None:
        self._disk.hard_state = HardState()
        super().write(batches)


class _ForgetsTheSnapshots(MemoryStorage):
    def open(self) -> StoredState:
        state = super().open()
        state.snapshots = None
        return state


class _ForgetsWhereItEnded(MemoryStorage):
    def open(self) -> StoredState:
        self._disk.bounds = Bounds()
        return super().open()


class _SharesItsList(MemoryStorage):
    def open(self) -> StoredState:
        state = super().open()
        state.entries = self._disk.entries
        return state


class _AppendsBeforeItTruncates(MemoryStorage):
    def write(self, batches: Sequence[WriteBatch]) -> None:
        for batch in batches:
            self._disk.entries.extend(batch.entries)
            if batch.truncate_from is not None:
                del self._disk.entries[batch.truncate_from - 1 :]


class _TakesHardStateOfTheFirst(MemoryStorage):
    def write(self, batches: Sequence[WriteBatch]) -> None:
        super().write(batches)
        self._disk.hard_state = batches[0].hard_state or self._disk.hard_state


class _RefusesFarTruncation(MemoryStorage):
    def write(self, batches: Sequence[WriteBatch]) -> None:
        if any((batch.truncate_from or 0) > len(self._disk.entries) for batch in batches):
            raise StorageError("beyond the end")
        super().write(batches)


class _RefusesEmpty(MemoryStorage):
    def write(self, batches: Sequence[WriteBatch]) -> None:
        if not batches:
            raise StorageError("nothing to write")
        super().write(batches)


class _ChecksNothing(MemoryStorage):
    def write(self, batches: Sequence[WriteBatch]) -> None:
        for batch in batches:
            self._disk.entries.extend(batch.entries)


class _WritesOneByOne(MemoryStorage):
    def write(self, batches: Sequence[WriteBatch]) -> None:
        for batch in batches:
            super().write([batch])


class _CompactsTooMuch(MemoryStorage):
    def compact(self, index: int, term: int) -> None:
        super().compact(self._disk.bounds.last_index, term)


class _CompactsBackwards(MemoryStorage):
    def compact(self, index: int, term: int) -> None:
        super().compact(index, term)
        self._disk.bounds = self._disk.bounds._replace(compacted_index=index)


class _LosesItsEndWhenCompacted(MemoryStorage):
    def compact(self, index: int, term: int) -> None:
        super().compact(index, term)
        self._disk.bounds = self._disk.bounds._replace(last_index=0)


class _CompactsBeyondTheEnd(MemoryStorage):
    def compact(self, index: int, term: int) -> None:
        super().compact(min(index, self._disk.bounds.last_index), term)


class _TruncatesSilently(MemoryStorage):
    def write(self, batches: Sequence[WriteBatch]) -> None:
        for batch in batches:
            if (batch.truncate_from or 1) <= self._disk.bounds.compacted_index:
                batch.truncate_from = None
        super().write(batches)


class _CountsFromOne(MemoryStorage):
    def write(self, batches: Sequence[WriteBatch]) -> None:
        for batch in batches:
            if batch.truncate_from is not None:
                del self._disk.entries[batch.truncate_from - 1 :]
            self._disk.entries.extend(batch.entries)


class _ResetsEverything(MemoryStorage):
    def write(self, batches: Sequence[WriteBatch]) -> None:
        super().write(batches)
        if any(batch.reset for batch in batches):
            self._disk.meta.clear()


class _ResetsOnlyForward(MemoryStorage):
    def write(self, batches: Sequence[WriteBatch]) -> None:
        if any(batch.reset and batch.reset[0] < self._disk.bounds.last_index for batch in batches):
            raise StorageError("going back")
        super().write(batches)


class _ResetsFirst(MemoryStorage):
    """Performs the resets of all batches before everything else in the write."""

    def write(self, batches: Sequence[WriteBatch]) -> None:
        for batch in batches:
            if batch.reset is not None:
                super().write([WriteBatch(reset=batch.reset)])
                batch.reset = None
        super().write(batches)


class _ResetsLast(MemoryStorage):
    def write(self, batches: Sequence[WriteBatch]) -> None:
        for batch in batches:
            reset, batch.reset = batch.reset, None
            super().write([batch])
            if reset is not None:
                super().write([WriteBatch(reset=reset)])


class _KeepsWhatIsBehindAReset(MemoryStorage):
    def write(self, batches: Sequence[WriteBatch]) -> None:
        for batch in batches:
            if batch.reset is not None and batch.reset[0] < self._disk.bounds.last_index:
                super().compact(*batch.reset)
                batch.reset = None
            super().write([batch])


class _FindsOldRowsAgain(MemoryStorage):
    """A reset to an index before the compaction brings a compacted entry back."""

    def write(self, batches: Sequence[WriteBatch]) -> None:
        before = self._disk.bounds.compacted_index
        super().write(batches)
        if batches[0].reset is not None and batches[0].reset[0] < before:
            self._disk.entries.insert(0, Entry(before, 1, 0, b"old"))


class _ForgetsSnapshots(MemoryStorage):
    def close(self) -> None:
        self._disk.snapshots.retain(0)
        super().close()


class _ResetsBehindSnapshots(MemoryStorage):
    def close(self) -> None:
        if self._disk.entries and not self._disk.snapshots.list():
            super().write([WriteBatch(reset=(3, 2))])
        super().close()


class _ForgetsNames(MemoryStorage):
    def close(self) -> None:
        self._disk.meta.clear()
        super().close()


class _KnowsEveryName(MemoryStorage):
    def get_meta(self, key: str) -> bytes | None:
        return super().get_meta(key) or b""


class _NeverReplaces(MemoryStorage):
    def set_meta(self, values: Mapping[str, bytes | None]) -> None:
        super().set_meta({k: v for k, v in values.items() if self.get_meta(k) is None})


class _LocksNothing(MemoryStorage):
    def open(self) -> StoredState:
        self._disk.owner = None
        return super().open()


class _UnlocksForOthers(MemoryStorage):
    def close(self) -> None:
        self._disk.owner = None


class _NeverUnlocks(MemoryStorage):
    def close(self) -> None:
        pass


class _ClosesOnlyWhenOpen(MemoryStorage):
    def close(self) -> None:
        self._open_disk()
        super().close()


class _StaysOpen(MemoryStorage):
    def _open_disk(self) -> MemoryDisk:
        return self._disk


class _NeverLooksAgain(MemoryStorage):
    def open(self) -> StoredState:
        (self.options.options["directory"] / "file").touch()
        return super().open()


class _BelongsToAThread(MemoryStorage):
    def open(self) -> StoredState:
        self._thread = threading.get_ident()
        return super().open()

    def write(self, batches: Sequence[WriteBatch]) -> None:
        if threading.get_ident() != self._thread:
            raise StorageError("another thread")
        super().write(batches)


BROKEN: dict[str, type[MemoryStorage]] = {
    "test_a_new_store_is_empty": _InventsATerm,
    "test_entries_survive_with_every_field": _DropsExtensions,
    "test_term_and_vote_survive": _ForgetsTheVote,
    "test_the_newest_two_snapshots_that_were_named_are_remembered": _ForgetsTheSnapshots,
    "test_a_later_write_without_hard_state_keeps_it": _ResetsHardState,
    "test_writes_continue_after_a_restart": _ForgetsWhereItEnded,
    "test_the_state_handed_out_is_the_callers_own": _SharesItsList,
    "test_one_batch_truncates_before_it_appends": _AppendsBeforeItTruncates,
    "test_batches_of_one_write_are_taken_in_order": _TakesHardStateOfTheFirst,
    "test_truncation_beyond_the_end_changes_nothing": _RefusesFarTruncation,
    "test_an_empty_write_is_accepted": _RefusesEmpty,
    "test_a_gap_is_refused": _ChecksNothing,
    "test_a_repeated_index_is_refused": _ChecksNothing,
    "test_indexes_out_of_turn_are_refused": _ChecksNothing,
    "test_a_refused_write_leaves_nothing_and_the_store_usable": _WritesOneByOne,
    "test_compaction_keeps_the_tail_and_remembers_where_it_begins": _CompactsTooMuch,
    "test_compaction_to_an_older_index_changes_nothing": _CompactsBackwards,
    "test_a_log_compacted_to_its_end_goes_on": _LosesItsEndWhenCompacted,
    "test_compaction_beyond_the_end_is_refused": _CompactsBeyondTheEnd,
    "test_truncating_compacted_entries_is_refused": _TruncatesSilently,
    "test_truncation_works_after_compaction": _CountsFromOne,
    "test_reset_forgets_the_log_alone": _ResetsEverything,
    "test_reset_may_go_back": _ResetsOnlyForward,
    "test_one_batch_resets_after_its_hard_state_and_before_its_entries": _ResetsLast,
    "test_a_reset_into_the_log_forgets_what_is_behind_it_too": _KeepsWhatIsBehindAReset,
    "test_batches_around_a_reset_are_taken_in_order": _ResetsFirst,
    "test_a_refused_write_does_not_reset": _ResetsFirst,
    "test_compaction_reset_and_restarts_in_turn_keep_the_log": _FindsOldRowsAgain,
    "test_snapshots_survive_a_restart": _ForgetsSnapshots,
    "test_snapshots_do_not_touch_the_log": _ResetsBehindSnapshots,
    "test_named_values_survive": _ForgetsNames,
    "test_an_unknown_name_is_none": _KnowsEveryName,
    "test_named_values_are_replaced_and_deleted": _NeverReplaces,
    "test_a_second_store_is_locked_out": _LocksNothing,
    "test_one_locked_out_does_not_unlock": _UnlocksForOthers,
    "test_close_releases_and_may_be_repeated": _NeverUnlocks,
    "test_close_before_open_is_harmless": _ClosesOnlyWhenOpen,
    "test_a_closed_store_refuses_everything": _StaysOpen,
    "test_a_store_whose_files_are_gone_reports_nothing_as_durable": _NeverLooksAgain,
    "test_calls_may_move_between_threads": _BelongsToAThread,
}


class _Suite(StorageConformance):
    __test__ = False

    def __init__(self, broken: type[MemoryStorage]) -> None:
        self._broken, self._disk = broken, MemoryDisk()

    def make(self, tmp_path: Path) -> Storage:
        options = {"disk": self._disk, "directory": tmp_path}
        return self._broken(StorageOptions(data_dir=None, options=options))


@pytest.mark.parametrize("check", BROKEN)
def test_the_check_finds_the_broken_store(check: str, tmp_path: Path) -> None:
    run: Any = getattr(_Suite(BROKEN[check]), check)
    with pytest.raises((AssertionError, StorageError, pytest.fail.Exception)):
        run(tmp_path)


def test_every_check_has_a_broken_store() -> None:
    assert {name for name in vars(StorageConformance) if name.startswith("test_")} == set(BROKEN)
