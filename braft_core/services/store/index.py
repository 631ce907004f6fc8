"""The keys in order, each with its versions.

Owns where a version is found: the newest, or that of a revision. Counting takes the logarithm of
the number of keys. Must not know which versions are to be dropped, nor why.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any, TypeAlias, cast

from sortedcontainers import SortedDict, SortedSet

from braft_core.services.store.limits import ALL
from braft_core.services.store.records import KEY, MOD, VALUE, Record, Stored, whole

__all__ = ["Index", "retained"]

#: A key with one version holds the record itself. That saves a container for most keys, and a
#: tuple of records is not followed by the garbage collector. Only keys with many versions, of which
#: there are few, have a list: to copy a long tuple for each put would take too long.
Versions: TypeAlias = Stored | tuple[Stored, ...] | list[Stored]

#: The most versions in a tuple.
_SHORT = 16

_mod = itemgetter(MOD)


class Index:
    """Versions by key. Not thread-safe."""

    __slots__ = ("_dead", "_keys")

    def __init__(self) -> None:
        self._keys: Any = SortedDict()
        #: Keys whose newest version is a tombstone.
        self._dead: Any = SortedSet()

    def __len__(self) -> int:
        """Return the number of keys that exist."""
        return len(self._keys) - len(self._dead)

    def append(self, record: Stored) -> None:
        """Add the newest version of its key."""
        key = record[KEY]
        held: Versions | None = self._keys.get(key)
        if held is None:
            self._keys[key] = record
        else:
            self._keys[key] = _with(held, record)
            if self._dead:
                self._dead.discard(key)
        if record[VALUE] is None:
            self._dead.add(key)

    def newest(self, key: bytes) -> Record | None:
        """Return the newest version of a key that exists."""
        held: Versions | None = self._keys.get(key)
        if held is None:
            return None
        record = cast(Stored, held if type(held[0]) is bytes else held[-1])
        return None if record[VALUE] is None else whole(record)

    def at(self, key: bytes, revision: int) -> Record | None:
        """Return the version of a key at a revision."""
        held: Versions | None = self._keys.get(key)
        return None if held is None else _at(_versions(held), revision)

    def before(self, record: Stored) -> Record | None:
        """Return the version of the record's key that the record replaced, if it is still held."""
        held: Versions | None = self._keys.get(record[KEY])
        return None if held is None else _at(_versions(held), record[MOD] - 1)

    def newest_in(self, key: bytes, end: bytes) -> Iterator[Record]:
        """Iterate over the newest versions in a range, in the order of keys."""
        for each in self._keys_in(key, end):
            record = self.newest(each)
            if record is not None:
                yield record

    def at_in(self, key: bytes, end: bytes, revision: int) -> Iterator[Record]:
        """Iterate over the versions in a range at a revision, in the order of keys."""
        for each in self._keys_in(key, end):
            record = self.at(each, revision)
            if record is not None:
                yield record

    def count(self, key: bytes, end: bytes) -> int:
        """Return how many keys of a range exist."""
        if not end:
            return int(self.newest(key) is not None)
        found = self.held(key, end)
        if self._dead:
            found -= _between(self._dead, key, end)
        return found

    def held(self, key: bytes, end: bytes) -> int:
        """Return how many keys of a range have versions."""
        return _between(self._keys, key, end)

    def versions_from(self, key: bytes) -> Iterator[tuple[bytes, Sequence[Stored]]]:
        """Iterate over keys and their versions, from a key on. The keys must not change."""
        for each in self._keys.irange(key):
            yield each, _versions(self._keys[each])

    def drop_compacted(self, key: bytes, compacted: int) -> None:
        """Drop the versions of a key that are not in :func:`retained`."""
        held: Versions | None = self._keys.get(key)
        if held is None:
            return
        versions = _versions(held)
        kept = retained(versions, compacted)
        if not kept:
            del self._keys[key]
            self._dead.discard(key)
        elif len(kept) == 1:
            self._keys[key] = kept[0]
        elif len(kept) < len(versions):
            self._keys[key] = tuple(kept) if len(kept) <= _SHORT else list(kept)

    def _keys_in(self, key: bytes, end: bytes) -> Iterator[bytes]:
        if not end:
            return iter((key,))
        if end == ALL:
            found: Iterator[bytes] = self._keys.irange(key)
        else:
            found = self._keys.irange(key, end, inclusive=(True, False)) if key < end else iter(())
        return found


def retained(versions: Sequence[Stored], compacted: int) -> Sequence[Stored]:
    """Return the versions that a compaction leaves: what a revision from it on can show.

    These are the later ones, and the newest up to it; a tombstone only if it is of that revision,
    because its event is still to be seen.
    """
    newest = bisect_right(versions, compacted, key=_mod) - 1
    if newest < 0:
        return versions
    last = versions[newest]
    if last[VALUE] is None and last[MOD] < compacted:
        newest += 1
    return versions[newest:] if newest else versions


def _versions(held: Versions) -> Sequence[Stored]:
    """Return versions in the order of revisions."""
    if type(held[0]) is bytes:
        return (held,)
    return cast(Sequence[Stored], held)


def _with(held: Versions, record: Stored) -> Versions:
    if type(held) is list:
        held.append(record)
        return held
    if type(held[0]) is bytes:
        return (held, record)
    several = cast(tuple[Stored, ...], held)
    return (*several, record) if len(several) < _SHORT else [*several, record]


def _at(versions: Sequence[Stored], revision: int) -> Record | None:
    last = versions[-1]
    if last[MOD] > revision:
        place = bisect_right(versions, revision, key=_mod)
        if not place:
            return None
        last = versions[place - 1]
    return None if last[VALUE] is None else whole(last)


def _between(keys: Any, key: bytes, end: bytes) -> int:
    last: int = len(keys) if end == ALL else keys.bisect_left(end)
    return max(0, last - int(keys.bisect_left(key)))
