"""The hub: hands the store's events out to the watchers of a node.

The applier only reports that the store has changed, and reports nothing while nobody watches. Then
the hub reads the new events on the applier, in pieces of some milliseconds, and wakes the watchers
that want one of them. Watchers that are behind share pieces of the history, which are read in the
same way. A watcher is a place, so the memory of a hub does not depend on what watchers do not read.

Events are read by their place in the history, and all replicas have the same history. So it does
not matter whether entries or a snapshot brought them here.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from functools import partial
from math import inf
from typing import Any, Protocol

from sortedcontainers import SortedDict

from braft_core.abc import Service
from braft_core.errors import BraftError, Busy, Compacted, NotReady, UnknownService
from braft_core.runtime.event_cache import EventCache, Part, WatchLimits
from braft_core.runtime.interests import Interests, Span
from braft_core.runtime.platform import THREADS, Platform
from braft_core.runtime.requests import Query
from braft_core.runtime.watcher import State, StoreWatcher
from braft_core.services.store import StoreService
from braft_core.services.store.limits import check_number, check_range
from braft_core.store.events import Event, Place

__all__ = ["WatchHub"]

_log = logging.getLogger(__name__)

_LIMITS = WatchLimits()

_Job = Callable[[], None]


class _Applier(Protocol):
    """What the hub needs of the applier."""

    @property
    def fault(self) -> str:
        """Why the state must not be used, "" if it may."""

    def read(self, index: int, queries: list[Query]) -> None:
        """Serve reads once ``index`` is applied."""

    def call_when_applied(self, callback: Callable[[], None]) -> None:
        """Call back on the applier thread after each change."""


class WatchHub:
    """See :class:`braft_core.store.events.Watchers`. Thread-safe.

    Its thread is started with the first watcher.
    """

    def __init__(
        self,
        applier: _Applier,
        services: Iterable[Service],
        name: str,
        platform: Platform = THREADS,
        limits: WatchLimits = _LIMITS,
    ) -> None:
        self._applier = applier
        self._limits = limits
        self._store = next((s for s in services if isinstance(s, StoreService)), None)
        self._worker = platform.worker(name, self._work)
        self._is_started = False
        self._lock = threading.Lock()
        self._stopped: BraftError | None = None
        #: All watchers, as a set in the order of their numbers.
        self._watchers: dict[StoreWatcher, None] = {}
        self._number = 0
        #: Whether there are watchers: the applier reports changes.
        self._is_active = False
        #: Whether a report is on its way.
        self._is_reported = False
        #: The place up to which events were handed out.
        self._head: Place = (1, 0)
        self._reads_head = False
        self._cache = EventCache(limits)
        #: Watchers that are current, by what they want.
        self._current: Interests[StoreWatcher] = Interests()
        #: Watchers that are to be woken when the hub has come past their place, by that and their
        #: number.
        self._ahead: Any = SortedDict()
        #: Places from which pieces of the history are wanted, in the order in which they were.
        self._wanted: dict[Place, dict[StoreWatcher, None]] = {}
        self._reads_piece = False
        #: See :attr:`Watchers.applied_revision`. Written on the applier, read on any thread.
        self.applied_revision = 1
        if self._store is not None:
            applier.call_when_applied(partial(self._applied, self._store))

    # -- any thread ------------------------------------------------------------------------------

    @property
    def revision(self) -> int:
        """See :attr:`Watchers.revision`."""
        return self._head[0] - 1

    @property
    def count(self) -> int:
        """The number of watchers."""
        return len(self._watchers)

    def watch(
        self, key: bytes, end: bytes = b"", begin: int = 0, *, wake: Callable[[], None]
    ) -> StoreWatcher:
        """See :meth:`Watchers.watch`."""
        check_range(key, end)
        check_number("the revision of a watch", begin)
        if self._store is None:
            raise UnknownService(
                "there is no service 'store' on this node (BRAFT_SERVICES)", service="store"
            )
        with self._lock:
            self._check_open()
            if not self._is_active:
                self._activate()
            place = (begin or self.applied_revision + 1, 0)
            self._number += 1
            watcher = StoreWatcher(self, Span(key, end), place, self._number, wake)
            self._watchers[watcher] = None
        return watcher

    def _check_open(self) -> None:
        if (error := self._stopped) is not None:
            raise type(error)(error.message, **error.data)
        if fault := self._applier.fault:
            raise NotReady(fault)
        most = self._limits.watchers
        if len(self._watchers) >= most:
            raise Busy(f"this node has {most} watchers, and accepts no more", limit=most)

    def _activate(self) -> None:
        # First: a change before the next line is in the revision, one after it is reported.
        self._is_active = True
        self._head = (self.applied_revision + 1, 0)
        self._cache.restart(self._head)
        if not self._is_started:
            self._is_started = True
            self._worker.start()

    def part(self, watcher: StoreWatcher) -> Part | None:
        """Return some events from the watcher's place on, or ``None`` and have it wait."""
        with self._lock:
            watcher.check()
            if watcher.state is not State.TAKING:
                return None
            at = watcher.at
            if at < self._head:
                part = self._cache.part(at)
                if part is None:
                    watcher.wait(State.READING)
                    self._wanted.setdefault(at, {})[watcher] = None
                    self._worker.put(self._read_piece)
                return part
            if at == self._head and at[1] == 0:
                watcher.wait(State.CURRENT)
                self._current.add(watcher, watcher.span)
            else:
                watcher.wait(State.AHEAD)
                self._ahead[at, watcher.number] = watcher
            return None

    def close(self, watcher: StoreWatcher) -> None:
        """End a watcher. Idempotent."""
        with self._lock:
            self._remove(watcher, None)
        watcher.wake()

    def check_fault(self) -> None:
        """End all watchers if the state of this node must not be used."""
        if fault := self._applier.fault:
            self._end_all(NotReady(fault))

    def stop(self, reason: BraftError) -> None:
        """End all watchers, and accept no more. Idempotent."""
        with self._lock:
            self._stopped = self._stopped or reason
        self._end_all(reason)

    def close_thread(self, timeout: float) -> None:
        """Wait for the end of the thread, after :meth:`stop`."""
        self._worker.stop(timeout)

    def _end_all(self, reason: BraftError) -> None:
        with self._lock:
            watchers = list(self._watchers)
            for watcher in watchers:
                self._remove(watcher, reason)
            if watchers:
                self._worker.put(partial(_wake, watchers))

    def _remove(self, watcher: StoreWatcher, error: BraftError | None) -> None:
        """End a watcher; the last one ends the reports of the applier."""
        if watcher not in self._watchers:
            return
        del self._watchers[watcher]
        if watcher.state is State.CURRENT:
            self._current.remove(watcher, watcher.span)
        elif watcher.state is State.AHEAD:
            del self._ahead[watcher.at, watcher.number]
        elif watcher.state is State.READING:
            waiting = self._wanted[watcher.at]
            del waiting[watcher]
            if not waiting:
                del self._wanted[watcher.at]
        watcher.end(error, self._head)
        if not self._watchers:
            self._is_active = False
            self._cache.clear()

    # -- on the applier --------------------------------------------------------------------------

    def _applied(self, store: StoreService) -> None:
        self.applied_revision = revision = store.revision
        if self._is_active and not self._is_reported and revision != self._head[0] - 1:
            self._is_reported = True
            self._worker.put(self._read_head)

    # -- on the hub's thread ---------------------------------------------------------------------

    def _work(self, jobs: Sequence[_Job]) -> None:
        for job in jobs:
            try:
                job()
            except BraftError as error:
                self._end_all(error)
            except Exception as error:  # noqa: BLE001 - a bug here must not stop the node
                _log.exception("the watches of the store failed")
                self._end_all(NotReady(f"the watches of this node failed: {error!r}"))

    def _read_head(self) -> None:
        """Read the newest events, if there are any."""
        with self._lock:
            # First: a change after this is reported again.
            self._is_reported = False
            if self._reads_head or not self._is_active:
                return
            head = self._head
            if head == (self.applied_revision + 1, 0):
                return
            self._reads_head = True
        self._read(head, partial(self._take_head, head))

    def _read(self, at: Place, done: Callable[[Future[Any]], None]) -> None:
        """Read a piece of the history on the applier, and take it here."""
        query = Query("store", "changes", (*at, self._limits.piece), inf)
        query.blocking.add_done_callback(lambda future: self._worker.put(partial(done, future)))
        self._applier.read(0, [query])

    def _take_head(self, head: Place, read: Future[Any]) -> None:
        error = read.exception()
        woken: list[StoreWatcher] = []
        with self._lock:
            self._reads_head = False
            if self._is_active and self._head == head:
                if isinstance(error, Compacted):
                    woken = self._skip(error)
                elif error is None:
                    woken = self._advance(*read.result())
        _wake(woken)
        if error is not None and not isinstance(error, Compacted):
            self._fail(error)
        else:
            self._read_head()

    def _advance(self, revision: int, end: list[int], rows: list[Any]) -> list[StoreWatcher]:
        """Hand out the events behind the head; return the watchers to be woken."""
        if revision < self._head[0] - 1:
            raise NotReady(
                f"the store went back from revision {self._head[0] - 1} to {revision}: it is not "
                "the same any more"
            )
        events = [Event(record, previous) for record, previous in rows]
        self._head = (end[0], end[1])
        self._cache.add_newest(events, self._head)
        woken = []
        for event in events:
            for watcher in self._current.take(event.record[0]):
                watcher.resume(event.place)
                woken.append(watcher)
        while self._ahead and self._ahead.peekitem(0)[0][0] <= self._head:
            watcher = self._ahead.popitem(0)[1]
            watcher.resume()
            woken.append(watcher)
        return woken

    def _skip(self, error: Compacted) -> list[StoreWatcher]:
        """Go on where the history begins: a snapshot has replaced what was not handed out yet.

        Watchers that were current have lost events, and end.
        """
        lost = self._current.clear()
        for watcher in lost:
            watcher.resume(self._head)
        self._head = max(self._head, (error.data["compacted"], 0))
        self._cache.restart(self._head)
        # They learn it when they take the next piece.
        return lost

    def _read_piece(self) -> None:
        """Read the piece of the history that is wanted for the longest time."""
        with self._lock:
            if self._reads_piece or not self._wanted:
                return
            self._reads_piece = True
            at = next(iter(self._wanted))
        self._read(at, partial(self._take_piece, at))

    def _take_piece(self, at: Place, read: Future[Any]) -> None:
        error = read.exception()
        woken: list[StoreWatcher] = []
        with self._lock:
            self._reads_piece = False
            if error is None and self._is_active:
                _, end, rows = read.result()
                events = [Event(record, previous) for record, previous in rows]
                self._cache.add_old(at, events, (end[0], end[1]))
                # Others wait for places within this piece.
                for place in [each for each in self._wanted if at <= each < (end[0], end[1])]:
                    woken += self._wanted.pop(place)
                for watcher in woken:
                    watcher.resume()
            elif isinstance(error, Compacted):
                woken += self._wanted.get(at, ())
                for watcher in woken:
                    self._remove(watcher, error)
        _wake(woken)
        if error is not None and not isinstance(error, Compacted):
            self._fail(error)
        self._read_piece()

    def _fail(self, error: BaseException) -> None:
        """End all watchers: the store cannot be read."""
        if not isinstance(error, BraftError):
            error = NotReady(f"the store cannot be read: {error!r}")
        self._end_all(error)


def _wake(watchers: Iterable[StoreWatcher]) -> None:
    for watcher in watchers:
        watcher.wake()
