"""``Maintenance/Snapshot``: the store as the database of an etcd.

``etcdutl snapshot restore`` makes a member of etcd of it, with the same keys, revisions and leases.
"""

from __future__ import annotations

import asyncio
import hashlib
import struct
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import closing
from typing import Any, BinaryIO, Final, NamedTuple

from braft_core.errors import Compacted
from braft_core.http2 import Call
from braft_core.tokens import Role
from braft_etcd.backend import Backend
from braft_etcd.bolt import Items, write_database
from braft_etcd.operations import key_value
from braft_etcd.rpc import Rpc, rpc
from braft_etcd.wire import Values, encode
from braft_etcd.wire.messages import message

__all__ = ["SnapshotHandlers"]

_ALL: Final = b"\0"
#: Bytes of records that one query returns.
_PAGE_BYTES: Final = 1 << 20
_LEASES: Final = 10_000
#: Bytes of a message.
_BLOB: Final = 32 << 10
#: Times that a compaction may come between.
_ATTEMPTS: Final = 5
_MOD, _SUB, _VALUE, _KEY = 3, 4, 1, 0
_REVISION: Final = struct.Struct(">QcQ")
_NUMBER: Final = struct.Struct(">Q")
_KEY_VALUE: Final = message("KeyValue")
_LEASE: Final = message("StoredLease")
_CONF_STATE: Final = b'{"voters":[1],"auto_leave":false}'
#: Buckets that a member of etcd expects and that are empty.
_EMPTY: Final = (b"alarm", b"auth", b"authRoles", b"authUsers", b"members", b"members_removed")


class _State(NamedTuple):
    """What a database is made of."""

    compacted: int
    #: In the order of their revisions.
    records: list[Any]
    #: Id and ttl.
    leases: list[tuple[int, int]]
    applied: int
    term: int


class SnapshotHandlers:
    """Handlers of one node."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def calls(self) -> tuple[Rpc, ...]:
        """Return the call."""
        return (rpc("Maintenance/Snapshot", stream=self.snapshot, role=Role.ADMIN, takes_one=True),)

    async def snapshot(self, _requests: AsyncIterator[Values], call: Call) -> AsyncIterator[Values]:
        """Send the database, and its SHA-256 behind it."""
        await self._backend.query(call, "count", _ALL)  # this node is then as new as the call
        state = await self._read()
        version = f"{self._backend.version.rpartition('.')[0]}.0"
        with closing(tempfile.TemporaryFile()) as file:
            size = await asyncio.to_thread(_write, file, state, version)
            header = self._backend.header(self._backend.revision)
            file.seek(0)
            digest = hashlib.sha256()
            left = size
            while left:
                blob = await asyncio.to_thread(file.read, min(_BLOB, left))
                digest.update(blob)
                left -= len(blob)
                yield {
                    "header": header,
                    "remaining_bytes": left,
                    "blob": blob,
                    "version": version,
                }
            yield {"header": header, "blob": digest.digest(), "version": version}

    async def _read(self) -> _State:
        """Read the history of this node; a compaction meanwhile starts it over.

        :raises Compacted: one came between each time.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return await self._read_once()
            except Compacted:
                if attempt == _ATTEMPTS:
                    raise
        raise Compacted("the history is compacted all the time")

    async def _read_once(self) -> _State:
        status = await self._backend.stale("status")
        compacted, newest = status["compacted"], status["revision"]
        leases = await self._leases()
        records = await self._base(compacted)
        begin = compacted + 1
        while begin <= newest:
            _, begin, events = await self._backend.stale("events", begin, _PAGE_BYTES)
            records += [event[0] for event in events if event[0][_MOD] <= newest]
        details = self._backend.refresh()
        return _State(compacted, records, leases, details["appliedIndex"], details["term"])

    async def _base(self, revision: int) -> list[Any]:
        """Return what was there at the compaction, in the order of the revisions."""
        found: list[Any] = []
        key, more = _ALL, revision > 0
        while more:
            query = (key, _ALL, 0, revision, None, None, 0, _PAGE_BYTES)
            _, _, more, records = await self._backend.stale("range", *query)
            found += records
            if records:
                key = records[-1][_KEY] + b"\0"
        found.sort(key=lambda record: (record[_MOD], record[_SUB]))
        return found

    async def _leases(self) -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = []
        after = 0
        while ids := await self._backend.stale("leases", after, _LEASES):
            after = ids[-1]
            for lease in ids:
                row = await self._backend.stale("lease", lease)
                if row is not None:
                    found.append((lease, int(row[0])))
        return found


def _write(file: BinaryIO, state: _State, version: str) -> int:
    buckets: dict[bytes, Items] = dict.fromkeys(_EMPTY, ())
    buckets[b"cluster"] = [(b"clusterVersion", version.encode())]
    buckets[b"key"] = _records(state.records)
    buckets[b"lease"] = _stored_leases(state.leases)
    buckets[b"meta"] = sorted(_meta(state, version))
    return write_database(file, sorted(buckets.items(), key=lambda item: item[0]))


def _records(records: Iterable[Any]) -> Iterator[tuple[bytes, bytes]]:
    for record in records:
        place = _REVISION.pack(record[_MOD], b"_", record[_SUB])
        if record[_VALUE] is None:
            yield place + b"t", encode(_KEY_VALUE, {"key": record[_KEY]})
        else:
            yield place, key_value(record)


def _stored_leases(leases: Iterable[tuple[int, int]]) -> Iterator[tuple[bytes, bytes]]:
    for lease, ttl in leases:
        yield _NUMBER.pack(lease), encode(_LEASE, {"ID": lease, "TTL": ttl})


def _meta(state: _State, version: str) -> Iterator[tuple[bytes, bytes]]:
    yield b"confState", _CONF_STATE
    yield b"consistent_index", _NUMBER.pack(state.applied)
    yield b"storageVersion", version.encode()
    yield b"term", _NUMBER.pack(state.term)
    if state.compacted > 0:
        compacted = _REVISION.pack(state.compacted, b"_", 0)
        yield b"finishedCompactRev", compacted
        yield b"scheduledCompactRev", compacted
