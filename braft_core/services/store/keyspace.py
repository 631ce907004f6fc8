"""The keyspace: keys with all their versions, the revision, and what the leases hold.

Owns what one write does to the index, the history, the leases and the size. It checks nothing that
a caller could have wrong: :mod:`braft_core.services.store.txn` does that first, because a refused
command changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from braft_core.errors import Compacted, FutureRevision
from braft_core.services.store.history import History
from braft_core.services.store.index import Index
from braft_core.services.store.leases import NO_LEASE, Leases
from braft_core.services.store.limits import ALL, DEFAULT_QUOTA
from braft_core.services.store.records import (
    CREATE,
    KEY,
    LEASE,
    MOD,
    SUB,
    VALUE,
    VERSION,
    Record,
    Stored,
    record_bytes,
    stored,
    tombstone,
)

__all__ = ["Keyspace"]

#: How many events' superfluous versions a compaction drops at once (some 10 ms), and each later
#: write.
_AT_COMPACTION = 8_192
_AT_WRITE = 64


class Keyspace:
    """The state of the store, but for alarms and addresses. Not thread-safe."""

    def __init__(self) -> None:
        self.index = Index()
        self.history = History()
        self.leases = Leases()
        #: The revision of the newest write. An empty store is at revision 1, as etcd's.
        self.revision = 1
        #: What all records count, bytes.
        self.size = 0
        #: The most that they may count.
        self.quota = DEFAULT_QUOTA

    # -- reads -----------------------------------------------------------------------------------

    def check_revision(self, revision: int) -> None:
        """Check that a revision can be read; 0 is the newest.

        :raises Compacted: it was compacted. :raises FutureRevision: there is none yet.
        """
        if revision > self.revision:
            raise FutureRevision(
                f"revision {revision} is in the future: the store is at revision {self.revision}",
                revision=revision,
                current=self.revision,
            )
        if 0 < revision < self.history.compacted:
            raise Compacted(
                f"revision {revision} was compacted: the oldest that can be read is "
                f"{self.history.compacted}",
                revision=revision,
                compacted=self.history.compacted,
            )

    def get(self, key: bytes, revision: int) -> Record | None:
        """Return the version of a key at a revision, 0 for the newest."""
        if not revision or revision == self.revision:
            return self.index.newest(key)
        return self.index.at(key, revision)

    def records(self, key: bytes, end: bytes, revision: int) -> Iterator[Record]:
        """Iterate over a range at a revision, 0 for the newest. No write may come meanwhile."""
        if not revision or revision == self.revision:
            return self.index.newest_in(key, end)
        return self.index.at_in(key, end, revision)

    def count(self, key: bytes, end: bytes, revision: int) -> int:
        """Return how many keys of a range exist at a revision, 0 for the newest."""
        index = self.index
        if not revision or revision == self.revision:
            return index.count(key, end)
        if not end:
            return int(index.at(key, revision) is not None)
        held = index.held(key, end)
        if held <= self.history.count_after(revision):
            return sum(1 for _ in index.at_in(key, end, revision))
        # Few events since then: take back what they did to the number of today.
        count, seen = index.count(key, end), set()
        for record in self.history.after(revision):
            changed = record[KEY]
            if changed not in seen and _within(changed, key, end):
                seen.add(changed)
                count += (index.at(changed, revision) is not None) - (
                    index.newest(changed) is not None
                )
        return count

    def replaced(self, event: Record) -> Record | None:
        """Return the version that an event replaced; ``None`` for those of the compaction.

        What these replaced is dropped some time after the compaction, which nobody must see.
        """
        return self.index.before(event) if event[MOD] > self.history.compacted else None

    # -- writes ----------------------------------------------------------------------------------

    def put(
        self, key: bytes, value: bytes | None, lease: int | None, mod: int, sub: int
    ) -> Record | None:
        """Write a key; return the version that it replaces.

        :param mod: the next revision, or the newest if the same command has written before.
        :param sub: how many records the command has written before.
        :param value: ``None`` to keep the one it has.
        :param lease: ``None`` to keep the one it has.
        """
        old = self.index.newest(key)
        before = NO_LEASE if old is None else old[LEASE]
        after = before if lease is None else lease
        if old is None:
            record: Record = (key, value, mod, mod, sub, 1, after)
        else:
            kept = old[VALUE] if value is None else value
            # The key that is there: equal bytes are not kept twice.
            record = (old[KEY], kept, old[CREATE], mod, sub, old[VERSION] + 1, after)
        self._append(record, old)
        if after != before:
            if before:
                self.leases.detach(before, key)
            if after:
                self.leases.attach(after, record[KEY])
        return old

    def delete(self, key: bytes, end: bytes, mod: int, sub: int) -> list[Record]:
        """Delete the keys of a range; return the versions that were there."""
        if not end:
            old = self.index.newest(key)
            found = [] if old is None else [old]
        else:
            found = list(self.index.newest_in(key, end))
        for place, old in enumerate(found, sub):
            self._append(tombstone(old[KEY], mod, place), old)
            if old[LEASE]:
                self.leases.detach(old[LEASE], old[KEY])
        return found

    def delete_keys(self, keys: list[bytes]) -> int:
        """Delete keys in one revision, those of a lease that has ended; return the revision."""
        mod, sub = self.revision + 1, 0
        for key in keys:
            sub += len(self.delete(key, b"", mod, sub))
        self.tidy(sub)
        return self.revision

    def tidy(self, records: int) -> None:
        """Drop some superfluous versions, after a command that wrote so many records."""
        if self.history.has_garbage:
            self.history.drop_versions(self.index, _AT_WRITE + 2 * records)

    def compact(self, revision: int) -> None:
        """Forget what no revision from this one on shows.

        :raises Compacted: that is done. :raises FutureRevision: there is no such revision yet.
        """
        if revision <= self.history.compacted:
            raise Compacted(
                f"revision {revision} cannot be compacted again: the store is compacted up to "
                f"{self.history.compacted}",
                revision=revision,
                compacted=self.history.compacted,
            )
        self.check_revision(revision)
        self.size -= self.history.compact(revision, self.index)
        self.history.drop_versions(self.index, _AT_COMPACTION)

    def _append(self, record: Record, replaced: Record | None) -> None:
        held = stored(record)
        self.index.append(held)
        self.history.append(held, replaced)
        self.size += record_bytes(held)
        self.revision = record[MOD]

    def load(self, versions: Iterator[Record], compacted: int) -> None:
        """Fill an empty keyspace with records, in the order of keys and of their versions."""
        events: list[Stored] = []
        for held in map(stored, versions):
            self.index.append(held)
            self.size += record_bytes(held)
            if held[MOD] >= compacted:
                events.append(held)
        events.sort(key=_order)
        self.history.compacted = compacted
        for event in events:
            self.history.append(event, self.index.before(event))
        for record in self.index.newest_in(ALL, ALL):
            if record[LEASE]:
                self.leases.attach(record[LEASE], record[KEY])


def _order(record: Stored) -> tuple[int, int]:
    return record[MOD], record[SUB]


def _within(changed: bytes, key: bytes, end: bytes) -> bool:
    return key <= changed and (end == ALL or changed < end)
