"""A database of etcd as the contents of a store: ``etcdctl snapshot save``, or a member's own.

Keys with create and mod revisions, versions and the history since the last compaction are taken as
they are, and the leases with their whole TTL. :attr:`Database.notes` say what is not taken.
"""

from __future__ import annotations

import hashlib
import struct
from bisect import bisect_right
from collections.abc import Iterator
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

from braft_core.errors import ConfigError, DecodeError
from braft_core.store_import import StoreContents
from braft_etcd import bolt_reader
from braft_etcd.wire import WireError, decode
from braft_etcd.wire.messages import message

__all__ = ["Database", "read_database"]

_KEY_VALUE: Final = message("KeyValue")
_LEASE: Final = message("StoredLease")
#: Main revision, ``_``, sub-revision.
_REVISION: Final = struct.Struct(">QcQ")
_NUMBER: Final = struct.Struct(">Q")
_TOMBSTONE: Final = b"t"
_MAX: Final = (1 << 63) - 1
#: Behind a snapshot stands its SHA-256, as etcd sees by the size of the file.
_DIGEST: Final = 32
_UNIT: Final = 512
_BLOCK: Final = 1 << 20

#: Records as the store has them: key, value, create, mod, sub, version, lease.
_Record = tuple[bytes, "bytes | None", int, int, int, int, int]
_mod = itemgetter(3)


class Database(NamedTuple):
    """What was read."""

    contents: StoreContents
    #: The number of keys that exist.
    keys: int
    #: What the file has and the contents have not; sentences.
    notes: list[str]


def read_database(path: Path) -> Database:
    """Read a database of etcd and check all that is taken of it.

    Memory holds all records, as the store will.

    :raises ConfigError: the file cannot be read.
    :raises DecodeError: it is not a database of etcd, or is damaged, and how.
    """
    try:
        with path.open("rb") as file:
            return _read(file)
    except OSError as error:
        raise ConfigError(
            f"FILE={str(path)!r} cannot be read: {error.strerror or error}", path=str(path)
        ) from error
    except DecodeError as error:
        raise DecodeError(f"{path}: {error.message}", path=str(path)) from error


def _read(file: BinaryIO) -> Database:
    database = bolt_reader.Database(file, _checked_size(file))
    names = database.names
    if b"key" not in names or b"meta" not in names:
        shown = ", ".join(name.decode(errors="replace") for name in names[:10]) or "none"
        raise _wrong(f"it has not the buckets 'key' and 'meta' of etcd, but {shown}")
    compacted = _compacted(dict(_small(database, b"meta")))
    versions, newest = _versions(database.items(b"key"))
    leases = dict(_leases(database)) if b"lease" in names else {}
    notes: list[str] = []
    records = list(_kept(versions, compacted, leases, notes))
    if b"auth" in names and dict(_small(database, b"auth")).get(b"authEnabled") == b"\1":
        notes.append("users and roles of etcd are not taken: braft's tokens decide who may call")
    newest_of_keys = {record[0]: record[1] for record in records}
    keys = sum(value is not None for value in newest_of_keys.values())
    revision = max(newest, compacted, 1)
    contents = StoreContents(revision, compacted, sorted(leases.items()), records)
    return Database(contents, keys, notes)


def _checked_size(file: BinaryIO) -> int:
    """Return how many bytes are the database. :raises DecodeError: they are not what was saved."""
    size = file.seek(0, 2)
    rest = size % _UNIT
    if rest == 0:
        return size
    if rest != _DIGEST:
        raise _wrong(f"its {size} bytes are neither a database nor a snapshot: it is cut off")
    digest = hashlib.sha256()
    file.seek(0)
    left = size - _DIGEST
    while left and (block := file.read(min(_BLOCK, left))):
        digest.update(block)
        left -= len(block)
    if file.read(_DIGEST) != digest.digest():
        raise _wrong("its checksum (SHA-256) is wrong: it is damaged")
    return size - _DIGEST


