"""The snapshot that a node restores when some are damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from braft_core import Node
from braft_core.abc import SnapshotName, StorageOptions, StoredState
from braft_core.errors import StorageCorrupt
from braft_core.raft import Configuration, Entry, EntryType, HardState, Server
from braft_core.storage.file_snapshots import FileSnapshots
from braft_core.storage.memory import MemoryStorage
from braft_core.storage.recovery import choose_snapshot, recover_store
from braft_testing.processes import HOST, free_ports

ALONE = Configuration((Server("n1", "127.0.0.1:1"),))


def put(store: FileSnapshots, index: int) -> str:
    sink = store.create(index, 1, ALONE, 1)
    sink.write(bytes(10_000))
    return sink.commit().id


def damage(directory: Path, snapshot_id: str) -> Path:
    path = directory / f"{snapshot_id}.snap"
    data = bytearray(path.read_bytes())
    data[5_000] ^= 1
    path.write_bytes(data)
    return path


def log(first: int, last: int) -> StoredState:
    entries = [Entry(i, 1, EntryType.NOOP, b"") for i in range(first, last + 1)]
    begin = first - 1
    return StoredState(HardState(1, ""), entries, begin, 1 if begin else 0)


def test_the_newest_is_used_while_it_is_whole(tmp_path: Path) -> None:
    store = FileSnapshots(tmp_path)
    put(store, 10)
    newest = put(store, 20)
    found = choose_snapshot(log(16, 30), store).snapshot
    assert found is not None
    assert found.id == newest


def test_an_older_one_serves_if_the_log_reaches_back_to_it(tmp_path: Path, caplog: Any) -> None:
    store = FileSnapshots(tmp_path)
    older, newest = put(store, 10), put(store, 20)
    path = damage(tmp_path, newest)
    found = choose_snapshot(log(11, 30), store).snapshot
    assert found is not None
    assert found.id == older
    assert f"snapshot {path} is damaged in the 10000 bytes from byte" in caplog.text
    assert f"beginning from the older snapshot {older} instead; nothing is lost" in caplog.text


def test_the_whole_log_serves_without_any(tmp_path: Path, caplog: Any) -> None:
    store = FileSnapshots(tmp_path)
    damage(tmp_path, put(store, 10))
    assert choose_snapshot(log(1, 30), store).snapshot is None
    assert "beginning from the log, which is whole, instead" in caplog.text


def test_otherwise_the_node_must_not_start_and_the_file_is_named(tmp_path: Path) -> None:
    store = FileSnapshots(tmp_path)
    put(store, 10)
    path = damage(tmp_path, put(store, 20))
    with pytest.raises(StorageCorrupt, match="is damaged in the 10000 bytes") as caught:
        choose_snapshot(log(16, 30), store)
    assert str(path) in caught.value.message
    assert "no usable snapshot holds what came before" in caught.value.message
    assert caught.value.data["path"] == str(path)


def name(store: FileSnapshots, *ids: str) -> tuple[SnapshotName, ...]:
    found = {meta.id: meta for meta in store.list()}
    return tuple(SnapshotName(each, found[each].index, found[each].checksum) for each in ids)


def test_only_what_the_store_names_is_begun_from(tmp_path: Path) -> None:
    store = FileSnapshots(tmp_path)
    older, newest, foreign = put(store, 10), put(store, 20), put(store, 40)
    stored = log(11, 30)
    stored.snapshots = name(store, newest, older)
    found = choose_snapshot(stored, store)
    assert found.snapshot is not None
    assert (found.snapshot.id, found.repair) == (newest, None)
    damage(tmp_path, newest)
    found = choose_snapshot(stored, store)
    assert found.snapshot is not None
    assert found.snapshot.id == older
    stored.snapshots = ()
    with pytest.raises(StorageCorrupt, match="no usable snapshot"):
        choose_snapshot(stored, store)
    assert foreign in [meta.id for meta in store.list()]


def test_another_file_of_the_same_name_is_not_begun_from(tmp_path: Path) -> None:
    store = FileSnapshots(tmp_path)
    mine = put(store, 10)
    stored = log(11, 30)
    stored.snapshots = name(store, mine)
    sink = store.create(10, 1, ALONE, 1)
    sink.write(b"something else")
    other = sink.commit().id
    (tmp_path / f"{other}.snap").rename(tmp_path / f"{mine}.snap")
    with pytest.raises(StorageCorrupt, match="no usable snapshot"):
        choose_snapshot(stored, store)


def test_a_store_of_an_earlier_version_begins_from_what_its_log_holds(tmp_path: Path) -> None:
    """It may hold snapshots that Raft refused: their last entry is not in the log."""
    store = FileSnapshots(tmp_path)
    older, newest, foreign = put(store, 10), put(store, 20), put(store, 40)
    disk = MemoryStorage(StorageOptions(None))
    disk.open()
    disk._disk.snapshots = store  # type: ignore[assignment]
    stored = log(11, 30)
    found = recover_store(disk, stored)
    assert found.snapshot is not None
    assert (found.snapshot.id, found.repair) == (newest, None)
    assert [meta.id for meta in store.list()] == [newest, older]
    assert disk._disk.names == name(store, newest, older)
    assert not store.holds(foreign)


def test_a_new_store_names_none_so_that_nothing_is_begun_from_later(tmp_path: Path) -> None:
    store = FileSnapshots(tmp_path)
    disk = MemoryStorage(StorageOptions(None))
    disk.open()
    disk._disk.snapshots = store  # type: ignore[assignment]
    assert recover_store(disk, StoredState(HardState(), [])).snapshot is None
    put(store, 40)
    assert disk._disk.names == ()
    again = StoredState(HardState(), [], snapshots=disk._disk.names)
    assert recover_store(disk, again).snapshot is None
    assert store.list() == []


def test_a_node_refuses_to_start_and_leaves_nothing_running(tmp_path: Path) -> None:
    ports = free_ports(3)
    chosen: dict[str, Any] = {
        "discovery": "none",
        "ip": HOST,
        "data_dir": str(tmp_path),
        "snapshot_trailing": 1,
        **dict(zip(("rport", "dport", "hport"), ports, strict=True)),
    }
    with Node(**chosen) as node:
        for number in range(5):
            node.kv.put("m", f"k{number}", "v" * 10_000)
        taken = node.take_snapshot()
        node.kv.put("m", "last", 1)
    path = damage(tmp_path / "snapshots", taken.id)
    node = Node(**chosen)
    for _ in range(2):
        with pytest.raises(StorageCorrupt) as caught:
            node.start()
        assert str(path) in caught.value.message
    assert not node.ready()[0]
