"""Runs of entries in the table ``log``: it reads back after any additions, cuts and sweeps."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braft_core.errors import StorageError
from braft_core.raft.types import Entry
from braft_core.storage import sqlite_log
from braft_testing.storage import entries

contents = st.tuples(
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-(2**31), 2**31 - 1),
    st.binary(max_size=40),
    st.binary(max_size=5),
    st.integers(-(2**63), 2**63 - 1),
)
#: Add these entries, or truncate or compact that part of the log.
steps = st.one_of(
    st.tuples(st.just("add"), st.lists(contents, min_size=1, max_size=9)),
    st.tuples(st.just("cut"), st.floats(0, 1)),
    st.tuples(st.just("compact"), st.floats(0, 1)),
)


@contextmanager
def database() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        db.execute(sqlite_log.SCHEMA)
        yield db


def stored(db: sqlite3.Connection, compacted_index: int = 0) -> list[Entry]:
    return [entry for run in sqlite_log.read(db, compacted_index) for entry in run]


def count(db: sqlite3.Connection) -> int:
    found: int = db.execute("SELECT count(*) FROM log").fetchone()[0]
    return found


@given(st.lists(steps, max_size=30))
def test_the_log_reads_back_after_any_changes(changes: list[tuple[str, object]]) -> None:
    expected: list[Entry] = []
    compacted = 0
    with database() as db:
        for change, what in changes:
            if isinstance(what, list):
                first = compacted + len(expected) + 1
                added = [Entry(first + n, *each) for n, each in enumerate(what)]
                sqlite_log.append(db, sqlite_log.runs(added))
                expected += added
            elif isinstance(what, float):
                reached = int(what * len(expected))
                if change == "cut":
                    sqlite_log.cut(db, compacted + reached + 1)
                    expected = expected[:reached]
                else:
                    compacted, expected = compacted + reached, expected[reached:]
                    sqlite_log.sweep(db, compacted, ())
            assert stored(db, compacted) == expected


def test_entries_written_together_are_one_row() -> None:
    assert [(run.first, run.last) for run in sqlite_log.runs(entries(5, 1028))] == [(5, 1028)]
    assert sqlite_log.runs([]) == []


def test_a_row_is_bounded_in_entries_and_bytes() -> None:
    many = sqlite_log.runs(entries(1, 9000))
    assert [(run.first, run.last) for run in many] == [(1, 4096), (4097, 8192), (8193, 9000)]
    large = [Entry(n, 1, 0, b"x" * 700_000, b"y" * 100_000) for n in range(1, 4)]
    huge = Entry(4, 1, 0, b"z" * (3 << 20))
    assert [run.last for run in sqlite_log.runs([*large, huge])] == [1, 2, 3, 4]


def test_a_row_is_added_whole_by_one_statement() -> None:
    with database() as db:
        before = db.total_changes
        sqlite_log.append(db, sqlite_log.runs(entries(1, 1000)))
        assert db.total_changes == before + 1


def test_nothing_to_sweep_is_said() -> None:
    with database() as db:
        sqlite_log.append(db, sqlite_log.runs(entries(1, 5)))
        assert not sqlite_log.sweep(db, 4, ())
        assert sqlite_log.sweep(db, 5, ())
        assert not sqlite_log.sweep(db, 5, ())
        assert count(db) == 0


def test_rows_are_removed_without_being_read() -> None:
    """Otherwise, while large rows wait, each write would read 512 MiB to remove one of them."""
    with database() as db:
        for index in range(1, 5):
            sqlite_log.append(db, sqlite_log.runs([Entry(index, 1, 0, bytes(600_000))]))
        db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 10_000)  # longer blobs cannot be read
        for left in (3, 2, 1, 0):
            assert sqlite_log.sweep(db, 4, ())
            assert count(db) == left


@pytest.mark.parametrize("spoil", [lambda b: b[:-1], lambda b: b + b"x", lambda b: b[:30]])
def test_a_blob_that_does_not_add_up_is_damage(spoil: object) -> None:
    """It is detected even if the checksum is right."""
    assert callable(spoil)
    run = sqlite_log.runs(entries(1, 3))[0]
    blob = spoil(run.entries)
    rebuilt = sqlite_log.Run(1, 3, blob, sqlite_log.checksum(1, 3, blob))
    with database() as db:
        sqlite_log.append(db, [rebuilt])
        with pytest.raises(sqlite_log.Damaged, match="log entries 1 to 3 fail their checksum"):
            stored(db)


def test_a_damaged_row_is_not_cut_into() -> None:
    with database() as db:
        sqlite_log.append(db, sqlite_log.runs(entries(1, 3)))
        db.execute("UPDATE log SET crc = 0")
        with pytest.raises(sqlite_log.Damaged):
            sqlite_log.cut(db, 2)


@pytest.mark.parametrize("field", [{"term": 2**63}, {"type": 2**31}, {"data": None}])
def test_what_does_not_fit_is_refused(field: dict[str, Any]) -> None:
    with pytest.raises(StorageError, match="an entry cannot be stored"):
        sqlite_log.runs([entries(1, 1)[0]._replace(**field)])
