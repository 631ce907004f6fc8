"""What happened, in the order of revisions: the events that a watch shows.

Owns which records a compaction makes superfluous, and how many bytes that frees. Both are known at
once; the versions themselves are dropped later, in small steps, and not while a capture needs them.
Nobody sees that: no answer shows a revision before the compaction.
"""

from __future__ import annotations

import weakref
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from operator import itemgetter
from typing import NamedTuple

from braft_core.services.store.index import Index
from braft_core.services.store.records import (
    KEY,
    MOD,
    SUB,
    VALUE,
    Record,
    Stored,
    record_bytes,
    whole,
)

__all__ = ["History"]

#: Events before the compaction stay in the list until so many can go at once.
_TIDY = 1 << 16

#: Events between two marks.
_STEP = 64

_mod = itemgetter(MOD)
_order = itemgetter(MOD, SUB)


class _Sum(NamedTuple):
    """A sum over the first events since the beginning."""

    count: int  # type: ignore[assignment]  # over tuple.count
    total: int


class History:
    """The records of an index by revision, those of the compaction included. Not thread-safe."""

    __slots__ = (
        "_buried",
        "_buried_until",
        "_dropped",
        "_events",
        "_first",
        "_marks",
        "_marks_gone",
        "_pins",
        "_replaced",
        "_replaced_until",
        "compacted",
    )

    def __init__(self) -> None:
        #: The revision of the last compaction; what came before it cannot be read.
        self.compacted = 0
        self._events: list[Stored] = []
        #: The number of events that are not in the list any more.
        self._first = 0
        #: Bytes of all versions that events have replaced, and of all tombstones.
        self._replaced = 0
        self._buried = 0
        #: Both sums after each :data:`_STEP` events, in turn. A compaction between two marks adds
        #: the few events behind the first; a sum for each event would take too much memory.
        self._marks = array("q")
        self._marks_gone = 0
        #: Number of events and sum up to which compactions have freed what was replaced (the events
        #: of their own revision included) and tombstones (those not included).
        self._replaced_until = _Sum(0, 0)
        self._buried_until = _Sum(0, 0)
        #: How many events the dropping of versions has come past.
        self._dropped = 0
        self._pins: list[weakref.ref[object]] = []

    def append(self, record: Stored, replaced: Stored | None) -> None:
        """Add the newest event, and the version that it replaced."""
        if replaced is not None:
            self._replaced += record_bytes(replaced)
        if record[VALUE] is None:
            self._buried += record_bytes(record)
        self._events.append(record)
        if not (self._first + len(self._events)) % _STEP:
            self._marks.extend((self._replaced, self._buried))

    def since(self, revision: int, size: int) -> list[Record]:
        """Return the events from a revision on, whole revisions, until they have ``size`` bytes.

        At least one revision is returned if there is one.

        :param revision: not before :attr:`compacted`.
        """
        found: list[Record] = []
        room = size
        for place in range(self._place(revision), len(self._events)):
            record = self._events[place]
            if room <= 0 and record[MOD] != found[-1][MOD]:
                break
            found.append(whole(record))
            room -= record_bytes(record)
        return found

    def piece(
        self, revision: int, sub: int, size: int
    ) -> tuple[list[Record], tuple[int, int] | None]:
        """Return some events from a record of a revision on, and where to go on.

        They are whole revisions until they have ``size`` bytes. A revision that has more is cut.

        :param revision: not before :attr:`compacted`.
        :returns: events, and revision and sub-revision of the next one; ``None`` behind the last.
        """
        found: list[Record] = []
        room = size
        for place in range(self._place_of(revision, sub), len(self._events)):
            record = self._events[place]
            if room <= 0 and (record[MOD] != found[-1][MOD] or room <= -size):
                return found, _order(record)
            found.append(whole(record))
            room -= record_bytes(record)
        return found, None

    def after(self, revision: int) -> Iterator[Stored]:
        """Iterate over the events after a revision. There must be no new one meanwhile."""
        for place in range(self._place(revision + 1), len(self._events)):
            yield self._events[place]

    def count_after(self, revision: int) -> int:
        """Return how many events there are after a revision."""
        return len(self._events) - self._place(revision + 1)

    def compact(self, revision: int, index: Index) -> int:
        """Compact up to a revision; return how many bytes that frees."""

        def replaced(event: Stored) -> int:
            before = index.before(event)
            return 0 if before is None else record_bytes(before)

        until = self._sum(self._behind(revision), self._replaced_until, 0, replaced)
        buried = self._sum(self._place(revision), self._buried_until, 1, _buried)
        freed = until.total - self._replaced_until.total + buried.total - self._buried_until.total
        self._replaced_until, self._buried_until = until, buried
        # Tombstones of the last compaction's revision were kept then, and go now.
        self._dropped = min(self._dropped, self._place(self.compacted))
        self.compacted = revision
        return freed

    def _sum(self, place: int, since: _Sum, column: int, weigh: Callable[[Stored], int]) -> _Sum:
        """Return a sum over the events before a place, from the nearest one that is known."""
        until = self._first + place
        count, total = since
        marked = until // _STEP
        if marked * _STEP > count:
            count = marked * _STEP
            total = self._marks[2 * (marked - 1 - self._marks_gone) + column]
        events = self._events
        for at in range(count - self._first, place):
            total += weigh(events[at])
        return _Sum(until, total)

    def pin(self, holder: object) -> None:
        """Drop no versions until ``holder`` is garbage or :meth:`unpin` is called."""
        self._pins.append(weakref.ref(holder))

    def unpin(self, holder: object) -> None:
        """Have versions dropped again."""
        self._pins = [pin for pin in self._pins if pin() not in (None, holder)]

    def drop_versions(self, index: Index, most: int) -> None:
        """Drop versions that the compaction made superfluous, those of up to ``most`` events."""
        if self._pins and self._is_pinned():
            return
        events, place = self._events, self._dropped
        end = min(place + most, self._behind(self.compacted))
        while place < end:
            index.drop_compacted(events[place][KEY], self.compacted)
            place += 1
        self._dropped = place
        gone = self._place(self.compacted)
        if gone and (place >= _TIDY or place >= gone):
            self._forget(min(gone, place))

    def _forget(self, gone: int) -> None:
        """Remove the first events from the list."""
        del self._events[:gone]
        self._dropped -= gone
        self._first += gone
        marks = self._first // _STEP - self._marks_gone
        del self._marks[: 2 * marks]
        self._marks_gone += marks

    @property
    def has_garbage(self) -> bool:
        """Whether :meth:`drop_versions` has anything to do."""
        place, events = self._dropped, self._events
        return place < len(events) and events[place][MOD] <= self.compacted

    def _is_pinned(self) -> bool:
        self._pins = [pin for pin in self._pins if pin() is not None]
        return bool(self._pins)

    def _place(self, revision: int) -> int:
        """Return the place of the first event of a revision or a later one."""
        return bisect_left(self._events, revision, key=_mod)

    def _place_of(self, revision: int, sub: int) -> int:
        """Return the place of the first event from a record of a revision on."""
        return bisect_left(self._events, (revision, sub), key=_order)

    def _behind(self, revision: int) -> int:
        """Return the place behind the last event up to a revision."""
        return bisect_right(self._events, revision, key=_mod)


def _buried(event: Stored) -> int:
    return record_bytes(event) if event[VALUE] is None else 0
