"""The table ``log`` of ``raft.db``: runs of consecutive entries, a row each.

Entries that become durable together are one row with one blob and one checksum, so that they share
the cost of a row. This module converts entries to rows and back, truncates the log, and deletes
rows before its beginning. Transactions belong to the caller; nothing here knows about files.

A blob holds each entry as ``term``, ``appended_at``, ``type``, the lengths of ``data`` and
``extensions`` (little-endian, :data:`_HEAD`), and these two. Entries are in order of their indexes.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple
from zlib import crc32

from braft_core.errors import StorageError
from braft_core.raft.types import Entry

__all__ = ["SCHEMA", "Damaged", "Run", "append", "checksum", "cut", "read", "runs", "sweep"]

SCHEMA = "CREATE TABLE log (first INTEGER PRIMARY KEY, last INTEGER, entries BLOB, crc INTEGER)"

_ADD = "INSERT INTO log VALUES (?, ?, ?, ?)"
_REMOVE_FROM = "DELETE FROM log WHERE first >= ?"
_ROWS = "SELECT first, last, entries, crc FROM log ORDER BY first"
_LAST = f"{_ROWS} DESC LIMIT 1"
#: The last of up to ``rows`` rows that end before the log begins and together hold at most ``size``
#: bytes, but at least the first of them; NULL without such rows. ``length`` stands innermost, where
#: SQLite reads it from the row's header; further out it would read the blobs of all those rows.
_REACHED = (
    "SELECT coalesce(max(first) FILTER (WHERE upto <= :size), min(first)) FROM (SELECT first,"
    " sum(bytes) OVER (ORDER BY first) AS upto FROM (SELECT first, length(entries) AS bytes FROM"
    " log WHERE first <= :compacted AND last <= :compacted ORDER BY first LIMIT :rows))"
)
_REMOVE_TO = "DELETE FROM log WHERE first <= ?"

_BOUNDS = struct.Struct("<qq")
_HEAD = struct.Struct("<qqiII")

#: The most entries, and bytes of data and extensions, in one row; a larger entry has its own row.
_MAX_ENTRIES = 4096
_MAX_BYTES = 1 << 20
#: Rows and bytes that a write deletes at least. A write that adds more deletes twice what it adds,
#: so that old rows never accumulate.
SWEEP_ROWS = 512
_SWEEP_BYTES = 1 << 20


class Damaged(sqlite3.DatabaseError):
    """A row is damaged. ``first`` is the first index in it."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT

    def __init__(self, first: int, last: object, *, misplaced: bool = False) -> None:
        if isinstance(last, int) and last > first:
            which = f"log entries {first} to {last}"
            what = "are not in their place" if misplaced else "fail their checksum"
        else:
            which = f"log entry {first}"
            what = "is not in its place" if misplaced else "fails its checksum"
        super().__init__(f"{which} {what}")
        self.first = first


class Run(NamedTuple):
    """One row: consecutive entries."""

    first: int
    last: int
    entries: bytes
    crc: int


def runs(entries: Sequence[Entry]) -> list[Run]:
    """Return consecutive entries as rows. :raises StorageError: a number does not fit."""
    pack = _HEAD.pack
    found: list[Run] = []
    parts: list[bytes] = []
    first, size = entries[0].index if entries else 0, 0
    try:
        for index, term, kind, data, extensions, appended_at in entries:
            length, more = len(data), len(extensions)
            if parts and (size + length + more > _MAX_BYTES or index - first >= _MAX_ENTRIES):
                found.append(_run(first, index - 1, parts))
                parts, first, size = [], index, 0
            parts += pack(term, appended_at, kind, length, more), data, extensions
            size += length + more
        if parts:
            found.append(_run(first, entries[-1].index, parts))
    except (struct.error, TypeError) as error:
        raise StorageError(f"an entry cannot be stored: {error}") from error
    return found


def _run(first: int, last: int, parts: list[bytes]) -> Run:
    blob = b"".join(parts)
    return Run(first, last, blob, checksum(first, last, blob))


def checksum(first: int, last: int, blob: bytes) -> int:
    """Return the CRC-32 of a row. :raises TypeError, struct.error: a column has a wrong type."""
    return crc32(blob, crc32(_BOUNDS.pack(first, last)))


def append(db: sqlite3.Connection, rows: Sequence[Run]) -> None:
    """Add rows. Without an open transaction, each row is one."""
    for row in rows:
        db.execute(_ADD, row)


def cut(db: sqlite3.Connection, first_removed: int) -> None:
    """Remove the entries from that index on. :raises Damaged: the row that holds it is damaged."""
    db.execute(_REMOVE_FROM, (first_removed,))
    row = db.execute(_LAST).fetchone()
    if row is not None and _checked(row).last >= first_removed:
        kept = _entries(row)[: first_removed - row[0]]
        db.execute(_REMOVE_FROM, (row[0],))
        append(db, runs(kept))


def sweep(
    db: sqlite3.Connection, compacted_index: int, added: Sequence[Run], rows: int = SWEEP_ROWS
) -> bool:
    """Delete some compacted rows; return ``False`` if there were none.

    The row that holds the log's beginning stays.

    :param added: rows that are written in the same transaction.
    """
    limits = {
        "compacted": compacted_index,
        "rows": max(rows, 2 * len(added)),
        "size": max(_SWEEP_BYTES, 2 * sum(len(row.entries) for row in added)),
    }
    (reached,) = db.execute(_REACHED, limits).fetchone()
    if reached is None:
        return False
    db.execute(_REMOVE_TO, (reached,))
    return True


def read(db: sqlite3.Connection, compacted_index: int) -> Iterator[list[Entry]]:
    """Yield for each row of the log, in order, its entries after ``compacted_index``.

    Rows that are to be deleted are checked too, since damage may make a row look like one. So is
    their order: a stray page of such rows could replace the last page and hide its entries.

    :raises Damaged: a row fails its checksum, or does not follow the one before it.
    """
    end = 0
    for row in db.execute(_ROWS):
        first, last, _, _ = _checked(row)
        if not end < first <= last:
            raise Damaged(first, last, misplaced=True)
        if last > compacted_index:
            yield _entries(row)[max(0, compacted_index + 1 - first) :]
        end = last


def _checked(row: Any) -> Run:
    # Damage may change a column's type as well as its value, hence the exceptions.
    first, last, blob, crc = row
    try:
        intact = checksum(first, last, blob) == crc
    except (TypeError, struct.error):
        intact = False
    if not intact:
        raise Damaged(first, last)
    return Run(first, last, blob, crc)


def _entries(row: Any) -> list[Entry]:
    first, last, blob, _ = row
    found: list[Entry] = []
    at = 0
    try:
        for index in range(first, last + 1):
            term, appended_at, kind, length, more = _HEAD.unpack_from(blob, at)
            data = at + _HEAD.size
            extensions = data + length
            at = extensions + more
            found.append(
                Entry(index, term, kind, blob[data:extensions], blob[extensions:at], appended_at)
            )
    except struct.error:
        raise Damaged(first, last) from None
    if at != len(blob):
        raise Damaged(first, last)
    return found
