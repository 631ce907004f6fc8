"""The snapshot of the store: captured at once, written in slices, read and checked.

msgpack values, one after the other: a head; a row for each lease; a record for each version that
the compaction leaves, in the order of keys and of their versions; the number of rows and records.
Equal states give equal bytes.

The capture notes the revision and keeps the versions of that time from being dropped. It copies
nothing of the records.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from operator import itemgetter
from typing import Any, Final, NamedTuple

import msgpack

from braft_core.abc import SlicedCapture
from braft_core.errors import DecodeError
from braft_core.gc_pause import gc_paused
from braft_core.services.store.index import retained
from braft_core.services.store.keyspace import Keyspace
from braft_core.services.store.leases import Leases
from braft_core.services.store.records import KEY, LEASE, MOD, VALUE, Record, whole

__all__ = ["FORMAT", "Capture", "Loaded", "check", "load"]

#: Of the snapshot, and of the rules by which commands are executed.
FORMAT: Final = 1
#: Keys that one slice visits at most; it takes some milliseconds.
_KEYS: Final = 2_048
#: What a record counts for the size of a slice beside key and value, so that many small ones, such
#: as the versions of a counter, make a slice too.
_ROW: Final = 64
#: Bytes that are decoded at a time, while the interpreter's lock is held.
_FEED: Final = 64 << 10
_NIL: Final = b"\xc0"

_mod = itemgetter(MOD)


class Capture(SlicedCapture):
    """The state as it was when this was made."""

    def __init__(self, keyspace: Keyspace, extra: dict[str, Any]) -> None:
        """Capture the state.

        :param extra: plain values of the head that are not the keyspace's.
        """
        # After a restore the store has other objects, and these stay as they are.
        self._index, self._history = keyspace.index, keyspace.history
        self._revision = keyspace.revision
        self._compacted = keyspace.history.compacted
        self._head: dict[str, Any] | None = {
            "format": FORMAT,
            "revision": self._revision,
            "compacted": self._compacted,
            "quota": keyspace.quota,
            "clock": keyspace.leases.head(),
            **extra,
        }
        self._leases: list[tuple[int, int, int]] = keyspace.leases.rows()
        self._packer = msgpack.Packer(autoreset=False)
        #: The first key that was not visited yet; ``None`` behind the last one.
        self._key: bytes | None = b""
        #: The last version of that key that was written; 0 for none.
        self._mod = 0
        #: How many rows and records were written.
        self._count = len(self._leases)
        self._history.pin(self)

    def next(self, size: int) -> bytes | None:
        """See :meth:`SlicedCapture.next`."""
        if self._head is not None:
            head, self._head = self._head, None
            return self._packed([head])
        if self._leases:
            rows, self._leases = self._leases[:_KEYS], self._leases[_KEYS:]
            return self._packed(rows)
        if self._key is None:
            return None
        return self._slice(self._key, size)

    def _packed(self, values: list[Any]) -> bytes:
        for value in values:
            self._packer.pack(value)
        return self._take()

    def _take(self) -> bytes:
        data: bytes = self._packer.bytes()
        self._packer.reset()
        return data

    def _slice(self, begin: bytes, room: int) -> bytes:
        pack, revision, compacted = self._packer.pack, self._revision, self._compacted
        done = self._mod
        for visited, (key, versions) in enumerate(self._index.versions_from(begin)):
            # Nearly every key has one version.
            if len(versions) > 1 or versions[0][VALUE] is None:
                versions = retained(versions, compacted)
                if visited == 0 and done:
                    versions = versions[bisect_right(versions, done, key=_mod) :]
            if visited >= _KEYS or room <= 0:
                self._key, self._mod = key, 0
                return self._take()
            for record in versions:
                if record[MOD] > revision:
                    break
                if room <= 0:
                    self._key, self._mod = key, done
                    return self._take()
                pack(whole(record))
                self._count += 1
                done = record[MOD]
                room -= _ROW + len(key) + len(record[VALUE] or b"")
        self._key = None
        self._history.unpin(self)
        pack(self._count)
        return self._take()


class _Head(NamedTuple):
    revision: int
    compacted: int
    quota: int
    clock: Any
    extra: dict[Any, Any]


class Loaded(NamedTuple):
    """A state that was read."""

    keyspace: Keyspace
    #: What the capture was given.
    extra: dict[Any, Any]


def load(chunks: Iterator[bytes]) -> Loaded:
    """Read a snapshot. :raises DecodeError: it is not a whole snapshot of the store."""
    head, rows, records = _read(chunks)
    keyspace = Keyspace()
    keyspace.leases.restore(head.clock, rows)
    keyspace.revision, keyspace.quota = head.revision, head.quota
    keyspace.load(_with_leases(records, keyspace.leases), head.compacted)
    return Loaded(keyspace, head.extra)


def check(chunks: Iterator[bytes]) -> dict[Any, Any]:
    """Read a snapshot and keep no records; return what the capture was given.

    :raises DecodeError: :func:`load` could not read it.
    """
    head, rows, records = _read(chunks)
    leases = Leases()
    leases.restore(head.clock, rows)
    for _ in _with_leases(records, leases):
        pass
    return head.extra


def _with_leases(records: Iterator[Record], leases: Leases) -> Iterator[Record]:
    """Pass records on. :raises DecodeError: a key has a lease that does not exist."""
    before: Record | None = None
    for record in records:
        if before is not None and before[KEY] != record[KEY]:
            _check_lease(before, leases)
        before = record
        yield record
    if before is not None:
        _check_lease(before, leases)


def _check_lease(newest: Record, leases: Leases) -> None:
    if newest[LEASE] and newest[LEASE] not in leases:
        raise _wrong(f"key {newest[KEY]!r:.80} has a lease that does not exist")


def _read(chunks: Iterator[bytes]) -> tuple[_Head, Iterator[Any], Iterator[Record]]:
    """Read the head; return it, and iterators over the leases and then over the records.

    :raises DecodeError: now or while iterating: it is not a whole snapshot of the store.
    """
    values = _Values(chunks)
    head = _read_head(next(values, None))
    return head, _leases(values), _records(values, head)


def _read_head(value: Any) -> _Head:
    match value:
        case {
            "format": 1,
            "revision": int(revision),
            "compacted": int(compacted),
            "quota": int(quota),
            "clock": clock,
            **extra,
        } if 0 <= compacted <= revision and revision > 0 <= quota:
            return _Head(revision, compacted, quota, clock, extra)
        case {"format": int(number)} if number > FORMAT:
            raise _wrong(f"its format is {number}, and this braft reads {FORMAT}: upgrade it")
    raise _wrong("it has no head")


def _leases(values: _Values) -> Iterator[Any]:
    for value in values:
        if not isinstance(value, list) or len(value) != 3:
            values.put_back(value)
            return
        values.count += 1
        yield value


def _records(values: _Values, head: _Head) -> Iterator[Record]:
    key, mod = b"", 0
    for value in values:
        if isinstance(value, int):
            break
        values.count += 1
        record = _record(value, head.revision)
        if record[KEY] < key or (record[KEY] == key and record[MOD] <= mod):
            raise _wrong(f"key {record[KEY]!r:.80} is not in its place")
        if record[KEY] == key:
            record = (key, *record[1:])
        key, mod = record[KEY], record[MOD]
        yield record
    else:
        raise _wrong("it ends early")
    if value != values.count:
        raise _wrong(f"it has {values.count} leases and records instead of {value}")
    if next(values, values) is not values:
        raise _wrong("there is more behind its end")


def _record(value: Any, newest: int) -> Record:
    match value:
        case [bytes(key), bytes(data), int(create), int(mod), int(sub), int(version), int(lease)]:
            possible = 0 < create <= mod <= newest and sub >= 0 < version and lease >= 0
            if key and possible and (version == 1) == (create == mod):
                return (key, data, create, mod, sub, version, lease)
        case [bytes(key), None, 0, int(mod), int(sub), 0, 0] if key and 0 < mod <= newest:
            if sub >= 0:
                return (key, None, 0, mod, sub, 0, 0)
    raise _wrong("a value that is no record")


class _Values:
    """The values of a snapshot, decoded in small pieces."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._values = _decoded(chunks)
        self._back: list[Any] = []
        #: How many leases and records were read.
        self.count = 0

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return self._back.pop() if self._back else next(self._values)

    def put_back(self, value: Any) -> None:
        """Have the next call return the value again."""
        self._back.append(value)


def _decoded(chunks: Iterator[bytes]) -> Iterator[Any]:
    unpacker = msgpack.Unpacker(max_buffer_size=0)
    for chunk in chunks:
        for start in range(0, len(chunk), _FEED):
            unpacker.feed(chunk[start : start + _FEED])
            with gc_paused():
                values = list(_complete(unpacker))
            yield from values
    # An incomplete value is still inside the unpacker and would swallow this one.
    unpacker.feed(_NIL)
    if list(_complete(unpacker)) != [None]:
        raise _wrong("it ends in the middle of a value")


def _complete(unpacker: msgpack.Unpacker) -> Iterator[Any]:
    try:
        yield from unpacker
    except Exception as error:  # msgpack documents that it may raise other errors than its own
        raise _wrong(str(error)) from error


def _wrong(why: str) -> DecodeError:
    return DecodeError(f"not a snapshot of the store: {why}")
