"""Properties of the SQLite store alone: process death, locks, damage, modes, full disks."""

from __future__ import annotations

import errno
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from braft_core.abc import StorageOptions, StoredState, WriteBatch
from braft_core.errors import (
    StorageCorrupt,
    StorageError,
    StorageForeign,
    StorageFull,
    StorageLocked,
)
from braft_core.raft.types import Entry, HardState
from braft_core.storage.sqlite import SQLiteStorage
from braft_core.storage.sqlite_format import read_only
from braft_testing.storage import entries

ROOT = Path(__file__).resolve().parents[3]

WRITER = """
import sys
from pathlib import Path
from braft_core.abc import StorageOptions, WriteBatch
from braft_core.raft.types import Entry, HardState
from braft_core.storage.sqlite import SQLiteStorage

store = SQLiteStorage(StorageOptions(data_dir=Path(sys.argv[1])))
store.open()
index = 0
while True:
    batch = [Entry(index + n, 1, 0, b"x" * 100) for n in range(1, 4)]
    index += 3
    store.write([WriteBatch(HardState(index, "me"), entries=batch)])
    print(index, flush=True)
"""


def store_in(directory: Path) -> SQLiteStorage:
    return SQLiteStorage(StorageOptions(data_dir=directory))


def load(directory: Path) -> StoredState:
    store = store_in(directory)
    try:
        return store.open()
    finally:
        store.close()


def fill(directory: Path, last: int = 9) -> None:
    """Write three entries at a time, which make one row."""
    store = store_in(directory)
    store.open()
    store.set_meta({"node_id": b"n1"})
    store.write([WriteBatch(HardState(3, "n1"))])
    for first in range(1, last + 1, 3):
        store.write([WriteBatch(entries=entries(first, min(first + 2, last)))])
    store.close()


def sql(directory: Path, *statements: str) -> None:
    with closing(sqlite3.connect(directory / "raft.db", isolation_level=None)) as db:
        for statement in statements:
            db.execute(statement)


@contextmanager
def writer(directory: Path) -> Iterator[subprocess.Popen[str]]:
    """Start a process that writes to the store and prints what is acknowledged."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(directory)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def acknowledged(process: subprocess.Popen[str], lines: int) -> int:
    assert process.stdout is not None
    return [int(process.stdout.readline()) for _ in range(lines)][-1]


# ------------------------------------------------------------------ process death and locks


def test_nothing_acknowledged_is_lost_when_the_process_is_killed(tmp_path: Path) -> None:
    with writer(tmp_path / "node") as process:
        acknowledged(process, 200)
        os.kill(process.pid, signal.SIGKILL)
        rest = process.communicate()[0].split("\n")[:-1]
    last = int(rest[-1]) if rest else 600
    state = load(tmp_path / "node")
    assert len(state.entries) >= last
    assert len(state.entries) % 3 == 0
    assert state.hard_state == HardState(len(state.entries), "me")


def test_a_locked_directory_names_the_process_and_death_unlocks_it(tmp_path: Path) -> None:
    with writer(tmp_path / "node") as process:
        acknowledged(process, 1)
        with pytest.raises(StorageLocked) as caught:
            load(tmp_path / "node")
        assert str(process.pid) in caught.value.message
        assert str(tmp_path / "node") in caught.value.message
        assert caught.value.data["pid"] == process.pid
        process.kill()
        process.wait()
    assert load(tmp_path / "node").entries


def test_a_started_program_does_not_keep_the_lock(tmp_path: Path) -> None:
    store = store_in(tmp_path / "node")
    store.open()
    heir = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    store.close()
    load(tmp_path / "node")
    heir.communicate(b"\n")


def test_a_forked_child_that_ends_leaves_the_files_of_its_parent_alone(tmp_path: Path) -> None:
    """It closes its copy of the connection.

    With a lock that SQLite remembers in memory (``locking_mode=EXCLUSIVE``), that would delete the
    write-ahead log to which the parent writes.
    """
    script = """
