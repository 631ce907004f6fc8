"""A store whose files are deleted, moved or replaced while open reports nothing as durable."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from braft_core.abc import StorageOptions, WriteBatch
from braft_core.errors import StorageError, StorageGone, StorageLocked
from braft_core.raft.types import EMPTY_CONFIGURATION, HardState
from braft_core.storage.memory import MemoryStorage
from braft_core.storage.sqlite import SQLiteStorage
from braft_testing.storage import entries


def make_store(directory: Path) -> SQLiteStorage:
    return SQLiteStorage(StorageOptions(data_dir=directory))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "node"


@pytest.fixture
def store(directory: Path) -> Iterator[SQLiteStorage]:
    made = make_store(directory)
    made.open()
    made.write([WriteBatch(HardState(1, "me"), entries=entries(1, 3))])
    yield made
    made.close()


def replace(path: Path) -> None:
    """Put a copy in its place: the same bytes, another inode."""
    copy = path.with_name("copy")
    shutil.copy(path, copy)
    copy.rename(path)


def rename_and_make_anew(directory: Path) -> None:
    directory.rename(directory.with_name("moved"))
    shutil.copytree(directory.with_name("moved"), directory)


#: Each leaves the open files unchanged, so that writes to them still succeed.
REMOVALS: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "directory deleted": (shutil.rmtree, "", "deleted or renamed"),
    "directory renamed": (lambda d: d.rename(d.with_name("moved")), "", "deleted or renamed"),
    "directory replaced": (rename_and_make_anew, "", "replaced"),
    "parent renamed": (lambda d: d.parent.rename(f"{d.parent}-moved"), "", "deleted or renamed"),
    "database deleted": (lambda d: (d / "raft.db").unlink(), "raft.db", "deleted"),
    "database replaced": (lambda d: replace(d / "raft.db"), "raft.db", "replaced"),
    "write-ahead log deleted": (lambda d: (d / "raft.db-wal").unlink(), "raft.db-wal", "deleted"),
    "write-ahead log replaced": (lambda d: replace(d / "raft.db-wal"), "raft.db-wal", "replaced"),
    "lock deleted": (lambda d: (d / "lock").unlink(), "lock", "deleted"),
    "lock replaced": (lambda d: replace(d / "lock"), "lock", "replaced"),
}
SLOWER: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "shared memory deleted": (lambda d: (d / "raft.db-shm").unlink(), "raft.db-shm", "deleted"),
    "snapshots deleted": (lambda d: shutil.rmtree(d / "snapshots"), "snapshots", "deleted"),
    "snapshots replaced": (
        lambda d: rename_and_make_anew(d / "snapshots"),
        "snapshots",
        "replaced",
    ),
}
WRITES: dict[str, Callable[[SQLiteStorage], object]] = {
    "entries": lambda store: store.write([WriteBatch(entries=entries(4, 4))]),
    "many rows": lambda store: store.write([WriteBatch(entries=entries(4, 9000))]),
    "vote": lambda store: store.write([WriteBatch(HardState(2, "other"))]),
    "meta": lambda store: store.set_meta({"cluster_id": b"c"}),
    "compaction": lambda store: store.compact(2, 1),
}


@pytest.mark.parametrize("removal", REMOVALS)
@pytest.mark.parametrize("write", WRITES)
def test_no_write_succeeds_once_the_files_are_gone(
    store: SQLiteStorage, directory: Path, removal: str, write: str
) -> None:
    remove, name, what = REMOVALS[removal]
    remove(directory)
    with pytest.raises(StorageGone, match=what) as caught:
        WRITES[write](store)
    assert caught.value.data["path"] == str(directory / name if name else directory)
    assert "next start" in caught.value.message
    # Restoring the files does not restore the writes that were lost meanwhile.
    with pytest.raises(StorageError, match="closed after a failure"):
        store.write([WriteBatch(entries=entries(4, 4))])


@pytest.mark.parametrize("removal", REMOVALS | SLOWER)
def test_verification_names_what_is_gone(
    store: SQLiteStorage, directory: Path, removal: str
) -> None:
    store.verify()
    remove, name, what = (REMOVALS | SLOWER)[removal]
    remove(directory)
    with pytest.raises(StorageGone, match=what) as caught:
        store.verify()
    assert caught.value.data["path"] == str(directory / name if name else directory)
    with pytest.raises(StorageError, match="closed after a failure"):
        store.write([WriteBatch(entries=entries(4, 4))])


def test_a_write_during_which_the_files_go_is_not_reported_as_durable(
    store: SQLiteStorage, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check before the write is not enough."""
    commit = store._transaction

    def and_lose_everything(*, explicit: bool = True) -> object:
        context = commit(explicit=explicit)

        class Removes:
            def __enter__(self) -> object:
                db = context.__enter__()
                shutil.rmtree(directory)
                return db

            def __exit__(self, *error: object) -> object:
                return context.__exit__(*error)  # type: ignore[arg-type]

        return Removes()

    monkeypatch.setattr(store, "_transaction", and_lose_everything)
    with pytest.raises(StorageGone):
        store.write([WriteBatch(entries=entries(4, 4))])


