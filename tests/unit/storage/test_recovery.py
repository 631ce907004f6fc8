"""The state that a node recovers after each kind of crash."""

from __future__ import annotations

import pytest

from braft_core.abc import StoredState, WriteBatch
from braft_core.errors import StorageCorrupt
from braft_core.raft.types import (
    EMPTY_CONFIGURATION,
    Entry,
    EntryType,
    HardState,
    SnapshotMeta,
)
from braft_core.storage.recovery import Recovery, reconcile


def log(first: int, last: int, term: int = 2, before: int = 1) -> StoredState:
    """Return a log of that range, its hard state in term 3, compacted in term ``before``."""
    entries = [Entry(i, term, EntryType.COMMAND, b"") for i in range(first, last + 1)]
    return StoredState(HardState(3, "me"), entries, first - 1, before if first > 1 else 0)


def snapshot(index: int, term: int = 2) -> SnapshotMeta:
    return SnapshotMeta(f"{index}-{term}", index, term, EMPTY_CONFIGURATION, 0)


def test_a_new_node_begins_with_nothing() -> None:
    state = StoredState(HardState(), [])
    assert reconcile(state, []) == Recovery(None, None, state)


def test_a_whole_log_needs_no_snapshot() -> None:
    state = log(1, 9)
    assert reconcile(state, []) == Recovery(None, None, state)


@pytest.mark.parametrize("index", [5, 7, 9])
def test_a_snapshot_of_this_log_keeps_the_log(index: int) -> None:
    state = log(5, 9, before=2)
    assert reconcile(state, [snapshot(index)]) == Recovery(snapshot(index), None, state)


def test_a_snapshot_at_the_very_beginning_of_the_log_keeps_it() -> None:
    state = log(5, 9, before=1)
    assert reconcile(state, [snapshot(4, term=1)]) == Recovery(snapshot(4, term=1), None, state)


def test_the_newest_snapshot_is_chosen_in_whatever_order_they_come() -> None:
    snapshots = [snapshot(6), snapshot(8), snapshot(7)]
    assert reconcile(log(5, 9), snapshots).snapshot == snapshot(8)
    assert reconcile(log(5, 9), [snapshot(8, 1), snapshot(8, 2)]).snapshot == snapshot(8, 2)


@pytest.mark.parametrize("state", [log(1, 9), log(5, 9), StoredState(HardState(3, "me"), [])])
def test_a_snapshot_beyond_the_log_replaces_it(state: StoredState) -> None:
    found = reconcile(state, [snapshot(10, 3), snapshot(6)])
    assert found.snapshot == snapshot(10, 3)
    assert found.repair == WriteBatch(reset=(10, 3))
    assert found.state == StoredState(HardState(3, "me"), [], 10, 3)


def test_a_log_that_holds_another_entry_there_is_replaced() -> None:
    found = reconcile(log(1, 9, term=2), [snapshot(7, 3)])
    assert found.repair == WriteBatch(reset=(7, 3))
    assert found.state == StoredState(HardState(3, "me"), [], 7, 3)


def test_the_term_of_a_received_snapshot_is_made_up_for_without_a_vote() -> None:
    found = reconcile(log(1, 9), [snapshot(20, 8)])
    assert found.repair == WriteBatch(hard_state=HardState(8, ""), reset=(20, 8))
    assert found.state.hard_state == HardState(8, "")


@pytest.mark.parametrize("snapshots", [[], [snapshot(3)]])
def test_a_log_that_no_snapshot_reaches_is_said_with_the_way_out(
    snapshots: list[SnapshotMeta],
) -> None:
    with pytest.raises(StorageCorrupt, match=r"behind entry 4.*delete its data directory") as found:
        reconcile(log(5, 9), snapshots)
    assert found.value.data["compacted_index"] == 4


def test_a_snapshot_that_contradicts_the_compaction_is_damage() -> None:
    with pytest.raises(StorageCorrupt, match="entry 4 of term 1, but snapshot 4-2"):
        reconcile(log(5, 9, before=1), [snapshot(4, term=2)])