import os, sys
from pathlib import Path
from braft_core.abc import StorageOptions, WriteBatch
from braft_core.raft.types import Entry
from braft_core.storage.sqlite import SQLiteStorage
make = lambda: SQLiteStorage(StorageOptions(data_dir=Path(sys.argv[1])))
store = make()
store.open()
store.write([WriteBatch(entries=[Entry(1, 1, 0, b"before")])])
child = os.fork()
if child == 0:
    sys.exit()
print("child:", os.waitpid(child, 0)[1])
store.write([WriteBatch(entries=[Entry(2, 1, 0, b"after")])])
store.close()
print("parent:", [entry.data for entry in make().open().entries])
"""
    out = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "node")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (out.stdout, out.stderr) == ("child: 0\nparent: [b'before', b'after']\n", "")


def test_a_forked_child_has_no_lock_and_no_store(tmp_path: Path) -> None:
    script = """
import os, sys
from pathlib import Path
from braft_core.abc import StorageOptions, WriteBatch
from braft_core.errors import StorageError
from braft_core.raft.types import Entry
from braft_core.storage.sqlite import SQLiteStorage
make = lambda: SQLiteStorage(StorageOptions(data_dir=Path(sys.argv[1])))
store = make()
store.open()
go, done = os.pipe()
tried, ready = os.pipe()
child = os.fork()
if child == 0:
    try:
        store.write([WriteBatch(entries=[Entry(1, 1, 0, b"child")])])
    except StorageError as error:
        print("child:", error, flush=True)
    store.close()
    os.write(ready, b"x")
    os.read(go, 1)
    os._exit(0)
