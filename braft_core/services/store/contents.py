"""What a store is filled with from outside, as the snapshot of a store that has it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgpack

from braft_core.errors import InvalidArgument
from braft_core.services.store.leases import MAX_LEASES, MAX_TTL, MIN_TTL, Leases, check_id
from braft_core.services.store.limits import DEFAULT_QUOTA
from braft_core.services.store.records import Record
from braft_core.services.store.snapshot import FORMAT

__all__ = ["StoreContents", "snapshot_of"]

_SECOND: Final = 1_000_000_000
#: Bytes of a chunk, about.
_CHUNK: Final = 256 << 10


class StoreContents(NamedTuple):
    """Keys with their versions, and leases."""

    #: That of the newest record or a later one; 1 for a store that was never written.
    revision: int
    #: The revision of the last compaction, 0 for none. Of the versions up to it only those are
    #: given that it leaves: the newest of a key, and a tombstone if it is of that revision.
    compacted: int
    #: Id and ttl in seconds. Each has its whole ttl left. A ttl below 2 seconds becomes 2.
    leases: Sequence[tuple[int, int]]
    #: In the order of their keys, those of a key in the order of their revisions; see
    #: :data:`braft_core.services.store.records.Record`.
    records: Sequence[Record]


def snapshot_of(contents: StoreContents) -> Iterator[bytes]:
    """Yield the bytes of a snapshot of the service ``store``.

    The records are not checked: :meth:`StoreService.check_snapshot` does that.

    :raises InvalidArgument: a lease has an id or a ttl that the store does not accept, or there are
        too many.
    """
    if len(contents.leases) > MAX_LEASES:
        raise InvalidArgument(
            f"there are {len(contents.leases):,} leases; accepted: {MAX_LEASES:,}"
        )
    head: dict[str, Any] = {
        "format": FORMAT,
        "revision": contents.revision,
        "compacted": contents.compacted,
        "quota": DEFAULT_QUOTA,  # the leader sets the one of its settings
        "clock": Leases().head(),
        "alarms": [],
        "members": [],
    }
    packer = msgpack.Packer(autoreset=False)
    packer.pack(head)
    for row in _rows(contents):
        packer.pack(row)
        if packer.getbuffer().nbytes >= _CHUNK:
            yield packer.bytes()
            packer.reset()
    packer.pack(len(contents.leases) + len(contents.records))
    yield packer.bytes()


def _rows(contents: StoreContents) -> Iterator[Any]:
    for lease, ttl in contents.leases:
        check_id(lease)
        if not 0 < ttl <= MAX_TTL:
            raise InvalidArgument(
                f"lease {lease} has a ttl of {ttl} s; accepted: 1 to {MAX_TTL:,}", lease=lease
            )
        duration = max(ttl, MIN_TTL) * _SECOND
        yield lease, duration, duration
    yield from contents.records
