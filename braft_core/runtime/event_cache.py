"""The events that a node's watchers share: the newest ones, and some pieces of the history.

Its size is bounded, whatever the watchers do. What is not here is read from the store again.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from typing import NamedTuple

from braft_core.services.store.records import record_bytes
from braft_core.store.events import Event, Place

__all__ = ["EventCache", "Part", "WatchLimits", "event_bytes"]


class WatchLimits(NamedTuple):
    """What the watchers of a node may take, whatever they do. Bytes are those of the quota."""

    #: The most watchers.
    watchers: int = 100_000
    #: Bytes of events that are read from the store at a time. It takes about a millisecond.
    piece: int = 256 << 10
    #: Bytes of the newest events that are kept.
    recent: int = 4 << 20
    #: Bytes of pieces of the history that are kept for watchers that are behind, and their number.
    old: int = 4 << 20
    old_pieces: int = 64
    #: Events that are handed out at a time.
    events: int = 1_024


def event_bytes(event: Event) -> int:
    """Return what an event counts, bytes."""
    previous = event.previous
    return record_bytes(event.record) + (record_bytes(previous) if previous is not None else 0)


#: Some events, and the place behind them.
Part = tuple[list[Event], Place]


class _Run:
    """All events from one place to before another."""

    __slots__ = ("_events", "_last", "_most", "end", "size", "start")

    def __init__(self, start: Place, most: int) -> None:
        """Begin an empty run.

        :param most: the most events of a part.
        """
        self.start = self.end = start
        self._most = most
        self.size = 0
        self._events: list[Event] = []
        #: How many events were added last.
        self._last = 0

    def extend(self, events: list[Event], end: Place) -> None:
        """Add the events that follow."""
        self._events += events
        self._last = len(events)
        self.end = end
        self.size += sum(map(event_bytes, events))

    def part(self, at: Place) -> Part | None:
        """Return some events from a place on; ``None`` if they are not here."""
        if not self.start <= at < self.end:
            return None
        first = bisect_left(self._events, at, key=_place)
        behind = first + self._most
        if behind < len(self._events):
            return self._events[first:behind], self._events[behind].place
        return self._events[first:], self.end

    def trim(self, size: int) -> None:
        """Forget the oldest events until there are so many bytes, but none that were added last."""
        gone = 0
        while self.size > size and gone < len(self._events) - self._last:
            self.size -= event_bytes(self._events[gone])
            gone += 1
        if gone:
            del self._events[:gone]
            self.start = self._events[0].place


def _place(event: Event) -> Place:
    return event.place


class EventCache:
    """Not thread-safe."""

    def __init__(self, limits: WatchLimits) -> None:
        self._limits = limits
        self._recent = self._run((1, 0))
        self._old: OrderedDict[Place, _Run] = OrderedDict()

    def _run(self, start: Place) -> _Run:
        return _Run(start, self._limits.events)

    @property
    def size(self) -> int:
        """Bytes of all events."""
        return self._recent.size + sum(run.size for run in self._old.values())

    def restart(self, at: Place) -> None:
        """Forget the newest events; those that will be added begin at a place."""
        self._recent = self._run(at)

    def clear(self) -> None:
        """Forget all."""
        self.restart((1, 0))
        self._old.clear()

    def add_newest(self, events: list[Event], end: Place) -> None:
        """Add the events that follow the newest ones."""
        most = self._limits.recent
        self._recent.extend(events, end)
        if self._recent.size > most:
            # More than necessary, so that it is not done for each event.
            self._recent.trim(most * 3 // 4)

    def add_old(self, start: Place, events: list[Event], end: Place) -> None:
        """Add a piece of the history; forget those that were not used for the longest time."""
        limits, old = self._limits, self._old
        old[start] = run = self._run(start)
        run.extend(events, end)
        old.move_to_end(start)
        size = sum(each.size for each in old.values())
        while len(old) > 1 and (size > limits.old or len(old) > limits.old_pieces):
            size -= old.popitem(last=False)[1].size

    def part(self, at: Place) -> Part | None:
        """Return some events from a place on; ``None`` if they are not here."""
        part = self._recent.part(at)
        if part is None:
            for start, run in self._old.items():
                if (part := run.part(at)) is not None:
                    self._old.move_to_end(start)
                    break
        return part