os.read(tried, 1)
store.write([WriteBatch(entries=[Entry(1, 1, 0, b"parent")])])
store.close()
print("parent:", make().open().entries[0].data, flush=True)
os.write(done, b"x")
os.waitpid(child, 0)
"""
    out = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "node")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout
    assert "belongs to the process before a fork" in out
    assert "parent: b'parent'" in out


# ------------------------------------------------------------------ damage


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (
            "UPDATE log SET entries = x'00' WHERE first = 4",
            "log entries 4 to 6 fail their checksum",
        ),
        (
            "UPDATE log SET entries = x'00' WHERE first = 7",
            "log entries 7 to 9 fail their checksum",
        ),
        ("UPDATE log SET entries = NULL WHERE first = 4", "entries 4 to 6 fail their checksum"),
        ("UPDATE log SET entries = 'x' WHERE first = 4", "entries 4 to 6 fail their checksum"),
        ("UPDATE log SET last = 5 WHERE first = 4", "entries 4 to 5 fail their checksum"),
        ("UPDATE log SET last = 0 WHERE first = 7", "log entry 7 fails its checksum"),
        ("UPDATE log SET last = 'six' WHERE first = 4", "log entry 4 fails its checksum"),
        ("UPDATE log SET first = 70 WHERE first = 7", "log entry 70 fails its checksum"),
        ("UPDATE log SET crc = 1 WHERE first = 4", "entries 4 to 6 fail their checksum"),
        ("DELETE FROM log WHERE first = 4", "log entry 4 is missing"),
        ("DELETE FROM log WHERE first = 1", "log entry 1 is missing"),
        ("UPDATE state SET voted_for = 'n2'", "term and vote"),
        ("UPDATE state SET voted_for = CAST(x'ff' AS TEXT)", "UTF-8"),
        ("UPDATE state SET compacted_index = 3", "term and vote"),
        ("DELETE FROM state", "term and vote"),
        ("UPDATE meta SET value = x'00'", "'node_id' fails its checksum"),
        ("DROP TABLE meta", "no such table"),
    ],
)
def test_damage_is_named_and_nothing_is_cut(tmp_path: Path, damage: str, named: str) -> None:
    fill(tmp_path)
    sql(tmp_path, damage)
    before = (tmp_path / "raft.db").read_bytes()
    with pytest.raises(StorageCorrupt) as caught:
        load(tmp_path)
    assert named in caught.value.message
    assert str(tmp_path) in caught.value.message
    assert (tmp_path / "raft.db").read_bytes() == before


def test_the_message_of_damage_says_what_to_do(tmp_path: Path) -> None:
    fill(tmp_path)
    sql(tmp_path, "UPDATE log SET entries = x'00' WHERE first = 4")
    with pytest.raises(StorageCorrupt) as caught:
        load(tmp_path)
    assert caught.value.data["index"] == 4
    assert f"delete its data directory {tmp_path} and let it join as a new one" in str(caught.value)


def test_damage_that_a_cut_comes_upon_stops_the_store(tmp_path: Path) -> None:
    fill(tmp_path)
    store = store_in(tmp_path)
    store.open()
    sql(tmp_path, "UPDATE log SET crc = 1 WHERE first = 4")
    with pytest.raises(StorageCorrupt, match="entries 4 to 6 fail their checksum"):
        store.write([WriteBatch(HardState(9, ""), truncate_from=5, entries=entries(5, 6, 9))])
    with pytest.raises(StorageError, match="closed after a failure"):
        store.write([WriteBatch(entries=entries(10, 10))])
    store.close()
    assert rows(tmp_path) == (1, 9, 3), "nothing was cut"


def test_damaged_pages_are_found(tmp_path: Path) -> None:
    fill(tmp_path, last=2000)
    path = tmp_path / "raft.db"
    damaged = bytearray(path.read_bytes())
    damaged[4096 * 6 : 4096 * 8] = bytes(4096 * 2)
    path.write_bytes(damaged)
    with pytest.raises(StorageCorrupt):
        load(tmp_path)


def test_a_schema_that_is_no_text_any_more_is_damage(tmp_path: Path) -> None:
    """SQLite quotes it in its message, which is then not valid UTF-8."""
    fill(tmp_path)
    path = tmp_path / "raft.db"
    damaged = bytearray(path.read_bytes())
    damaged[damaged.index(b"TABLE meta") + 1] ^= 0xFF
    path.write_bytes(damaged)
    with pytest.raises(StorageCorrupt, match="the database is damaged"):
        load(tmp_path)
    with pytest.raises(StorageCorrupt, match="the database is damaged"):
        read_only(path)


def crash_image(source: Path, target: Path, wal: bytes | None = None) -> None:
    """Copy what a crash would leave of a store that is open."""
    target.mkdir()
    (target / "raft.db").write_bytes((source / "raft.db").read_bytes())
    (target / "raft.db-wal").write_bytes(
        (source / "raft.db-wal").read_bytes() if wal is None else wal
    )


@pytest.fixture
def commits(tmp_path: Path) -> Iterator[tuple[Path, list[int]]]:
    """Return an open store and the size of its write-ahead log after each of ten commits."""
    store = store_in(tmp_path / "live")
    store.open()
    sizes = []
    for index in range(1, 11):
        store.write([WriteBatch(entries=entries(index, index))])
        sizes.append((tmp_path / "live" / "raft.db-wal").stat().st_size)
    yield tmp_path / "live", sizes
    store.close()


def test_a_log_cut_anywhere_keeps_every_complete_commit(
    tmp_path: Path, commits: tuple[Path, list[int]]
) -> None:
    live, sizes = commits
    wal = (live / "raft.db-wal").read_bytes()
    for number, end in enumerate(sizes):
        for cut in (end, end - 1, end - 2000):
            image = tmp_path / f"{number}-{cut}"
            crash_image(live, image, wal[:cut])
            assert load(image).entries == entries(1, number + (cut == end))


def test_a_torn_last_commit_is_cut_with_a_warning(
    tmp_path: Path, commits: tuple[Path, list[int]], caplog: pytest.LogCaptureFixture
) -> None:
    live, sizes = commits
    torn = bytearray((live / "raft.db-wal").read_bytes())
    torn[sizes[-1] - 9] ^= 0xFF
    crash_image(live, tmp_path / "image", bytes(torn))
    assert load(tmp_path / "image").entries == entries(1, 9)
    assert "left incomplete" in caplog.text


def torn_at(directory: Path, offset: int, target: Path) -> None:
    """Return what a power cut leaves if the last commit lost the bytes at that offset."""
    wal = bytearray((directory / "raft.db-wal").read_bytes())
    wal[offset] ^= 0xFF
    crash_image(directory, target, bytes(wal))


def test_a_second_crash_is_distinguished_from_the_first(tmp_path: Path) -> None:
    store = store_in(tmp_path / "live")
    store.open()
    store.write([WriteBatch(entries=entries(1, 9))])
    start = (tmp_path / "live" / "raft.db-wal").stat().st_size
    large = [entry._replace(data=bytes(4000)) for entry in entries(10, 30)]
    store.write([WriteBatch(entries=large)])
    torn_at(tmp_path / "live", start + 40, tmp_path / "first")
    store.close()

    store = store_in(tmp_path / "first")
    assert store.open().entries == entries(1, 9)
    store.write([WriteBatch(entries=entries(10, 10, 2))])
    end = _last_commit(tmp_path / "first", store)
    torn_at(tmp_path / "first", end - 9, tmp_path / "second")
    store.close()
    assert load(tmp_path / "second").entries == [*entries(1, 9), *entries(10, 10, term=2)]


def _last_commit(directory: Path, store: SQLiteStorage) -> int:
    """Write entry 11; return where in the write-ahead log its commit ends."""
    path = directory / "raft.db-wal"
    before = path.read_bytes()
    store.write([WriteBatch(entries=entries(11, 11, 2))])
    after = path.read_bytes()
    before = before.ljust(len(after), b"\0")
    return max(at for at in range(len(after)) if after[at] != before[at]) + 1


def test_damage_before_the_last_commit_is_not_mistaken_for_a_torn_write(
    tmp_path: Path, commits: tuple[Path, list[int]]
) -> None:
    live, sizes = commits
    damaged = bytearray((live / "raft.db-wal").read_bytes())
    damaged[sizes[5] - 9] ^= 0xFF
    crash_image(live, tmp_path / "image", bytes(damaged))
    with pytest.raises(StorageCorrupt, match="5 commits follow the damage"):
        load(tmp_path / "image")


@pytest.mark.parametrize("offset", range(32))
def test_a_damaged_head_of_the_write_ahead_log_is_found(
    tmp_path: Path, commits: tuple[Path, list[int]], offset: int
) -> None:
    live, _ = commits
    damaged = bytearray((live / "raft.db-wal").read_bytes())
    damaged[offset] ^= 0x30  # changes the page size from 4096 to another valid one
    crash_image(live, tmp_path / "image", bytes(damaged))
    with pytest.raises(StorageCorrupt, match="commits follow the damage"):
        load(tmp_path / "image")


@pytest.mark.parametrize("emptied", [True, False])
def test_a_log_without_its_database_is_damage(
    tmp_path: Path, commits: tuple[Path, list[int]], emptied: bool
) -> None:
    live, _ = commits
    crash_image(live, tmp_path / "image")
    if emptied:
        (tmp_path / "image" / "raft.db").write_bytes(b"")
    else:
        (tmp_path / "image" / "raft.db").unlink()
    with pytest.raises(StorageCorrupt, match="the database is gone"):
        load(tmp_path / "image")


def test_a_crash_while_the_store_was_made_is_a_fresh_start(tmp_path: Path) -> None:
    (tmp_path / "raft.db").touch()
    (tmp_path / "lock").touch()
    assert load(tmp_path).entries == []


def rows(directory: Path) -> tuple[int, int, int]:
    """Return the lowest index that has a row, the highest, and the number of rows."""
    with closing(sqlite3.connect(directory / "raft.db")) as db:
        found: tuple[int, int, int] = db.execute(
            "SELECT min(first), max(last), count(*) FROM log"
        ).fetchone()
    return found


def test_compacted_rows_go_little_by_little_also_after_a_restart(tmp_path: Path) -> None:
    fill(tmp_path, last=3000)
    store = store_in(tmp_path)
    store.open()
    store.compact(2900, 1)
    store.close()
    assert rows(tmp_path) == (1537, 3000, 1000 - 512)
    store = store_in(tmp_path)
    assert store.open().entries == entries(2901, 3000)
    store.write([WriteBatch(entries=entries(3001, 3001))])
    assert rows(tmp_path) == (2899, 3001, 1000 - 966 + 1), "the row of 2,899 to 2,901 is needed"
    store.close()
    assert load(tmp_path).entries == entries(2901, 3001)


def test_a_row_goes_once_the_last_of_its_entries_is_compacted(tmp_path: Path) -> None:
    fill(tmp_path, last=9)
    store = store_in(tmp_path)
    store.open()
    for index, left in ((2, 3), (3, 2), (8, 1), (9, 0)):
        store.compact(index, 1)
        store.write([WriteBatch()])
        assert rows(tmp_path)[2] == left
    store.close()


@pytest.mark.parametrize("cut", [WriteBatch(truncate_from=6), WriteBatch(reset=(5, 1))])
def test_what_a_cut_leaves_of_the_row_at_the_beginning_goes_too(
    tmp_path: Path, cut: WriteBatch
) -> None:
    fill(tmp_path, last=9)
    store = store_in(tmp_path)
    store.open()
    store.compact(5, 1)
    store.write([WriteBatch()])
    assert rows(tmp_path) == (4, 9, 2)
    store.write([cut])
    assert rows(tmp_path)[2] == 0
    store.close()


def test_large_rows_go_by_their_size(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.open()
    for index in range(1, 9):
        store.write([WriteBatch(entries=[Entry(index, 1, 0, b"x" * 400_000)])])
    store.compact(8, 1)
    assert rows(tmp_path)[0] == 3, "two rows of 400,000 bytes fit a budget of 1 MiB"
    for _ in range(3):
        store.write([WriteBatch(hard_state=HardState(1, ""))])
    assert rows(tmp_path)[2] == 0
    store.close()


def test_more_than_a_row_holds_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.open()
    store.write([WriteBatch()])  # no row waits for removal, so entries alone take the fast path
    batches = [WriteBatch(entries=entries(1, 5000)), WriteBatch(entries=entries(5001, 9000))]
    assert store._db is not None
    store._db.execute("PRAGMA max_page_count = 40")
    with pytest.raises(StorageFull):
        store.write(batches)
    assert rows(tmp_path)[2] == 0
    store._db.execute("PRAGMA max_page_count = 4000")
    store.write(batches)
    assert rows(tmp_path) == (1, 9000, 3)
    store.close()
    assert load(tmp_path).entries == entries(1, 9000)


def test_rows_that_wait_for_removal_never_pile_up(tmp_path: Path) -> None:
    """A write that adds more than the budget removes twice what it adds."""
    store = store_in(tmp_path)
    store.open()
    large = [Entry(index, 1, 0, b"x" * 400_000) for index in range(1, 13)]
    store.write([WriteBatch(entries=large)])
    assert rows(tmp_path) == (1, 12, 6), "two entries of 400,000 bytes fit a row of 1 MiB"
    store.compact(12, 1)
    assert rows(tmp_path)[2] == 5
    again = [entry._replace(index=entry.index + 12) for entry in large[:4]]
    store.write([WriteBatch(entries=again)])
    assert rows(tmp_path) == (11, 16, 1 + 2)
    store.close()


def test_a_reset_leaves_the_rows_before_it_to_later_writes(tmp_path: Path) -> None:
    fill(tmp_path, last=3000)
    store = store_in(tmp_path)
    store.open()
    batches = [
        WriteBatch(reset=(10_000, 3), entries=entries(10_001, 10_002, 3)),
        WriteBatch(reset=(10**6, 4), entries=entries(10**6 + 1, 10**6 + 2, 4)),
    ]
    store.write(batches)
    assert rows(tmp_path) == (1537, 10**6 + 2, 1000 - 512 + 2)
    for _ in range(3):
        store.write([WriteBatch()])
    assert rows(tmp_path) == (10**6 + 1, 10**6 + 2, 1)
    store.close()


def test_a_reset_back_leaves_no_row_in_the_way(tmp_path: Path) -> None:
    fill(tmp_path, last=3000)
    store = store_in(tmp_path)
    store.open()
    store.compact(2900, 1)
    store.write([WriteBatch(reset=(2000, 1), entries=entries(2001, 2800, 2))])
    store.write([WriteBatch(reset=(0, 0), entries=entries(1, 5, 3))])
    store.write([WriteBatch(entries=entries(6, 9, 3))])
    store.close()
    assert load(tmp_path).entries == entries(1, 9, 3)
    assert rows(tmp_path) == (1, 9, 2)


# ------------------------------------------------------------------ whose directory is it?


def test_a_directory_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(StorageForeign, match=r"holds 'notes\.txt' and no raft\.db"):
        load(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["notes.txt"]


def test_own_file_names_and_lost_found_are_accepted(tmp_path: Path) -> None:
    for name in ("snapshots", "lost+found"):
        (tmp_path / name).mkdir()
    assert load(tmp_path).entries == []


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "raft.db").write_bytes(b"hello " * 1000)
    with pytest.raises(StorageForeign, match="is not a database"):
        load(tmp_path)


@pytest.mark.parametrize("foreign", ["CREATE TABLE t (x)", "PRAGMA application_id = 7"])
def test_a_database_of_another_program_is_refused(tmp_path: Path, foreign: str) -> None:
    sql(tmp_path, foreign)
    before = (tmp_path / "raft.db").read_bytes()
    with pytest.raises(StorageForeign, match="another program"):
        load(tmp_path)
    assert (tmp_path / "raft.db").read_bytes() == before


@pytest.mark.parametrize(("version", "writer"), [(1, "before its first release"), (3, "newer")])
@pytest.mark.parametrize("open_it", [load, lambda folder: read_only(folder / "raft.db")])
def test_another_format_is_refused(
    tmp_path: Path, version: int, writer: str, open_it: Callable[[Path], object]
) -> None:
    fill(tmp_path)
    sql(tmp_path, f"PRAGMA user_version = {version}")
    with pytest.raises(StorageForeign, match=f"format {version}, .*{writer}.* reads format 2"):
        open_it(tmp_path)


def test_directory_and_files_are_private(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        store = store_in(tmp_path / "a" / "node")
        store.open()
        store.write([WriteBatch(entries=entries(1, 1))])
    finally:
        os.umask(old)
    node = tmp_path / "a" / "node"
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in node.iterdir()}
    assert modes.pop("snapshots") == 0o700
    store.close()
    assert stat.S_IMODE(node.stat().st_mode) == 0o700
    assert modes == dict.fromkeys(("lock", "raft.db", "raft.db-wal", "raft.db-shm"), 0o600)


def test_a_file_in_the_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "node").touch()
    with pytest.raises(StorageError, match=r"node: Not a directory"):
        load(tmp_path / "node")
    with pytest.raises(StorageError, match=r"below: Not a directory"):
        load(tmp_path / "node" / "below")


@contextmanager
def without_privileges() -> Iterator[None]:
    """Run the block as the user nobody if we are root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("mode", [0o000, 0o555])
