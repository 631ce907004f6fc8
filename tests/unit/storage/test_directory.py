"""A data directory belongs to one node only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from braft_core.abc import StorageOptions
from braft_core.errors import StorageForeign
from braft_core.storage.directory import make_directories, prepare_directory
from braft_core.storage.sqlite import SQLiteStorage


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Return a data directory that was used."""
    path = tmp_path / "data"
    store = SQLiteStorage(StorageOptions(path))
    store.open()
    store.close()
    return path


def open_store(path: Path) -> None:
    store = SQLiteStorage(StorageOptions(path))
    store.open()
    store.close()


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o703])
def test_a_directory_that_others_may_write_is_refused(directory: Path, mode: int) -> None:
    directory.chmod(mode)
    with pytest.raises(StorageForeign) as refused:
        open_store(directory)
    for word in (str(directory), f"mode {mode:04o}", "chmod -R go-w"):
        assert word in refused.value.message
    directory.chmod(0o700)
    open_store(directory)


@pytest.mark.parametrize("name", ["raft.db", "lock", "snapshots"])
def test_so_is_what_is_in_it(directory: Path, name: str) -> None:
    (directory / name).chmod(0o777)
    with pytest.raises(StorageForeign, match=name):
        open_store(directory)


def test_what_others_may_read_is_not_refused(directory: Path) -> None:
    directory.chmod(0o755)
    (directory / "raft.db").chmod(0o644)
    open_store(directory)


@pytest.mark.parametrize("name", ["raft.db", "raft.db-wal", "lock"])
def test_no_file_is_a_link(directory: Path, tmp_path: Path, name: str) -> None:
    victim = tmp_path / "victim"
    (directory / name).unlink(missing_ok=True)
    (directory / name).symlink_to(victim)
    with pytest.raises(StorageForeign, match="no regular file"):
        open_store(directory)
    assert not victim.exists()


def test_a_pipe_holds_nobody_up(directory: Path) -> None:
    (directory / "raft.db-wal").unlink(missing_ok=True)
    os.mkfifo(directory / "raft.db-wal")
    with pytest.raises(StorageForeign, match="no regular file"):
        open_store(directory)


def test_our_own_links_to_directories_are_followed(directory: Path, tmp_path: Path) -> None:
    (directory / "snapshots").rename(tmp_path / "elsewhere")
    (directory / "snapshots").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "link").symlink_to(directory)
    open_store(tmp_path / "link")
    (tmp_path / "elsewhere").chmod(0o777)
    with pytest.raises(StorageForeign, match="snapshots"):
        open_store(directory)


@pytest.fixture
def no_umask() -> Iterator[None]:
    """Check that new directories have the requested mode."""
    old = os.umask(0)
    yield
    os.umask(old)


@pytest.mark.usefixtures("no_umask")
def test_directories_above_are_written_by_us_alone(tmp_path: Path) -> None:
    prepare_directory(tmp_path / "a" / "b" / "data")
    modes = [path.stat().st_mode & 0o777 for path in sorted(tmp_path.rglob("*"))]
    assert modes == [0o755, 0o755, 0o700]
    make_directories(tmp_path / "a" / "c", 0o750)
    assert (tmp_path / "a" / "c").stat().st_mode & 0o777 == 0o750
