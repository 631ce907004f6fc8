"""The default store: one SQLite file, ``raft.db``, in the node's data directory.

This module owns transactions and the translation of SQLite's errors. The format and the treatment
of damage are in :mod:`braft_core.storage.sqlite_format`.

One call of :meth:`SQLiteStorage.write` is one transaction and one sync, however many batches it
gets. Compaction moves the beginning of the log at once. Later writes delete the rows before it,
a few each, so that no write takes long. Later entries reuse the free pages; the file never shrinks.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from braft_core.abc import (
    SnapshotName,
    SnapshotStore,
    Storage,
    StorageOptions,
    StoredState,
    WriteBatch,
)
from braft_core.errors import StorageError, StorageFull, StorageGone
from braft_core.raft.types import HardState
from braft_core.storage import snapshot_names
from braft_core.storage import sqlite_format as fmt
from braft_core.storage import sqlite_log as log
from braft_core.storage.bounds import Bounds
from braft_core.storage.directory import (
    DATABASE,
    LOCK,
    SNAPSHOTS,
    DirectoryLock,
    prepare_directory,
)
from braft_core.storage.file_snapshots import FileSnapshots
from braft_core.storage.presence import Presence

__all__ = ["SQLiteStorage"]

#: An I/O error with fewer free bytes than this counts as a full disk.
_NO_SPACE = 1 << 20
#: The key of the names of snapshots that a start may use.
_NAMES = "snapshots"


class SQLiteStorage(Storage):
    """Durable; needs ``data_dir``. Calls may come from any thread, one at a time.

    :param sweep_rows: how many rows of compacted entries a write deletes at least.
    """

    name = "sqlite"

    def __init__(self, options: StorageOptions, *, sweep_rows: int = log.SWEEP_ROWS) -> None:
        super().__init__(options)
        self._sweep_rows = sweep_rows
        self._db: sqlite3.Connection | None = None
        self._lock: DirectoryLock | None = None
        self._failed = ""
        self._hard_state = HardState()
        self._bounds = Bounds()
        #: True if there may be rows before the log's beginning to delete.
        self._garbage = True
        self._meta: dict[str, bytes] = {}
        self._names: tuple[SnapshotName, ...] | None = None
        self._snapshots: FileSnapshots | None = None
        self._presence: Presence | None = None
        #: Made absolute by open(), because the process may change its working directory.
        self._directory = options.data_dir

    def open(self) -> StoredState:
        """See :meth:`Storage.open`.

        A damaged record is never removed, not even the last one; see ``sqlite_format``.
        """
        if self._db is not None:
            raise StorageError(f"{self._path} is already open in this store")
        self._directory = self._path.parent.absolute()
        prepare_directory(self._directory)
        self._lock = DirectoryLock(self._directory)
        self._lock.acquire()
        try:
            return self._load()
        except BaseException:
            self.close()
            raise

    def write(self, batches: Sequence[WriteBatch]) -> None:
        """See :meth:`Storage.write`. One transaction, one sync."""
        bounds = self._bounds.after(batches)
        if not self._garbage and _nothing_but_entries(batches):
            rows = log.runs([entry for batch in batches for entry in batch.entries])
            # A single row needs no explicit transaction: one statement instead of three.
            with self._transaction(explicit=len(rows) != 1) as db:
                log.append(db, rows)
            self._bounds = bounds
            return
        hard_state, added, names = self._hard_state, [], snapshot_names.after(self._names, batches)
        # Truncation may leave a row that holds only compacted entries.
        garbage = self._garbage or any(map(_cuts, batches))
        with self._transaction() as db:
            for batch in batches:
                if batch.hard_state is not None:
                    hard_state = batch.hard_state
                added += _write_log(db, batch)
            if names is not None and names != self._names:
                db.execute(fmt.SET_META, fmt.meta_row(_NAMES, snapshot_names.encode(names)))
            if (hard_state, bounds.begin) != (self._hard_state, self._bounds.begin):
                self._set_state(db, hard_state, bounds)
            if garbage:
                garbage = log.sweep(db, bounds.compacted_index, added, self._sweep_rows)
        self._bounds, self._hard_state, self._garbage = bounds, hard_state, garbage
        self._names = names

    def get_meta(self, key: str) -> bytes | None:
        """See :meth:`Storage.get_meta`. Reads from memory."""
        self._usable()
        return self._meta.get(key)

    def set_meta(self, values: Mapping[str, bytes | None]) -> None:
        """See :meth:`Storage.set_meta`."""
        with self._transaction() as db:
            for key, value in values.items():
                if value is None:
                    db.execute(fmt.DELETE_META, (key,))
                else:
                    db.execute(fmt.SET_META, fmt.meta_row(key, value))
        merged = {**self._meta, **values}
        self._meta = {key: bytes(value) for key, value in merged.items() if value is not None}

    def compact(self, index: int, term: int) -> None:
        """See :meth:`Storage.compact`. An index that is already compacted changes nothing.

        This is one small commit, however many entries: later writes delete the rows.
        """
        self._usable()
        if index <= self._bounds.compacted_index:
            return
        bounds = self._bounds.compacted(index, term)
        with self._transaction() as db:
            self._set_state(db, self._hard_state, bounds)
            garbage = log.sweep(db, index, (), self._sweep_rows)
        self._bounds, self._garbage = bounds, garbage

    @property
    def snapshots(self) -> SnapshotStore:
        """See :attr:`Storage.snapshots`. Files beside the database."""
        self._usable()
        if self._snapshots is None:
            raise StorageError(f"{self._path} is not open")
        return self._snapshots

    def verify(self) -> None:
        """See :meth:`Storage.verify`. Checks the directory, its lock, database and snapshots."""
        presence = self._presence
        if presence is not None and self._lock is not None and self._lock.held:
            with self._ends_if_gone():
                presence.check()

    def close(self) -> None:
        """See :meth:`Storage.close`. In a forked child this does nothing."""
        if self._lock is None or not self._lock.held:
            return
        db, self._db, self._snapshots = self._db, None, None
        presence, self._presence = self._presence, None
        try:
            # SQLite does not touch replaced files: it compares the inode of the database.
            if db is not None:
                db.close()
        finally:
            if presence is not None:
                presence.close()
            self._lock.release()

    @property
    def _path(self) -> Path:
        if self._directory is None:
            raise StorageError(
                "the sqlite store needs a data directory; 'memory' is for ':memory:'"
            )
        return Path(self._directory) / DATABASE

    def _load(self) -> StoredState:
        self._db, contents = fmt.create_or_open(self._path)
        self._failed = ""
        index, term = contents.compacted_index, contents.compacted_term
        self._hard_state = contents.hard_state
        self._bounds = Bounds(index, term, index + len(contents.entries))
        self._meta = contents.meta
        self._names = self._read_names(contents.meta.get(_NAMES))
        self._garbage = True
        self._snapshots = FileSnapshots(self._path.parent / SNAPSHOTS, self.verify)
        self._presence = self._remember()
        return StoredState(contents.hard_state, contents.entries, index, term, self._names)

    def _read_names(self, data: bytes | None) -> tuple[SnapshotName, ...] | None:
        try:
            return snapshot_names.decode(data) if data is not None else None
        except ValueError as error:
            raise fmt.corrupt(self._path, str(error)) from error

    def _remember(self) -> Presence:
        database, directory = self._path.name, self._path.parent
        vital, others = (database, f"{database}-wal"), (f"{database}-shm", SNAPSHOTS)
        try:
            return Presence(directory, LOCK, vital, others)
        except OSError as error:
            raise StorageError(f"{self._path}: {error}", path=str(self._path)) from error

    def _set_state(self, db: sqlite3.Connection, hard_state: HardState, bounds: Bounds) -> None:
        row = fmt.state_row(hard_state, bounds.compacted_index, bounds.compacted_term)
        db.execute(fmt.SET_STATE, row)

    @contextmanager
    def _transaction(self, *, explicit: bool = True) -> Iterator[sqlite3.Connection]:
        """Commit what the body writes, and check that the files are still in place.

        The lock is checked first, because without it another process may use the files. The other
        files are checked after the commit, so that no write to a deleted file counts as durable.

        :param explicit: ``False`` for a single statement.
        """
        db, presence = self._usable(), self._presence
        if presence is not None:
            with self._ends_if_gone():
                presence.check_lock()
        try:
            if explicit:
                db.execute("BEGIN IMMEDIATE")
            yield db
            if explicit:
                db.execute("COMMIT")
        except sqlite3.Error as error:
            _roll_back(db)
            raise self._failure(error) from error
        except BaseException:
            _roll_back(db)
            raise
        if presence is not None:
            with self._ends_if_gone():
                presence.check_vital()

    @contextmanager
    def _ends_if_gone(self) -> Iterator[None]:
        try:
            yield
        except StorageGone as error:
            self._failed = error.message
            raise

    def _usable(self) -> sqlite3.Connection:
        if self._db is None:
            raise StorageError(f"{self._path} is not open")
        if self._lock is None or not self._lock.held:
            raise StorageError(f"{self._path} belongs to the process before a fork")
        if self._failed:
            raise StorageError(f"{self._path} is closed after a failure: {self._failed}")
        return self._db

    def _failure(self, error: sqlite3.Error) -> StorageError:
        """Translate an error of SQLite, and decide if the store may be used further.

        After a failed write or sync the contents of the disk are unknown, and a retry may succeed
        without writing. The store then refuses everything until it is opened again.
        """
        code = getattr(error, "sqlite_errorcode", 0)
        if code == sqlite3.SQLITE_FULL or self._ran_out_of_space(code):
            return StorageFull(
                f"{self._path}: no space left, nothing was written", path=str(self._path)
            )
        primary = code & 0xFF
        if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            self._failed = str(error)
            return fmt.corrupt(self._path, f"the database is damaged ({error})")
        if primary == sqlite3.SQLITE_IOERR:
            self._failed = str(error)
        return StorageError(f"{self._path}: {error}", path=str(self._path))

    def _ran_out_of_space(self, code: int) -> bool:
        # Some of SQLite's writes report a full disk as a plain I/O error; syncs do not.
        if code & 0xFF != sqlite3.SQLITE_IOERR or code == sqlite3.SQLITE_IOERR_FSYNC:
            return False
        try:
            free = os.statvfs(self._path.parent)
        except OSError:  # the disk is gone altogether
            return False
        return free.f_bavail * free.f_frsize < _NO_SPACE


def _nothing_but_entries(batches: Sequence[WriteBatch]) -> bool:
    return all(
        (b.hard_state, b.truncate_from, b.reset, b.snapshot) == (None, None, None, None)
        for b in batches
    )


def _cuts(batch: WriteBatch) -> bool:
    return batch.truncate_from is not None or batch.reset is not None


def _write_log(db: sqlite3.Connection, batch: WriteBatch) -> list[log.Run]:
    """Write the log part of a batch; return the added rows."""
    if batch.truncate_from is not None:
        log.cut(db, batch.truncate_from)
    if batch.reset is not None:
        # The rows before the new beginning are deleted as compacted ones.
        log.cut(db, batch.reset[0] + 1)
    rows = log.runs(batch.entries)
    log.append(db, rows)
    return rows


def _roll_back(db: sqlite3.Connection) -> None:
    # After some errors SQLite has already rolled back.
    with suppress(sqlite3.Error):
        if db.in_transaction:
            db.execute("ROLLBACK")
