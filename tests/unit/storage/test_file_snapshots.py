"""Properties of snapshot files alone: modes, process death, damage, a full disk."""

from __future__ import annotations

import errno
import gc
import logging
import os
import signal
import stat
import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from braft_core.errors import StorageCorrupt, StorageError, StorageForeign, StorageFull
from braft_core.raft.types import SnapshotMeta
from braft_core.storage import snapshot_format as fmt
from braft_core.storage.file_snapshots import FileSnapshots
from braft_testing.snapshots import CONFIGURATION, pattern, put

ROOT = Path(__file__).resolve().parents[3]

WRITER = """
import sys
from pathlib import Path
from braft_core.storage.file_snapshots import FileSnapshots
from braft_testing.snapshots import pattern, put

store = FileSnapshots(Path(sys.argv[1]))
index = 0
while True:
    index += 1
    put(store, index, [pattern(300_000, index)])
    print(index, flush=True)
"""


def file_of(store: FileSnapshots, meta: SnapshotMeta) -> Path:
    return store._directory / f"{meta.id}.snap"


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_the_file_and_its_directory_are_private_and_named_after_their_place(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        store = FileSnapshots(tmp_path / "snapshots")
        meta = put(store, 17, [b"x"], term=4)
    finally:
        os.umask(old)
    path = file_of(store, meta)
    assert path.name.startswith("00000000000000000017-00000000000000000004-")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_the_bytes_of_format_1_stay_readable(tmp_path: Path) -> None:
    """Golden bytes: this file must open in every later version."""
    directory = tmp_path / "snapshots"
    store = FileSnapshots(directory)
    golden = bytes.fromhex(GOLDEN)
    snapshot_id = f"{17:020d}-{4:020d}-0123abcd"
    (directory / f"{snapshot_id}.snap").write_bytes(golden)
    (meta,) = store.list()
    assert meta == SnapshotMeta(snapshot_id, 17, 4, CONFIGURATION, 8, 5, meta.checksum)
    assert list(store.open(snapshot_id)) == [b"hello"]
    sink = store.create(17, 4, CONFIGURATION, 8)
    for part in (b"hel", b"lo"):
        sink.write(part)
    assert file_of(store, sink.commit()).read_bytes() == golden


def test_leftovers_of_a_crash_are_removed_at_the_start(tmp_path: Path) -> None:
    store = FileSnapshots(tmp_path / "s")
    store.create(3, 1, CONFIGURATION, 1).write(bytes(10))
    kept = put(store, 4)
    assert len(names(tmp_path / "s")) == 2
    assert FileSnapshots(tmp_path / "s").list() == [kept]
    assert names(tmp_path / "s") == [f"{kept.id}.snap"]


def test_an_abort_frees_the_space(tmp_path: Path) -> None:
    store = FileSnapshots(tmp_path / "s")
    sink = store.create(3, 1, CONFIGURATION, 1)
    sink.write(bytes(1 << 20))
    sink.abort()
    assert names(tmp_path / "s") == []


def test_a_killed_writer_leaves_only_whole_snapshots(tmp_path: Path) -> None:
    directory = tmp_path / "s"
    for round_ in range(4):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(directory)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert process.stdout is not None
        acknowledged = [int(process.stdout.readline()) for _ in range(3 + round_)]
        process.send_signal(signal.SIGKILL)
        with process:
            acknowledged += [int(line) for line in process.stdout]
        store = FileSnapshots(directory)
        found = store.list()
        assert {meta.index for meta in found} >= set(acknowledged)
        for meta in found:
            assert b"".join(store.open(meta.id)) == pattern(300_000, meta.index)
        assert all(name.endswith(".snap") for name in names(directory))
        store.retain(0)


# ------------------------------------------------------------------ damage


def damaged(tmp_path: Path, data: bytes) -> tuple[FileSnapshots, str]:
    """Return a store whose one snapshot has these bytes, and its id."""
    store = FileSnapshots(tmp_path / "s")
    store.retain(0)
    meta = put(store, 17)
    file_of(store, meta).write_bytes(data)
    return store, meta.id


def whole(tmp_path: Path, size: int = 3 * fmt.CHUNK + 5) -> bytes:
    store = FileSnapshots(tmp_path / "whole")
    return file_of(store, put(store, 17, [pattern(size)])).read_bytes()


def outcome(tmp_path: Path, data: bytes) -> tuple[bool, bytes, bool]:
    """Return whether it is listed, the contents read, and whether reading found damage."""
    store, snapshot_id = damaged(tmp_path, data)
    read = b""
    try:
        for chunk in store.open(snapshot_id):
            read += chunk
    except StorageCorrupt:
        found = True
    else:
        found = False
    listed = bool(store.list())
    for path in (tmp_path / "s").glob("*.corrupt"):
        path.unlink()
    return listed, read, found


@pytest.mark.parametrize("where", [0, 9, 20, 60, 130, fmt.CHUNK, 2 * fmt.CHUNK + 200, -1, -12, -20])
def test_a_flipped_bit_is_found_before_the_chunk_is_handed_out(tmp_path: Path, where: int) -> None:
    data = bytearray(whole(tmp_path))
    data[where] ^= 0x10
    _, read, found = outcome(tmp_path, bytes(data))
    assert found
    assert pattern(3 * fmt.CHUNK + 5).startswith(read)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_cut_anywhere_is_found(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    tmp_path = tmp_path_factory.mktemp("cut")
    original = whole(tmp_path, 700)
    cut = data.draw(st.integers(0, len(original) - 1))
    listed, read, found = outcome(tmp_path, original[:cut])
    assert (listed, found) == (False, True)
    assert pattern(700).startswith(read)


def test_a_swapped_repeated_or_missing_chunk_is_found(tmp_path: Path) -> None:
    data = whole(tmp_path, 3 * fmt.CHUNK)
    record = fmt.CHUNK + 9
    begin = len(data) - 3 * record - 21
    head, one, two, three, end = (
        data[:begin],
        data[begin : begin + record],
        data[begin + record : begin + 2 * record],
        data[begin + 2 * record : -21],
        data[-21:],
    )
    assert outcome(tmp_path, head + one + two + three + end)[2] is False
    for parts in ((two, one, three), (one, one, three), (one, two), (one, two, three, three)):
        _, _, found = outcome(tmp_path, head + b"".join(parts) + end)
        assert found


def test_a_chunk_of_another_snapshot_is_found_at_the_end(tmp_path: Path) -> None:
    store = FileSnapshots(tmp_path / "other")
    other = file_of(store, put(store, 17, [pattern(fmt.CHUNK, 1)])).read_bytes()
    mine = whole(tmp_path, fmt.CHUNK)
    _, read, found = outcome(tmp_path, other[:-21] + mine[-21:])
    assert found
    assert len(read) == fmt.CHUNK


def test_bytes_behind_the_end_are_found(tmp_path: Path) -> None:
    assert outcome(tmp_path, whole(tmp_path) + b"x") == (False, pattern(3 * fmt.CHUNK + 5), True)


def test_a_damaged_header_is_set_aside_once_and_never_deleted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = FileSnapshots(tmp_path / "s")
    old, new = put(store, 5, [b"old"]), put(store, 9, [b"new"])
    path = file_of(store, new)
    path.write_bytes(b"torn")
    with caplog.at_level(logging.WARNING):
        assert store.list() == store.list() == [old]
    assert len(caplog.records) == 1
    assert path.with_suffix(".corrupt").name in caplog.text
    store.retain(0)
    FileSnapshots(tmp_path / "s").retain(0)
    assert names(tmp_path / "s") == [f"{new.id}.corrupt"]
    assert path.with_suffix(".corrupt").read_bytes() == b"torn"


def test_a_newer_format_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = bytearray(whole(tmp_path, 0))
    kind, length, _ = struct.unpack_from("<cII", data, 8)
    struct.pack_into("<H", data, 17, 2)
    checksum = crc32(data[17 : 17 + length], crc32(struct.pack("<cIq", kind, length, 8)))
    struct.pack_into("<I", data, 13, checksum)
    store, snapshot_id = damaged(tmp_path, bytes(data))
    with caplog.at_level(logging.WARNING):
        assert store.list() == store.list() == []
    assert caplog.text.count("newer braft") == 1
    assert names(tmp_path / "s") == [f"{snapshot_id}.snap"]
    path = tmp_path / "s" / f"{snapshot_id}.snap"
    with path.open("rb") as file, pytest.raises(StorageForeign):
        fmt.read_meta(file.fileno(), snapshot_id, str(path))


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_a_snapshot_or_damage(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, magic: bool
) -> None:
    path = tmp_path_factory.mktemp("any") / "file"
    path.write_bytes(fmt.MAGIC * magic + data)
    reader = fmt.ChunkReader(os.open(path, os.O_RDONLY), "any")
    with pytest.raises(StorageCorrupt):
        list(reader)


# ------------------------------------------------------------------ trouble


def open_files() -> set[str]:
    """Return the names of the files that this process has open."""
    return set(filter(None, map(_opened, os.listdir("/proc/self/fd"))))


def _opened(fd: str) -> str:
    """Return the file's name; "" if it was closed meanwhile, like the listed directory."""
    with suppress(OSError):
        return os.readlink(f"/proc/self/fd/{fd}")
    return ""


def test_readers_close_their_files(tmp_path: Path) -> None:
    store = FileSnapshots(tmp_path / "s")
    meta = put(store, 5, [bytes(1 << 20)])
    finished, begun, never = (store.open(meta.id) for _ in range(3))
    list(finished)
    next(begun)
    assert str(file_of(store, meta)) in open_files()
    del begun, never
    gc.collect()
    assert str(file_of(store, meta)) not in open_files()
    assert list(finished) == []


@pytest.mark.parametrize("call", ["write", "fsync", "fdatasync", "rename"])
@pytest.mark.parametrize(
    ("number", "expected"), [(errno.ENOSPC, StorageFull), (errno.EIO, StorageError)]
)
def test_a_failure_is_reported_and_abort_leaves_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    number: int,
    expected: type[StorageError],
) -> None:
    store = FileSnapshots(tmp_path / "s")
    sink = store.create(5, 1, CONFIGURATION, 1)

    def fail(*_args: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path if call == "rename" else os, call, fail)

    def all_of_it() -> None:
        sink.write(bytes(10 << 20))
        sink.commit()

    with pytest.raises(StorageError) as caught:
        all_of_it()
    assert type(caught.value) is expected
    monkeypatch.undo()
    with pytest.raises(StorageError, match="already committed"):
        sink.write(b"x")
    sink.abort()
    assert names(tmp_path / "s") == []
    assert not any(str(tmp_path) in name for name in open_files())


def test_a_name_that_may_not_be_durable_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FileSnapshots(tmp_path / "s")
    sink = store.create(5, 1, CONFIGURATION, 1)

    def fail(_path: Path) -> None:
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr("braft_core.storage.file_snapshots.sync_directory", fail)
    with pytest.raises(StorageError, match="input/output error"):
        sink.commit()
    assert names(tmp_path / "s") == []


def test_numbers_beyond_63_bits_are_refused(tmp_path: Path) -> None:
    store = FileSnapshots(tmp_path / "s")
    with pytest.raises(StorageError, match="cannot be described"):
        store.create(2**63, 1, CONFIGURATION, 1)
    assert names(tmp_path / "s") == []


def test_a_missing_parent_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="absent"):
        FileSnapshots(tmp_path / "absent" / "s")


GOLDEN = (
    "62726674736e61704873000000092297340100110000000000000004000000000000000800000000"
    "00000081a7536572766572739283a8537566667261676500a24944a76ec3b664652d31a741646472"
    "657373ab3132372e302e302e313a3183a8537566667261676501a24944a66e6f64652d32a7416464"
    "72657373a75b3a3a315d3a324405000000bd9a71b268656c6c6f450c000000597fd58b0500000000"
    "0000003ce55a7a"
)