def test_a_mount_over_the_directory_is_noticed(store: SQLiteStorage, directory: Path) -> None:
    mount = ["mount", "-t", "tmpfs", "none", str(directory)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs to mount a file system")
    try:
        with pytest.raises(StorageGone, match="replaced, or something else was mounted"):
            store.verify()
    finally:
        subprocess.run(["umount", str(directory)], check=True)


def test_a_link_to_another_directory_is_noticed(tmp_path: Path) -> None:
    link, other = tmp_path / "data", tmp_path / "other"
    (tmp_path / "one").mkdir()
    other.mkdir()
    link.symlink_to(tmp_path / "one")
    store = make_store(link)
    store.open()
    link.unlink()
    link.symlink_to(other)
    try:
        with pytest.raises(StorageGone):
            store.write([WriteBatch(entries=entries(1, 1))])
    finally:
        store.close()


def test_a_second_process_that_takes_the_lock_keeps_its_data(directory: Path) -> None:
    """People delete lock files that they believe to be stale."""
    first, second = make_store(directory), make_store(directory)
    first.open()
    first.write([WriteBatch(HardState(1, "me"), entries=entries(1, 3))])
    with pytest.raises(StorageLocked):
        second.open()
    (directory / "lock").unlink()
    second.open()
    with pytest.raises(StorageGone, match="lock was replaced"):
        first.write([WriteBatch(entries=entries(4, 4))])
    first.close()
    second.write([WriteBatch(entries=entries(4, 5))])
    second.close()
    third = make_store(directory)
    assert list(third.open().entries) == entries(1, 5)
    third.close()


def test_a_close_leaves_alone_what_took_the_place(store: SQLiteStorage, directory: Path) -> None:
    """SQLite deletes its write-ahead log when it closes, by name."""
    moved = directory.with_name("moved")
    directory.rename(moved)
    other = make_store(directory)
    other.open()
    other.write([WriteBatch(HardState(7, "other"), entries=entries(1, 2))])
    with pytest.raises(StorageGone):
        store.verify()
    store.close()
    other.verify()
    other.write([WriteBatch(entries=entries(3, 3))])
    other.close()
    for place, expected in ((directory, entries(1, 3)), (moved, entries(1, 3))):
        again = make_store(place)
        assert list(again.open().entries) == expected
        again.close()


def test_no_snapshot_gets_into_a_directory_of_another_store(
    store: SQLiteStorage, directory: Path
) -> None:
    snapshots = store.snapshots
    sink = snapshots.create(3, 1, EMPTY_CONFIGURATION, 0)
    sink.write(b"state")
    rename_and_make_anew(directory)
    for path in (directory / "snapshots").iterdir():
        path.unlink()
    with pytest.raises(StorageGone):
        sink.commit()
    sink.abort()
    with pytest.raises(StorageGone):
        snapshots.create(3, 1, EMPTY_CONFIGURATION, 0)
    with pytest.raises(StorageGone):
        snapshots.list()
    assert list((directory / "snapshots").iterdir()) == []


def test_the_working_directory_may_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = make_store(Path("node"))
    store.open()
    monkeypatch.chdir("/")
    store.verify()
    store.write([WriteBatch(entries=entries(1, 1))])
    sink = store.snapshots.create(1, 1, EMPTY_CONFIGURATION, 0)
    sink.commit()
    store.close()
    assert len(list((tmp_path / "node" / "snapshots").iterdir())) == 1


def test_a_closed_store_has_nothing_to_verify(directory: Path) -> None:
    store = make_store(directory)
    store.verify()
    store.open()
    store.close()
    shutil.rmtree(directory)
    store.verify()


def test_a_store_without_files_is_always_there() -> None:
    store = MemoryStorage(StorageOptions(data_dir=None))
    store.open()
    store.verify()
    store.write([WriteBatch(entries=entries(1, 1))])
    store.verify()
    store.close()