def test_a_directory_that_may_not_be_used_is_refused(tmp_path: Path, mode: int) -> None:
    node = tmp_path / "node"
    node.mkdir()
    node.chmod(mode)
    above = [path for path in (tmp_path, *tmp_path.parents) if path.owner() != "nobody"][:3]
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in above}
    if os.geteuid() == 0:
        for path in above:
            path.chmod(modes[path] | 0o111)
    try:
        with without_privileges(), pytest.raises(StorageError) as caught:
            load(node)
    finally:
        node.chmod(0o700)
        for path, old in modes.items():
            path.chmod(old)
    assert caught.value.message == f"data directory {node}: Permission denied"


def test_the_store_needs_a_directory() -> None:
    with pytest.raises(StorageError, match="needs a data directory"):
        SQLiteStorage(StorageOptions(data_dir=None)).open()


# ------------------------------------------------------------------ limits


def test_a_full_disk_is_said_and_survived(tmp_path: Path) -> None:
    fill(tmp_path)
    store = store_in(tmp_path)
    store.open()
    assert store._db is not None
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count = {pages + 4}")
    big = [entry._replace(data=bytes(9000)) for entry in entries(9, 19)]
    with pytest.raises(StorageFull, match="no space left"):
        store.write([WriteBatch(HardState(9, "n9"), truncate_from=9), WriteBatch(entries=big)])
    store.write([WriteBatch(HardState(10, "n1"), truncate_from=6, entries=entries(6, 6))])
    store.close()
    state = load(tmp_path)
    assert state.entries == entries(1, 6)
    assert state.hard_state == HardState(10, "n1")


