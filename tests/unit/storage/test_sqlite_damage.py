"""With any value in any column, the store reads what was written or reports the damage."""

from __future__ import annotations

import shutil
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from braft_core.abc import StorageOptions, StoredState, WriteBatch
from braft_core.errors import StorageCorrupt
from braft_core.raft.types import Entry, HardState
from braft_core.storage.sqlite import SQLiteStorage
from braft_testing.storage import entries

COLUMNS = [
    *(("log", name) for name in ("first", "last", "entries", "crc")),
    *(("state", n) for n in ("term", "voted_for", "compacted_index", "compacted_term", "crc")),
    *(("meta", name) for name in ("key", "value", "crc")),
]
values = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(max_size=20),
    st.binary(max_size=20),
)


def load(folder: Path) -> tuple[StoredState, bytes | None]:
    store = SQLiteStorage(StorageOptions(folder))
    try:
        return store.open(), store.get_meta("name")
    finally:
        store.close()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a store: a row that waits for removal, one with the log's beginning, three more."""
    folder = tmp_path_factory.mktemp("written") / "data"
    store = SQLiteStorage(StorageOptions(folder), sweep_rows=1)
    store.open()
    store.write([WriteBatch(HardState(3, "n1"))])
    for index in range(1, 17, 3):
        store.write([WriteBatch(entries=entries(index, index + 2))])
    store.set_meta({"name": b"value"})
    store.compact(8, 1)
    store.close()
    with closing(sqlite3.connect(folder / "raft.db")) as db:
        assert db.execute("SELECT min(first), count(*) FROM log").fetchone() == (4, 5)
    return folder


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(column=st.sampled_from(COLUMNS), value=values, row=st.integers(0, 4))
def test_a_changed_column_is_found_or_changes_nothing(
    written: Path, tmp_path_factory: pytest.TempPathFactory, column: tuple[str, str], value: object,
    row: int,
) -> None:  # fmt: skip
    folder = tmp_path_factory.mktemp("damaged") / "data"
    shutil.copytree(written, folder)
    table, name = column
    with closing(sqlite3.connect(folder / "raft.db", isolation_level=None)) as db:
        try:
            db.execute(
                f"UPDATE {table} SET {name} = ? WHERE rowid = "  # noqa: S608 - names of ours
                f"(SELECT rowid FROM {table} LIMIT 1 OFFSET ?)",
                (value, row if table == "log" else 0),
            )
        except sqlite3.IntegrityError:
            return  # SQLite itself rejects it there
    try:
        found = load(folder)
    except StorageCorrupt:
        return
    assert found == load(written)


_PAGE = 4096


def _leaves(raw: bytes, number: int) -> Iterator[int]:
    """Return the leaf pages below a table page, in order (sqlite.org, "B-tree Pages")."""
    page = raw[(number - 1) * _PAGE : number * _PAGE]
    if page[0] == 13:
        yield number
        return
    (cells,) = struct.unpack_from(">H", page, 3)
    for at in struct.unpack_from(f">{cells}H", page, 12):
        yield from _leaves(raw, *struct.unpack_from(">I", page, at))
    yield from _leaves(raw, *struct.unpack_from(">I", page, 8))


def test_compacted_rows_in_the_place_of_the_last_ones_are_found(tmp_path: Path) -> None:
    """A disk may write a page to the place of another one, or not at all."""
    store = SQLiteStorage(StorageOptions(tmp_path))
    store.open()
    for index in range(1, 1101):
        store.write([WriteBatch(entries=[Entry(index, 1, 0, bytes(100))])])
    store.compact(1000, 1)
    store.close()
    path = tmp_path / "raft.db"
    with closing(sqlite3.connect(path)) as db:
        (root,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'log'").fetchone()
    raw = bytearray(path.read_bytes())
    first, *_, last = ((number - 1) * _PAGE for number in _leaves(bytes(raw), root))
    raw[last : last + _PAGE] = raw[first : first + _PAGE]
    path.write_bytes(raw)
    with pytest.raises(StorageCorrupt, match=r"log entry \d+ is not in its place"):
        load(tmp_path)