def _small(database: bolt_reader.Database, name: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Iterate over a bucket of which some values are wanted, none of them large."""
    for key, value in database.items(name):
        if len(value) <= _REVISION.size:
            yield key, value


def _compacted(meta: dict[bytes, bytes]) -> int:
    """Return the revision of the last compaction, also of one that etcd had not finished."""
    found = 0
    for name in (b"finishedCompactRev", b"scheduledCompactRev"):
        if name in meta:
            found = max(found, _revision(meta[name])[0])
    return found


def _revision(key: bytes) -> tuple[int, int, bool]:
    """Return main and sub-revision, and whether it is that of a tombstone."""
    mark = key[_REVISION.size :]
    if len(key) >= _REVISION.size and mark in (b"", _TOMBSTONE):
        main, between, sub = _REVISION.unpack_from(key)
        if between == b"_" and main <= _MAX and sub <= _MAX:
            return main, sub, bool(mark)
    raise _wrong(f"{key!r:.80} is not a revision")


def _versions(items: Iterator[tuple[bytes, bytes]]) -> tuple[dict[bytes, list[_Record]], int]:
    """Return the versions of each key in their order, and the newest revision."""
    versions: dict[bytes, list[_Record]] = {}
    newest = 0
    for place, value in items:
        newest, sub, deleted = _revision(place)
        record = _record(_decoded(_KEY_VALUE, value, "record"), newest, sub, deleted)
        held = versions.setdefault(record[0], [])
        if held and held[-1][3] == newest:
            raise _wrong(
                f"key {record[0]!r:.80} has two records of revision {newest}, which etcd 3.3 and "
                "later do not write; compact and defragment that etcd, and save it again"
            )
        # The key that is there: equal bytes are not kept twice.
        held.append((held[0][0], *record[1:]) if held else record)
    return versions, newest


def _record(found: dict[str, Any], mod: int, sub: int, deleted: bool) -> _Record:
    key: bytes = found["key"]
    if not key or not mod:
        raise _wrong(f"the record of revision {mod} has no key")
    if deleted:
        return (key, None, 0, mod, sub, 0, 0)
    create, version, lease = found["create_revision"], found["version"], found["lease"]
    if (
        found["mod_revision"] != mod
        or not 0 < create <= mod
        or version <= 0
        or lease < 0
        or (version == 1) != (create == mod)
    ):
        raise _wrong(
            f"the record of key {key!r:.80} in revision {mod} says: created in {create}, changed "
            f"in {found['mod_revision']}, version {version}, lease {lease}"
        )
    return (key, found["value"], create, mod, sub, version, lease)


def _decoded(kind: Any, data: bytes, what: str) -> dict[str, Any]:
    try:
        return decode(kind, data)
    except WireError as error:
        raise _wrong(f"a {what} cannot be read: {error}") from error


def _leases(database: bolt_reader.Database) -> Iterator[tuple[int, int]]:
    for key, value in database.items(b"lease"):
        found = _decoded(_LEASE, value, "lease")
        lease, ttl = found["ID"], found["TTL"]
        if key != _NUMBER.pack(lease & ((1 << 64) - 1)) or lease <= 0 or ttl <= 0:
            raise _wrong(f"lease {lease} of {ttl} s, at {key!r:.80}, is none")
        yield lease, ttl


def _kept(
    versions: dict[bytes, list[_Record]],
    compacted: int,
    leases: dict[int, int],
    notes: list[str],
) -> Iterator[_Record]:
    """Iterate over what the compaction leaves, in the order of keys and of their versions."""
    lost = 0
    for key in sorted(versions):
        kept = _retained(versions.pop(key), compacted)
        if kept and kept[0][3] > compacted and kept[0][5] != 1:
            raise _wrong(f"key {key!r:.80} begins with version {kept[0][5]}, and none is compacted")
        for before, after in pairwise(kept):
            _check_succession(before, after)
        if kept and kept[-1][6] and kept[-1][6] not in leases:
            # etcd had begun to revoke the lease.
            kept[-1] = (*kept[-1][:6], 0)
            lost += 1
        yield from kept
    if lost:
        notes.append(f"{lost} keys have a lease that does not exist; they have none now")


def _retained(versions: list[_Record], compacted: int) -> list[_Record]:
    first = bisect_right(versions, compacted, key=_mod) - 1
    if first < 0:
        return versions
    last = versions[first]
    if last[1] is None and last[3] < compacted:
        first += 1
    return versions[first:]


def _check_succession(before: _Record, after: _Record) -> None:
    """Check that a version of a key can come after another one."""
    if after[1] is None:
        possible = before[1] is not None
    elif before[1] is None:
        possible = after[5] == 1
    else:
        possible = (after[2], after[5]) == (before[2], before[5] + 1)
    if not possible:
        raise _wrong(
            f"key {after[0]!r:.80} has version {after[5]} in revision {after[3]}, after version "
            f"{before[5]} in revision {before[3]}"
        )


def _wrong(why: str) -> DecodeError:
    return DecodeError(f"not a database of etcd: {why}")
