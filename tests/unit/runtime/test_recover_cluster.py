"""A new cluster from a snapshot file: results, refusals, and what a failure leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from braft_core.abc import Storage, StorageOptions
from braft_core.compat.go_braft.server_id import decode_server_id
from braft_core.config import Settings
from braft_core.errors import ConfigError, StorageCorrupt, StorageError, StorageFull
from braft_core.plugin.manager import Plugins
from braft_core.plugin.registry import Registry
from braft_core.raft import Configuration, HardState, Server, SnapshotMeta
from braft_core.runtime.components import SERVER_ID
from braft_core.runtime.meta_keys import CLUSTER_ID
from braft_core.runtime.recover_cluster import (
    NewCluster,
    check_target,
    new_cluster,
    restore,
    restore_into,
)
from braft_core.storage.memory import MemoryStorage
from braft_core.storage.recovery import reconcile
from braft_core.storage.snapshot_file import encode_file
from braft_core.storage.sqlite import SQLiteStorage

OLD = Configuration(tuple(Server(f"old-{n}", f"10.0.0.{n}:15000") for n in (1, 2, 3)))
META = SnapshotMeta("x", 1234, 7, OLD, 1)
CONTENTS = [bytes(range(256)) * 3000, b"the end"]
NEW = NewCluster("new-1", "127.0.0.1:15000", "cluster-2")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "backups" / "nightly.snap"
    path.parent.mkdir()
    path.write_bytes(b"".join(encode_file(META, CONTENTS)))
    return path


def sqlite(directory: Path) -> Storage:
    return SQLiteStorage(StorageOptions(directory))


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_node_finds_the_state_behind_a_log_that_begins_there(
    source: Path, tmp_path: Path
) -> None:
    target = tmp_path / "deep" / "er" / "data"
    seen: list[int] = []
    made = restore_into(source, target, NEW, sqlite, seen.append)
    assert (made.data_dir, made.new_cluster, made.snapshot.configuration) == (target, NEW, OLD)
    assert seen[-1] == sum(map(len, CONTENTS))
    assert names(target.parent) == ["data"]

    storage = sqlite(target)
    stored = storage.open()
    try:
        assert (stored.hard_state, stored.entries) == (HardState(7, ""), [])
        assert (stored.compacted_index, stored.compacted_term) == (1234, 7)
        assert storage.get_meta(SERVER_ID) == b"new-1"
        assert storage.get_meta(CLUSTER_ID) == b"cluster-2"
        recovery = reconcile(stored, storage.snapshots.list())
        assert recovery.repair is None
        assert recovery.snapshot is not None
        alone = Configuration((Server("new-1", "127.0.0.1:15000"),))
        assert recovery.snapshot.configuration == alone
        assert b"".join(storage.snapshots.open(recovery.snapshot.id)) == b"".join(CONTENTS)
    finally:
        storage.close()


def test_an_empty_directory_is_as_good_as_none(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "data"
    target.mkdir()
    restore_into(source, check_target(str(target)), NEW, sqlite)
    assert "raft.db" in names(target)


def test_what_exists_is_refused_and_stays_as_it_is(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "data"
    restore_into(source, target, NEW, sqlite)
    before = {p: p.read_bytes() for p in target.rglob("*") if p.is_file()}
    with pytest.raises(StorageError, match=r"data is not empty: it holds 'lock'"):
        check_target(str(target))
    # Also without the check before, as if another process had been faster:
    with pytest.raises(StorageError, match="data: Directory not empty"):
        restore_into(source, target, NEW, sqlite)
    assert {p: p.read_bytes() for p in target.rglob("*") if p.is_file()} == before
    assert names(tmp_path) == ["backups", "data"]


def test_a_link_to_data_is_no_way_around(source: Path, tmp_path: Path) -> None:
    restore_into(source, tmp_path / "data", NEW, sqlite)
    (tmp_path / "link").symlink_to(tmp_path / "data")
    with pytest.raises(StorageError, match="is not empty"):
        check_target(str(tmp_path / "link"))


@pytest.mark.parametrize("data_dir", [None, "", ":memory:"])
def test_a_node_that_forgets_cannot_be_restored(data_dir: str | None) -> None:
    with pytest.raises(ConfigError, match="accepted: a directory"):
        check_target(data_dir)


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="Not a directory"):
        check_target(str(tmp_path / "file"))


@pytest.mark.parametrize("position", [9, 100, 400_000, -3])
def test_a_flipped_bit_anywhere_leaves_nothing(source: Path, tmp_path: Path, position: int) -> None:
    data = bytearray(source.read_bytes())
    data[position] ^= 0x10
    source.write_bytes(data)
    with pytest.raises(StorageCorrupt, match=r"nightly\.snap"):
        restore_into(source, tmp_path / "data", NEW, sqlite)
    assert names(tmp_path) == ["backups"]


def test_the_damaged_chunk_is_named(source: Path, tmp_path: Path) -> None:
    data = bytearray(source.read_bytes())
    data[400_000] ^= 0x10
    source.write_bytes(data)
    where = r"nightly\.snap is damaged in the 262144 bytes from byte 26\d{4} on"
    with pytest.raises(StorageCorrupt, match=where):
        restore_into(source, tmp_path / "data", NEW, sqlite)


def test_a_store_that_fails_leaves_nothing(source: Path, tmp_path: Path) -> None:
    class Full(SQLiteStorage):
        def write(self, batches: Any) -> None:
            raise StorageFull("no space left")

    with pytest.raises(StorageFull):
        restore_into(source, tmp_path / "data", NEW, lambda d: Full(StorageOptions(d)))
    assert names(tmp_path) == ["backups"]


def test_a_store_that_keeps_nothing_is_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="accepted: a durable store"):
        restore_into(source, tmp_path / "d", NEW, lambda d: MemoryStorage(StorageOptions(None)))
    assert names(tmp_path) == ["backups"]


def test_the_first_member_has_the_address_of_the_settings_and_a_new_id() -> None:
    settings = Settings.load(kwargs={"ip": "127.0.0.1", "rport": 16000, "hport": 9})
    registry = Registry(Plugins.load())
    first, second = new_cluster(settings, registry), new_cluster(settings, registry)
    assert first.address == "127.0.0.1:16000"
    assert decode_server_id(first.server_id).ports == (16000, 16001, 9)
    assert first.server_id != second.server_id
    assert first.cluster_id != second.cluster_id
    assert new_cluster(Settings.load(kwargs={"ip": "::1"}), registry).address == "[::1]:15000"


def test_restore_takes_everything_from_the_settings(source: Path, tmp_path: Path) -> None:
    settings = Settings.load(kwargs={"ip": "127.0.0.1", "data_dir": str(tmp_path / "data")})
    made = restore(source, settings)
    assert made.data_dir == tmp_path / "data"
    with pytest.raises(StorageError, match="is not empty"):
        restore(source, settings)
