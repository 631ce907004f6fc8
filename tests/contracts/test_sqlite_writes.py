"""What one write of the SQLite store is for the disk: one transaction, one sync."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from braft_core.abc import StorageOptions, WriteBatch
from braft_core.errors import StorageFull, StorageGone
from braft_core.raft import Entry, EntryType, HardState
from braft_core.storage.sqlite import SQLiteStorage

#: ``PRAGMA synchronous``: each commit is on the disk before it returns.
_FULL = 2


def _entries(first: int, count: int, size: int = 10) -> list[Entry]:
    return [
        Entry(index, 1, EntryType.COMMAND, bytes(size)) for index in range(first, first + count)
    ]


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[sqlite3.Connection]:
    """Return the connections that the store makes."""
    made: list[sqlite3.Connection] = []
    connect = sqlite3.connect

    def connecting(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        made.append(connect(*args, **kwargs))
        return made[-1]

    monkeypatch.setattr(sqlite3, "connect", connecting)
    return made


def test_every_write_is_one_transaction_and_is_synced(
    tmp_path: Path, connections: list[sqlite3.Connection]
) -> None:
    store = SQLiteStorage(StorageOptions(tmp_path / "data"))
    store.open()
    database = connections[-1]
    assert database.execute("PRAGMA synchronous").fetchone() == (_FULL,)
    statements: list[str] = []
    database.set_trace_callback(statements.append)
    writes = [
        [WriteBatch(entries=_entries(1, 3))],
        [WriteBatch(HardState(2, "a"), entries=_entries(4, 2)), WriteBatch(HardState(3, "b"))],
        [WriteBatch(entries=_entries(6, 3, 1 << 20))],  # several rows
        [WriteBatch(HardState(4, ""), truncate_from=5, entries=_entries(5, 1))],
        [WriteBatch(reset=(50, 4), entries=_entries(51, 2))],
    ]
    for batches in writes:
        statements.clear()
        store.write(batches)
        commits = statements.count("COMMIT")
        changes = [s for s in statements if s.startswith(("INSERT", "DELETE", "UPDATE"))]
        # A single statement is a transaction by itself.
        assert commits == 1 or (commits == 0 and len(changes) == 1), statements
    store.close()


def test_entries_that_had_no_room_can_be_written_later(
    tmp_path: Path, connections: list[sqlite3.Connection]
) -> None:
    """The store's idea of the log's end is that of the disk, also after a write that failed."""
    store = SQLiteStorage(StorageOptions(tmp_path / "data"))
    store.open()
    store.write([WriteBatch(HardState(1, ""), entries=_entries(1, 1))])  # it sweeps
    store.write([WriteBatch(entries=_entries(2, 1))])
    database, big = connections[-1], [WriteBatch(entries=_entries(3, 2, 100_000))]
    (pages,) = database.execute("PRAGMA page_count").fetchone()
    database.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(StorageFull):
        store.write(big)
    database.execute("PRAGMA max_page_count = 1000000")
    store.write(big)
    store.write([WriteBatch(entries=_entries(5, 1))])
    store.close()
    again = SQLiteStorage(StorageOptions(tmp_path / "data"))
    assert [entry.index for entry in again.open().entries] == [1, 2, 3, 4, 5]
    again.close()


def test_a_write_to_files_that_vanish_meanwhile_does_not_count(
    tmp_path: Path, connections: list[sqlite3.Connection]
) -> None:
    """SQLite writes on into a deleted file: the next start would not find it."""
    store = SQLiteStorage(StorageOptions(tmp_path / "data"))
    store.open()
    store.write([WriteBatch(HardState(1, ""), entries=_entries(1, 1))])

    def vanish(statement: str) -> None:
        if statement.startswith("INSERT"):
            (tmp_path / "data" / "raft.db").unlink(missing_ok=True)

    connections[-1].set_trace_callback(vanish)
    with pytest.raises(StorageGone):
        store.write([WriteBatch(entries=_entries(2, 1))])
    store.close()
