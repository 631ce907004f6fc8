"""Backups have the same bytes as a store's own file, and every flipped bit is detected."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braft_core.errors import StorageCorrupt, StorageError
from braft_core.raft.types import Configuration, Server, SnapshotMeta
from braft_core.storage.file_snapshots import FileSnapshots
from braft_core.storage.memory_snapshots import MemorySnapshots
from braft_core.storage.snapshot_file import describe_file, encode_file, open_file, verify_file

CONFIGURATION = Configuration((Server("n1", "127.0.0.1:1"), Server("n2", "127.0.0.1:2")))
META = SnapshotMeta("x", 12, 3, CONFIGURATION, 4)


def written(path: Path, *chunks: bytes) -> Path:
    path.write_bytes(b"".join(encode_file(META, chunks)))
    return path


@pytest.mark.parametrize("size", [0, 1, 262_144, 700_000])
def test_a_backup_of_a_stored_snapshot_is_its_file(tmp_path: Path, size: int) -> None:
    store = FileSnapshots(tmp_path / "snapshots")
    sink = store.create(12, 3, CONFIGURATION, 4)
    sink.write(bytes(range(256)) * (size // 256) + bytes(size % 256))
    meta = sink.commit()
    stored = (tmp_path / "snapshots" / f"{meta.id}.snap").read_bytes()
    assert b"".join(encode_file(meta, store.open(meta.id))) == stored


def test_a_backup_of_a_snapshot_in_memory_is_a_file_too(tmp_path: Path) -> None:
    store = MemorySnapshots()
    sink = store.create(12, 3, CONFIGURATION, 4)
    sink.write(b"state")
    meta = sink.commit()
    path = tmp_path / "backup.snap"
    path.write_bytes(b"".join(encode_file(meta, store.open(meta.id))))
    found, contents = open_file(path)
    assert found._replace(checksum=0) == meta._replace(id="backup", checksum=0)
    assert b"".join(contents) == b"state"


def test_pieces_are_bounded_whatever_the_store_hands_out() -> None:
    pieces = list(encode_file(META, [bytes(1 << 20)] * 3))
    assert max(map(len, pieces)) < (1 << 20) + 4096


def test_describing_does_not_read_the_contents_and_verifying_does(tmp_path: Path) -> None:
    path = written(tmp_path / "b.snap", bytes(300_000), b"end")
    described = describe_file(path)
    assert described == verify_file(path)
    assert described._replace(checksum=0) == META._replace(id="b", size=300_003)
    data = bytearray(path.read_bytes())
    data[150_000] ^= 1
    path.write_bytes(data)
    assert describe_file(path).size == 300_003
    with pytest.raises(StorageCorrupt, match=r"b\.snap is damaged in the 262144 bytes from byte"):
        verify_file(path)


@given(position=st.integers(min_value=0), bit=st.integers(0, 7))
def test_every_flipped_bit_is_found(
    tmp_path_factory: pytest.TempPathFactory, position: int, bit: int
) -> None:
    path = written(tmp_path_factory.mktemp("flip") / "b.snap", b"some", b"contents")
    data = bytearray(path.read_bytes())
    data[position % len(data)] ^= 1 << bit
    path.write_bytes(data)
    with pytest.raises(StorageError):
        verify_file(path)


def test_anything_else_is_refused_by_name(tmp_path: Path) -> None:
    missing, other, cut = tmp_path / "no.snap", tmp_path / "other.snap", tmp_path / "cut.snap"
    other.write_bytes(b"not a snapshot at all" * 10)
    cut.write_bytes(written(tmp_path / "whole.snap", bytes(5000)).read_bytes()[:-1])
    with pytest.raises(StorageError, match=r"no\.snap: No such file"):
        open_file(missing)
    with pytest.raises(StorageCorrupt, match=r"other\.snap has no valid header"):
        open_file(other)
    with pytest.raises(StorageCorrupt, match=r"cut\.snap has no valid end"):
        open_file(cut)
    with pytest.raises(StorageError, match="Is a directory"):
        open_file(tmp_path)
