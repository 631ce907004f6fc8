"""One watcher of the store: a place in the history, the keys it wants, and whether it waits.

It holds no events. :class:`~braft_core.runtime.watch_hub.WatchHub` knows where events are and when
there are new ones, and calls the methods below the line with its lock held.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from enum import Enum
from typing import Final, Protocol

from braft_core.errors import BraftError, Stopped
from braft_core.runtime.event_cache import Part, event_bytes
from braft_core.runtime.interests import Span
from braft_core.services.store.records import KEY, MOD, SUB
from braft_core.store.events import TAKE_BYTES, Event, Piece, Place

__all__ = ["State", "StoreWatcher"]

_log = logging.getLogger(__name__)

#: What coming past an event that is not wanted counts, bytes: to look at it takes time.
_PASSED: Final = 32


class State(Enum):
    """What a watcher does."""

    #: Its owner takes events, or could do so.
    TAKING = 1
    #: It has taken all that was handed out, and waits for an event that it wants.
    CURRENT = 2
    #: It waits for a piece of the history.
    READING = 3
    #: It waits until more was handed out: its place is in the future, or within a large revision of
    #: which a part was handed out.
    AHEAD = 4
    ENDED = 5


class _Hub(Protocol):
    """What a watcher needs of the hub."""

    @property
    def revision(self) -> int:
        """The revision up to which events were handed out."""

    def part(self, watcher: StoreWatcher) -> Part | None:
        """Return some events from the watcher's place on, or ``None`` and have it wait."""

    def close(self, watcher: StoreWatcher) -> None:
        """End the watcher."""


class StoreWatcher:
    """See :class:`braft_core.store.events.Watcher`."""

    __slots__ = ("_error", "_hub", "_wake", "at", "number", "span", "state")

    def __init__(
        self, hub: _Hub, span: Span, at: Place, number: int, wake: Callable[[], None]
    ) -> None:
        self._hub = hub
        self._wake = wake
        self._error: BraftError | None = None
        self.span = span
        #: Where it goes on. Only its owner changes it in the state ``TAKING``, and else the hub. In
        #: the state ``CURRENT`` it is at the hub's place, wherever that is.
        self.at = at
        #: Its place among all watchers of the hub.
        self.number = number
        self.state = State.TAKING

    def __repr__(self) -> str:
        return f"<watcher {self.number} of {self.span} at {self.at} {self.state.name}>"

    @property
    def revision(self) -> int:
        """See :attr:`Watcher.revision`."""
        # First: it cannot fall behind what was wanted while it was current.
        handed_out = self._hub.revision
        return handed_out if self.state is State.CURRENT else self.at[0] - 1

    @property
    def is_current(self) -> bool:
        """See :attr:`Watcher.is_current`."""
        return self.state is State.CURRENT

    def take(self, size: int = TAKE_BYTES) -> Piece | None:
        """See :meth:`Watcher.take`."""
        events: list[Event] = []
        has, room, last = self.span.has, size, 0
        while (part := self._part(events)) is not None:
            for event in part[0]:
                record = event.record
                revision = record[MOD]
                # Between two revisions, or within one that is too large.
                if room <= 0 and last and (revision != last or room <= -size):
                    self.at = revision, record[SUB]
                    return Piece(events, self.at[0] - 1)
                last = revision
                if has(record[KEY]):
                    events.append(event)
                    room -= event_bytes(event)
                else:
                    room -= _PASSED
            self.at = part[1]
        return Piece(events, self.revision) if events else None

    def _part(self, taken: list[Event]) -> Part | None:
        """Return the next part. If the watcher has ended, what was taken is returned first."""
        try:
            return self._hub.part(self)
        except BraftError:
            if not taken:
                raise
            return None

    def close(self) -> None:
        """See :meth:`Watcher.close`."""
        self._hub.close(self)

    # -- for the hub, with its lock --------------------------------------------------------------

    def check(self) -> None:
        """Raise why it has ended, if it has."""
        if self.state is State.ENDED:
            error = self._error or Stopped("the watch is closed")
            raise type(error)(error.message, **error.data)

    def wait(self, state: State) -> None:
        """Note for what it waits."""
        self.state = state

    def resume(self, at: Place | None = None) -> None:
        """Let it take events, from a place on."""
        self.state = State.TAKING
        if at is not None:
            self.at = at

    def end(self, error: BraftError | None, at: Place) -> None:
        """End it; ``None``: it was closed.

        :param at: the hub's place.
        """
        if self.state is State.CURRENT:
            self.at = at
        self.state = State.ENDED
        self._error = error

    def wake(self) -> None:
        """Call its owner, without the lock."""
        try:
            self._wake()
        except Exception:  # noqa: BLE001 - a front end's bug is its own
            _log.exception("a watcher's owner could not be called")
