"""``store.watch``: the changes of some keys, in order, for ``for`` and ``async for``.

A watch is a place in the history of the store on this node, and holds only the few changes that it
has taken from there. How far it is behind does not matter, until the history is compacted past it.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Callable
from operator import attrgetter
from typing import Any, Literal, NamedTuple, Self

from braft_core.cluster_types import Consistency
from braft_core.errors import FutureRevision, InvalidArgument, InvalidRequest, Stopped
from braft_core.store.caller import StoreCaller
from braft_core.store.entries import Entry, entry_of
from braft_core.store.events import Event, Watcher, Watchers
from braft_core.store.json_form import MAX_NUMBER
from braft_core.store.wake_up import WakeUp

__all__ = [
    "Batch",
    "Batches",
    "Change",
    "Watch",
    "check_not_future",
    "check_progress",
    "check_since",
]

_SERVICE = "store"
_revision = attrgetter("revision")


class Change(NamedTuple):
    """One key was put or deleted."""

    type: Literal["put", "delete"]
    #: The new entry. Of a deleted key it has only the key and the revision.
    entry: Entry
    #: The entry before, for a watch with ``previous``; ``None`` if there was none, or if it was
    #: compacted since then.
    previous: Entry | None
    #: The revision of the store that the change made, alone or with others.
    revision: int


class Batch(NamedTuple):
    """All changes of one revision that a watch wants."""

    #: Everything up to this revision was seen.
    revision: int
    #: Empty if nothing has come for so long: see :meth:`Watch.batches`.
    changes: list[Change]


def check_since(since: object) -> None:
    """Check where a watch begins. :raises InvalidArgument: it is no revision."""
    if type(since) is not int or not 0 <= since <= MAX_NUMBER:
        raise InvalidArgument(f"since is {since!r:.80}; accepted: a revision, or 0 for now")


def check_not_future(since: int, newest: int) -> None:
    """Check that a store has a revision.

    :param newest: that of the store, 0 if it was not asked for.
    :raises FutureRevision: it has not.
    """
    if newest and since > newest:
        raise FutureRevision(
            f"revision {since} is in the future: the store is at revision {newest}",
            revision=since,
            current=newest,
        )


def check_progress(progress: float | None) -> None:
    """Check when batches without changes come. :raises InvalidArgument: that is no time."""
    if progress is not None and not progress > 0:
        raise InvalidArgument(f"progress is {progress!r:.80}; accepted: seconds above 0")


class _Buffer:
    """The changes that a watch has taken and not returned yet."""

    __slots__ = ("_events", "_lock", "_next", "_watcher", "is_closed", "wake_up")

    def __init__(self) -> None:
        self.wake_up = WakeUp()
        self.is_closed = False
        self._watcher: Watcher | None = None
        # Held while events are taken: for :attr:`revision` they are either ahead or here.
        self._lock = threading.Lock()
        self._events: list[Event] = []
        self._next = 0

    @property
    def is_open(self) -> bool:
        """Whether there is a watcher, or was one."""
        return self._watcher is not None

    def open(self, watcher: Watcher) -> None:
        """Take changes from a watcher."""
        self._watcher = watcher

    def close(self) -> None:
        """Take no more."""
        self.is_closed = True
        if self._watcher is not None:
            self._watcher.close()

    @property
    def revision(self) -> int:
        """The revision up to which every change was returned, 0 before :meth:`open`."""
        with self._lock:
            place = self._next
            if place < len(self._events):
                return self._events[place].revision - 1
            return 0 if self._watcher is None else self._watcher.revision

    def pop(self) -> Event | None:
        """Return the next event, ``None`` if it must be waited for."""
        while self._next >= len(self._events):
            if not self._take():
                return None
        event = self._events[self._next]
        self._next += 1
        return event

    def pop_revision(self) -> list[Event] | None:
        """Return all events of the next revision, ``None`` if some must be waited for."""
        while True:
            begin, events = self._next, self._events
            end = begin
            if begin < len(events):
                end = bisect_right(events, events[begin].revision, begin, key=_revision)
            if begin < end and (end < len(events) or self._has_all(events[begin].revision)):
                self._next = end
                return events[begin:end]
            if not self._take() and not (begin < end and self._has_all(events[begin].revision)):
                return None

    def _has_all(self, revision: int) -> bool:
        return self._watcher is not None and self._watcher.revision >= revision

    def _take(self) -> bool:
        """Take more events; return whether there may be some."""
        if self._watcher is None:
            raise InvalidRequest("this watch is not open; use it in a with statement")
        with self._lock:
            try:
                piece = self._watcher.take()
            except Stopped:
                if self.is_closed:
                    return False
                raise
            if piece is not None:
                del self._events[: self._next]
                self._next = 0
                self._events += piece.events
        return piece is not None


class Watch:
    """The changes of some keys, for a ``with`` or ``async with`` statement, then to be iterated.

    One thread or task iterates. :attr:`revision` and :meth:`close` are for any thread. A loop that
    was left can be continued. It ends when :meth:`close` is called.

    :raises Compacted: while iterating: the history was compacted past what was seen.
        ``data["compacted"]`` is the oldest revision that can be read.
    :raises NotReady: while iterating: this node cannot show the cluster's state.
    :raises Stopped: while iterating: the node was stopped.
    """

    def __init__(
        self,
        caller: StoreCaller,
        find_watchers: Callable[[], Watchers],
        span: tuple[bytes, bytes],
        since: int,
        previous: bool,
        consistency: Consistency,
        timeout: float | None,
    ) -> None:
        check_since(since)
        self._caller = caller
        self._find_watchers = find_watchers
        self._span, self._since, self._previous = span, since, previous
        self._options: dict[str, Any] = {"consistency": consistency, "timeout": timeout}
        self._buffer = _Buffer()

    def __repr__(self) -> str:
        key, end = self._span
        keys = f"{key!r}" if not end else f"{key!r}..{end!r}"
        return f"<Watch {keys} revision={self.revision}>"

    @property
    def revision(self) -> int:
        """The revision up to which every change was returned; pass it as ``since`` to go on.

        It rises without changes too.
        """
        return max(self._since, self._buffer.revision)

    # -- the statement ---------------------------------------------------------------------------

    def __enter__(self) -> Self:
        watchers = self._begin()
        newest = 0
        if self._must_ask(watchers):
            newest = self._caller.query(_SERVICE, "count", b"\0", **self._options)[0]
        return self._open(watchers, newest)

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        watchers = self._begin()
        newest = 0
        if self._must_ask(watchers):
            newest = (await self._caller.aquery(_SERVICE, "count", b"\0", **self._options))[0]
        return self._open(watchers, newest)

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it: a loop over it ends. Idempotent."""
        self._buffer.close()

    def _begin(self) -> Watchers:
        if self._buffer.is_open or self._buffer.is_closed:
            raise InvalidRequest("this watch was used already; call watch() again")
        return self._find_watchers()

    def _must_ask(self, watchers: Watchers) -> bool:
        """Return whether the cluster is asked for its revision.

        This node may lag behind. The read waits until it does not.
        """
        return self._since == 0 or self._since > watchers.applied_revision

    def _open(self, watchers: Watchers, newest: int) -> Self:
        check_not_future(self._since, newest)
        self._since = self._since or newest
        key, end = self._span
        wake = self._buffer.wake_up.call
        self._buffer.open(watchers.watch(key, end, self._since + 1, wake=wake))
        return self

    # -- iteration -------------------------------------------------------------------------------

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Change:
        buffer = self._buffer
        while not buffer.is_closed:
            if (event := buffer.pop()) is not None:
                return self._change(event)
            buffer.wake_up.wait()
        raise StopIteration

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Change:
        buffer = self._buffer
        while not buffer.is_closed:
            if (event := buffer.pop()) is not None:
                return self._change(event)
            await buffer.wake_up.await_call()
        raise StopAsyncIteration

    def _change(self, event: Event) -> Change:
        before = event.previous if self._previous else None
        previous = None if before is None else entry_of(before)
        record = event.record
        if record[1] is not None:
            return Change("put", entry_of(record), previous, event.revision)
        deleted = Entry(record[0], b"", event.revision, 0, 0, 0)
        return Change("delete", deleted, previous, event.revision)

    def batches(self, *, progress: float | None = None) -> Batches:
        """Iterate over the revisions, each with all its changes, with ``for`` or ``async for``.

        A revision that changes many keys is held in memory as a whole.

        :param progress: seconds after which a batch without changes is returned if there is no
            other one. Its revision says how far this watch has seen.
        """
        check_progress(progress)
        return Batches(self._buffer, self._change, lambda: self.revision, progress)


class Batches:
    """Revisions with all their changes, for ``for`` and ``async for``; see :meth:`Watch.batches`.

    They are taken from the watch, so that both may be iterated in turn.
    """

    def __init__(
        self,
        buffer: _Buffer,
        change: Callable[[Event], Change],
        revision: Callable[[], int],
        progress: float | None,
    ) -> None:
        self._buffer, self._change, self._revision = buffer, change, revision
        self._progress = progress

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Batch:
        buffer = self._buffer
        while not buffer.is_closed:
            if (events := buffer.pop_revision()) is not None:
                return self._batch(events)
            if not buffer.wake_up.wait(self._progress):
                return Batch(self._revision(), [])
        raise StopIteration

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Batch:
        buffer = self._buffer
        while not buffer.is_closed:
            if (events := buffer.pop_revision()) is not None:
                return self._batch(events)
            if not await buffer.wake_up.await_call(self._progress):
                return Batch(self._revision(), [])
        raise StopAsyncIteration

    def _batch(self, events: list[Event]) -> Batch:
        return Batch(events[0].revision, [self._change(event) for event in events])