@pytest.mark.optional
@pytest.mark.faults
def test_a_really_full_disk(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "braft-test", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small tmpfs needs root")
    try:
        _fill_up(disk / "node")
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def _fill_up(node: Path) -> None:
    store = store_in(node)
    store.open()
    written = 0
    while _append(store, written):
        written += 5
    assert not _append(store, written)
    store.close()
    assert len(load(node).entries) == written > 0


def _append(store: SQLiteStorage, last: int) -> bool:
    batch = [entry._replace(data=bytes(4000)) for entry in entries(last + 1, last + 5)]
    try:
        store.write([WriteBatch(entries=batch)])
    except StorageFull:
        return False
    return True


def test_numbers_beyond_63_bits_are_refused(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.open()
    with pytest.raises(StorageError, match="cannot be stored"):
        store.write([WriteBatch(entries=[entries(1, 1)[0]._replace(term=2**63)])])
    with pytest.raises(StorageError, match="cannot be stored"):
        store.write([WriteBatch(HardState(2**63, ""))])
    store.write([WriteBatch(entries=entries(1, 1))])
    store.close()
    assert load(tmp_path).entries == entries(1, 1)


def test_the_write_ahead_log_stays_bounded(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.open()
    for first in range(1, 20_001, 1000):
        batch = [e._replace(data=bytes(1000)) for e in entries(first, first + 999)]
        store.write([WriteBatch(entries=batch)])
    store.compact(19_999, 1)
    size = (tmp_path / "raft.db-wal").stat().st_size
    store.close()
    assert size < 12 << 20


def test_after_a_failed_sync_the_store_refuses_to_go_on(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.open()
    broken = sqlite3.OperationalError("disk I/O error")
    broken.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
    with pytest.raises(StorageError, match="disk I/O error"), store._transaction():
        raise broken
    with pytest.raises(StorageError, match="after a failure: disk I/O error"):
        store.write([WriteBatch(entries=entries(1, 1))])
    store.close()
    assert load(tmp_path).entries == []


def test_a_disk_that_is_gone_altogether_is_a_failure_like_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network disk that does not answer does not report its free space either."""
    store = store_in(tmp_path)
    store.open()
    broken = sqlite3.OperationalError("disk I/O error")
    broken.sqlite_errorcode = sqlite3.SQLITE_IOERR_WRITE

    def gone(_path: object) -> None:
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(os, "statvfs", gone)
    with pytest.raises(StorageError, match="disk I/O error"), store._transaction():
        raise broken
    with pytest.raises(StorageError, match="after a failure: disk I/O error"):
        store.write([WriteBatch(entries=entries(1, 1))])
    store.close()
