"""The format of ``raft.db``: tables, checksums, versions, and how it is opened and read.

Format 2 has three tables. Each row carries a CRC-32 over all its other columns, because SQLite
checks the structure of its pages but not what is in them.

* ``log``: a row for each run of entries, see :mod:`braft_core.storage.sqlite_log`.
* ``state``: one row, term, vote and where compaction ended.
* ``meta``: small named values.

**Damaged records.** SQLite commits a transaction as a whole or not at all, so a crash cannot leave
half a record. A record that fails its checksum was once complete and probably acknowledged.
Removing it could make this node forget a vote or lose a committed write. So the store removes
nothing; it refuses to open (:class:`StorageCorrupt`) and the message says what to do. A crash may
leave a torn tail in SQLite's write-ahead log, which SQLite drops. :mod:`braft_core.storage.wal`
distinguishes that tail from damage.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote
from zlib import crc32

from braft_core.errors import StorageCorrupt, StorageError, StorageForeign
from braft_core.raft.types import Entry, HardState
from braft_core.storage import sqlite_log as log
from braft_core.storage.directory import sync_directory
from braft_core.storage.wal import commits_beyond_damage

__all__ = [
    "FORMAT",
    "Contents",
    "corrupt",
    "create_or_open",
    "meta_row",
    "read_only",
    "state_row",
]

logger = logging.getLogger(__name__)

APPLICATION_ID = 0x62726674  # "brft"
FORMAT = 2

_SCHEMA = (
    log.SCHEMA,
    "CREATE TABLE state (id INTEGER PRIMARY KEY, term INTEGER, voted_for TEXT,"
    " compacted_index INTEGER, compacted_term INTEGER, crc INTEGER)",
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB, crc INTEGER)",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {FORMAT}",
)
SET_STATE = "INSERT OR REPLACE INTO state VALUES (1, ?, ?, ?, ?, ?)"
SET_META = "INSERT OR REPLACE INTO meta VALUES (?, ?, ?)"
DELETE_META = "DELETE FROM meta WHERE key = ?"

#: SQLite checkpoints the write-ahead log after this many pages of 4 KiB: the log stays below about
#: 4 MiB and a checkpoint takes a few milliseconds.
_CHECKPOINT_PAGES = 1000

#: What reading a damaged database raises. UnicodeDecodeError: SQLite's message quotes a damaged
#: schema, which Python cannot decode.
_UNREADABLE = (sqlite3.DatabaseError, UnicodeDecodeError)

_STATE_HEAD = struct.Struct("<qqq")

Row = tuple[Any, ...]


class Contents(NamedTuple):
    """The verified contents of a database."""

    hard_state: HardState
    compacted_index: int
    compacted_term: int
    entries: list[Entry]
    meta: dict[str, bytes]


# --------------------------------------------------------------------------------------------
# Rows


def state_row(hard_state: HardState, compacted_index: int, compacted_term: int) -> Row:
    """Return the row of ``state``, without its id."""
    term, voted_for = hard_state
    try:
        head = _STATE_HEAD.pack(term, compacted_index, compacted_term)
    except struct.error as error:
        raise StorageError(f"term or index cannot be stored: {error}") from error
    return term, voted_for, compacted_index, compacted_term, crc32(voted_for.encode(), crc32(head))


def meta_row(key: str, value: bytes) -> Row:
    """Return a row of ``meta``."""
    return key, value, crc32(value, crc32(key.encode() + b"\0"))


# --------------------------------------------------------------------------------------------
# Opening


def create_or_open(path: Path) -> tuple[sqlite3.Connection, Contents]:
    """Open the database, create it if it is missing, and read all of it.

    :raises StorageForeign: it is not a database of braft, or of another format.
    :raises StorageCorrupt: a page or record is damaged, or entries are missing.
    :raises StorageError: the file cannot be used.
    """
    _refuse_orphaned_wal(path)
    _check_wal(path)
    try:
        _create_file(path)
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise StorageError(f"{path}: {error}", path=str(path)) from error
    try:
        _check_format(db, path)
        _start_new_wal(db)
        return db, _read(db, path)
    except BaseException:
        db.close()
        raise


def read_only(path: Path) -> Contents:
    """Read and verify the database without writing. No other process may be using it.

    :raises StorageForeign, StorageCorrupt, StorageError: as :func:`create_or_open`.
    """
    _refuse_orphaned_wal(path)
    _check_wal(path)
    db = None
    try:
        db = sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True)
        application, version = _pragma(db, "application_id"), _pragma(db, "user_version")
        if application != APPLICATION_ID:
            raise StorageForeign(f"{path} is not a database of this braft", path=str(path))
        _must_be_ours(version, path)
        return _read(db, path)
    except (sqlite3.Error, *_UNREADABLE) as error:
        raise _unreadable(error, path) from error
    finally:
        if db is not None:
            db.close()


def corrupt(path: Path, what: str, **data: Any) -> StorageCorrupt:
    """Return the error for damage, which says what to do."""
    return StorageCorrupt(
        f"{path}: {what}. What this node acknowledged cannot be trusted any more: remove the "
        f"member from the cluster, delete its data directory {path.parent} and let it join as a "
        "new one",
        path=str(path),
        **data,
    )


def _refuse_orphaned_wal(path: Path) -> None:
    # SQLite would delete the write-ahead log of an empty or missing database, with all its data.
    wal = path.with_name(path.name + "-wal")
    if _size(wal) and not _size(path):
        raise corrupt(path, "the database is gone, but its write-ahead log is there")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _create_file(path: Path) -> None:
    # Create it here with its mode, which SQLite copies to the files beside it.
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    os.close(os.open(path, flags, 0o600))
    sync_directory(path.parent)


def _check_format(db: sqlite3.Connection, path: Path) -> None:
    try:
        application = _pragma(db, "application_id")
        version = _pragma(db, "user_version")
        if application == 0 and version == 0 and not _tables(db):
            _configure(db, path)
            _initialise(db)
            return
        if application != APPLICATION_ID:
            raise StorageForeign(f"{path} is a database of another program", path=str(path))
        _must_be_ours(version, path)
        _configure(db, path)
    except _UNREADABLE as error:
        if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_NOTADB:
            raise StorageForeign(f"{path} is not a database", path=str(path)) from error
        raise _unreadable(error, path) from error


def _must_be_ours(version: int, path: Path) -> None:
    if version != FORMAT:
        which = "a newer braft" if version > FORMAT else "a braft from before its first release"
        raise StorageForeign(
            f"{path} has format {version}, written by {which}; this one reads format {FORMAT}",
            path=str(path),
            format=version,
        )


def _unreadable(error: Exception, path: Path, **data: Any) -> StorageError:
    # No code: Python could not convert a column, such as text that is not UTF-8.
    # SQLITE_ERROR: a table is missing, since the statements themselves are right.
    damage = (0, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT)
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in damage:
        return corrupt(path, f"the database is damaged ({error})", **data)
    return StorageError(f"{path}: {error}", path=str(path), **data)


def _pragma(db: sqlite3.Connection, name: str) -> int:
    return int(db.execute(f"PRAGMA {name}").fetchone()[0])


def _tables(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])


def _configure(db: sqlite3.Connection, path: Path) -> None:
    mode = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise StorageError(f"{path}: the file system does not allow a write-ahead log")
    db.execute("PRAGMA synchronous = FULL")
    db.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")


def _initialise(db: sqlite3.Connection) -> None:
    db.execute("BEGIN IMMEDIATE")
    for statement in _SCHEMA:
        db.execute(statement)
    db.execute(SET_STATE, state_row(HardState(), 0, 0))
    db.execute("COMMIT")


def _start_new_wal(db: sqlite3.Connection) -> None:
    # After a crash SQLite appends after the last valid frame, over the rest of the torn commit.
    # What remains of that would count as a second commit after the next crash.
    with suppress(sqlite3.OperationalError):  # a full disk; the old log works too
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()


def _check_wal(path: Path) -> None:
    try:
        beyond = commits_beyond_damage(path.with_name(path.name + "-wal"))
    except OSError as error:
        raise StorageError(f"{path}: {error}", path=str(path)) from error
    if beyond > 1:
        raise corrupt(path, f"the write-ahead log is damaged: {beyond} commits follow the damage")
    if beyond:
        logger.warning("%s: dropped a last write that a crash left incomplete", path)


# --------------------------------------------------------------------------------------------
# Reading


def _read(db: sqlite3.Connection, path: Path) -> Contents:
    try:
        hard_state, compacted_index, compacted_term = _read_state(db, path)
        meta = _read_meta(db, path)
    except _UNREADABLE as error:
        raise _unreadable(error, path) from error
    entries = _read_log(db, path, compacted_index)
    return Contents(hard_state, compacted_index, compacted_term, entries, meta)


def _read_state(db: sqlite3.Connection, path: Path) -> tuple[HardState, int, int]:
    rows = db.execute(
        "SELECT term, voted_for, compacted_index, compacted_term, crc FROM state"
    ).fetchall()
    if len(rows) != 1 or not _intact(
        rows[0], state_row, HardState(*rows[0][:2]), rows[0][2], rows[0][3]
    ):
        raise corrupt(path, "the record of term and vote fails its checksum")
    term, voted_for, compacted_index, compacted_term, _ = rows[0]
    return HardState(term, voted_for), compacted_index, compacted_term


def _read_meta(db: sqlite3.Connection, path: Path) -> dict[str, bytes]:
    rows = db.execute("SELECT key, value, crc FROM meta").fetchall()
    for row in rows:
        if not _intact(row, meta_row, row[0], row[1]):
            raise corrupt(path, f"the value {row[0]!r} fails its checksum")
    return {key: value for key, value, _ in rows}


def _read_log(db: sqlite3.Connection, path: Path, compacted_index: int) -> list[Entry]:
    entries: list[Entry] = []
    expected = compacted_index + 1
    try:
        for run in log.read(db, compacted_index):
            if run[0].index != expected:
                raise corrupt(path, f"log entry {expected} is missing", index=expected)
            entries += run
            expected = run[-1].index + 1
    except log.Damaged as error:
        raise corrupt(path, str(error), index=error.first) from error
    except _UNREADABLE as error:
        raise _unreadable(error, path, index=expected) from error
    return entries


def _intact(row: Row, build: Callable[..., Row], *columns: Any) -> bool:
    # Damage may change a column's type as well as its value, hence the exceptions.
    try:
        return bool(build(*columns)[-1] == row[-1])
    except (StorageError, TypeError, AttributeError, UnicodeError):
        return False
