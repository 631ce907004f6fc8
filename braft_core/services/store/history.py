"""What happened, in the order of revisions: the events that a watch shows.

Owns which records a compaction makes superfluous, and how many bytes that frees. Both are known at
once; the versions themselves are dropped later, in small steps, and not while a capture needs them.
Nobody sees that: no answer shows a revision before the compaction.
"""

from __future__ import annotations

import weakref
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from operator import itemgetter

from braft_core.services.store.index import Index
from braft_core.services.store.records import KEY, MOD, VALUE, Record, record_bytes

__all__ = ["History"]

#: Events before the compaction stay in the list until so many can go at once.
_TIDY = 1 << 16

_mod = itemgetter(MOD)


class History:
    """The records of an index by revision, those of the compaction included. Not thread-safe."""

    __slots__ = (
        "_dropped",
        "_events",
        "_freed",
        "_pins",
        "_superseded",
        "_tombs",
        "_total",
        "compacted",
    )

    def __init__(self) -> None:
        #: The revision of the last compaction; what came before it cannot be read.
        self.compacted = 0
        self._events: list[Record] = []
        #: For each event, the bytes that all compactions up to it free, in total.
        self._superseded = array("q")
        self._total = 0
        #: Bytes of the newest revision's tombstones. A compaction up to the next one frees them.
        self._tombs = 0
        #: The total that compactions have freed.
        self._freed = 0
        #: How many events the dropping of versions has come past.
        self._dropped = 0
        self._pins: list[weakref.ref[object]] = []

    def append(self, record: Record, replaced: Record | None) -> None:
        """Add the newest event, and the version that it replaced."""
        if self._tombs and self._events[-1][MOD] != record[MOD]:
            self._total += self._tombs
            self._tombs = 0
        if replaced is not None:
            self._total += record_bytes(replaced)
        if record[VALUE] is None:
            self._tombs += record_bytes(record)
        self._events.append(record)
        self._superseded.append(self._total)

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
            found.append(record)
            room -= record_bytes(record)
        return found

    def after(self, revision: int) -> Iterator[Record]:
        """Iterate over the events after a revision. There must be no new one meanwhile."""
        for place in range(self._place(revision + 1), len(self._events)):
            yield self._events[place]

    def count_after(self, revision: int) -> int:
        """Return how many events there are after a revision."""
        return len(self._events) - self._place(revision + 1)

    def compact(self, revision: int) -> int:
        """Compact up to a revision; return how many bytes that frees."""
        behind = self._behind(revision)
        total = self._superseded[behind - 1] if behind else self._freed
        freed, self._freed = total - self._freed, total
        # Tombstones of the last compaction's revision were kept then, and go now.
        self._dropped = min(self._dropped, self._place(self.compacted))
        self.compacted = revision
        return freed

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
            gone = min(gone, place)
            del self._events[:gone], self._superseded[:gone]
            self._dropped -= gone

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

    def _behind(self, revision: int) -> int:
        """Return the place behind the last event up to a revision."""
        return bisect_right(self._events, revision, key=_mod)
