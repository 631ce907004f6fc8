"""The watches of one stream: requests in, answers out, in the order that etcd promises.

A watch is a :class:`~braft_core.store.Watcher`: a place in the history, not a queue. Events are
taken when the stream can send them, so a client that does not read costs no memory.

Belongs to one event loop, but for :meth:`_Watch.wake`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import Final

from braft_core.errors import Compacted
from braft_core.store import Piece, Watcher
from braft_etcd.backend import Backend
from braft_etcd.events import encode_event, encode_event_with_previous, is_wanted
from braft_etcd.wire import Values

__all__ = ["WatchStream"]

_ALL: Final = b"\0"
#: The id of answers that are about no watch of the stream.
_NO_WATCH: Final = -1
#: Answers to requests that may wait before no more requests are read.
_MOST_WAITING: Final = 128
#: Between two looks whether progress that is due can be reported, seconds.
_POLL: Final = 0.1
_EMPTY_RANGE: Final = "mvcc: watcher range is empty"
_DUPLICATE: Final = "mvcc: duplicate watch ID provided on the WatchStream"
_COMPACTED: Final = "etcdserver: mvcc: required revision has been compacted"


class _Watch:
    """One watch of a stream."""

    def __init__(self, stream: WatchStream, number: int, request: Values) -> None:
        self._stream = stream
        self.number = number
        self.fragment: bool = request["fragment"]
        self.notifies: bool = request["progress_notify"]
        self.filters = frozenset(request["filters"])
        self.encode = encode_event_with_previous if request["prev_kv"] else encode_event
        #: Whether nothing was sent since the last look.
        self.is_quiet = True
        #: Events that were taken and not sent: of a revision that was not complete.
        self.held: list[bytes] = []
        #: Whether the revision is complete now.
        self.is_complete = False
        #: The revision of the newest event that was taken.
        self.newest = 0
        self.watcher: Watcher | None = None

    def wake(self) -> None:
        """*Any thread.* Note that there may be events."""
        self._stream.woken(self)

    def close(self) -> None:
        """End it."""
        if self.watcher is not None:
            self.watcher.close()

    @property
    def is_current(self) -> bool:
        """Whether it has sent all that was handed out."""
        return self.watcher is not None and self.watcher.is_current and not self.held

    @property
    def revision(self) -> int:
        """Every event up to this revision was sent."""
        return 0 if self.watcher is None else self.watcher.revision


class WatchStream:
    """The watches of one stream."""

    def __init__(self, backend: Backend, loop: asyncio.AbstractEventLoop) -> None:
        self._backend = backend
        self._watchers = backend.node.store.watchers
        self._loop = loop
        self._watches: dict[int, _Watch] = {}
        self._next_number = 0
        #: Answers to requests, which go before events.
        self._answers: deque[Values] = deque()
        #: Watches that may have events.
        self._ready: deque[_Watch] = deque()
        self._woken: deque[_Watch] = deque()
        self._is_signalled = False
        self._wake = asyncio.Event()
        self._drained = asyncio.Event()
        #: Watches whose notification is due, and whether the client asked about all.
        self._due: dict[int, _Watch] = {}
        self._asked = False
        #: No answer has a lower revision than the ones before it.
        self._highest = 0
        self._failure: Exception | None = None
        self._is_ended = False

    # -- requests --------------------------------------------------------------------------------

    def take(self, request: Values) -> None:
        """Take a request of the client.

        :raises BraftError: the node cannot serve watches; the stream fails.
        """
        if (create := request["create_request"]) is not None:
            self._create(create)
        elif (cancel := request["cancel_request"]) is not None:
            self._cancel(cancel["watch_id"])
        elif request["progress_request"] is not None:
            self._asked = bool(self._watches)
        self._wake.set()

    def _create(self, request: Values) -> None:
        key, end = request["key"] or _ALL, request["range_end"]
        number, revision = request["watch_id"], self._watchers.applied_revision
        reason = ""
        if request["start_revision"] < 0:
            reason = _COMPACTED
        elif end and end != _ALL and end <= key:
            reason = _EMPTY_RANGE
        elif number and number in self._watches:
            reason = _DUPLICATE
        if reason:
            self._answer(
                revision, watch_id=_NO_WATCH, created=True, canceled=True, cancel_reason=reason
            )
            return
        watch = _Watch(self, number or self._draw(), request)
        begin = request["start_revision"] or revision + 1
        watch.watcher = self._watchers.watch(key, end, begin, wake=watch.wake)
        self._watches[watch.number] = watch
        self._answer(revision, watch_id=watch.number, created=True)
        self._ready.append(watch)

    def _draw(self) -> int:
        while self._next_number in self._watches:
            self._next_number += 1
        self._next_number += 1
        return self._next_number - 1

    def _cancel(self, number: int) -> None:
        watch = self._watches.pop(number, None)
        if watch is not None:
            watch.close()
            self._due.pop(number, None)
            self._answer(self._watchers.revision, watch_id=number, canceled=True)

    def notify(self) -> None:
        """Let watches that asked for it, and were quiet since the last call, report progress."""
        for watch in self._watches.values():
            if watch.notifies and watch.is_quiet and watch.is_current:
                self._due[watch.number] = watch
            watch.is_quiet = True
        self._wake.set()

    def end(self) -> None:
        """Note that no more requests come; watches go on."""
        self._is_ended = True
        self._wake.set()

    def fail(self, error: Exception) -> None:
        """End the stream with an error."""
        self._failure = error
        self._wake.set()

    def close(self) -> None:
        """End all watches."""
        for watch in self._watches.values():
            watch.close()
        self._watches.clear()

    # -- answers ---------------------------------------------------------------------------------

    @property
    def is_done(self) -> bool:
        """Whether nothing can follow."""
        return self._is_ended and not self._watches

    def next_answer(self) -> Values | None:
        """Return the next answer; None if it must be waited for.

        :raises Exception: the stream failed.
        """
        if self._failure is not None:
            raise self._failure
        self._wake.clear()
        if self._answers:
            answer = self._answers.popleft()
            if not self._answers:
                self._drained.set()
            return answer
        self._collect_woken()
        while self._ready:
            if (events := self._events(self._ready.popleft())) is not None:
                return events
        return self._progress() if self._due or self._asked else None

    async def wait(self) -> None:
        """Wait until there may be an answer."""
        if not (self._due or self._asked):
            await self._wake.wait()
            return
        # Events of other keys let a watch come further, and wake nobody.
        with suppress(TimeoutError):
            async with asyncio.timeout(_POLL):
                await self._wake.wait()

    async def drained(self) -> None:
        """Wait until not too many answers wait."""
        while len(self._answers) >= _MOST_WAITING:
            self._drained.clear()
            await self._drained.wait()

    def _answer(self, revision: int, **fields: object) -> None:
        self._answers.append(self._made(revision, **fields))

    def _made(self, revision: int, **fields: object) -> Values:
        self._highest = max(self._highest, revision)
        return {"header": self._backend.header(self._highest), **fields}

    def _events(self, watch: _Watch) -> Values | None:
        """Return the next events of a watch, if it has some that are wanted."""
        if self._watches.get(watch.number) is not watch or watch.watcher is None:
            return None
        if watch.is_complete:
            self._ready.append(watch)
            return self._send(watch)
        try:
            piece = watch.watcher.take()
        except Compacted as error:
            del self._watches[watch.number]
            self._due.pop(watch.number, None)
            return self._made(
                self._watchers.revision,
                watch_id=watch.number,
                canceled=True,
                compact_revision=error.data["compacted"],
            )
        if piece is None:
            # The rest of the revision was about other keys.
            return self._send(watch) if watch.held and watch.watcher.is_current else None
        self._ready.append(watch)
        return self._shown(watch, piece)

    def _shown(self, watch: _Watch, piece: Piece) -> Values | None:
        """Return an answer with events that were taken, if there is one to be sent now.

        The events of a revision come in one answer, or in fragments if the client takes them. The
        last part is held until it is known whether there are more.
        """
        events = piece.events
        if watch.filters:
            events = [event for event in events if is_wanted(event, watch.filters)]
        encoded = [event.encoded_by(watch.encode) for event in events]
        answer = None
        if watch.fragment and watch.held and encoded:
            answer = self._send(watch, fragment=True)
            watch.is_complete = not piece.is_split
        watch.held += encoded
        if events:
            watch.newest = events[-1].revision
        if answer is None and watch.held and not piece.is_split:
            answer = self._send(watch)
        return answer

    def _send(self, watch: _Watch, *, fragment: bool = False) -> Values:
        events, watch.held = watch.held, []
        watch.is_complete = watch.is_quiet = False
        self._due.pop(watch.number, None)
        return self._made(
            max(self._watchers.revision, watch.newest),
            watch_id=watch.number,
            events=events,
            fragment=fragment,
        )

    def _progress(self) -> Values | None:
        """Return a notification of progress that is due and can be given.

        A watch that is behind, or begins in the future, gives none before it is current.
        """
        if self._asked and all(watch.is_current for watch in self._watches.values()):
            revision = min((watch.revision for watch in self._watches.values()), default=0)
            if revision >= self._highest:
                self._asked = False
                return self._made(revision, watch_id=_NO_WATCH)
        for number, watch in self._due.items():
            if watch.is_current and watch.revision >= self._highest:
                del self._due[number]
                return self._made(watch.revision, watch_id=number)
        return None

    # -- waking ----------------------------------------------------------------------------------

    def woken(self, watch: _Watch) -> None:
        """*Any thread.* Note that a watch may have events."""
        self._woken.append(watch)
        if not self._is_signalled:
            self._is_signalled = True
            with suppress(RuntimeError):  # the loop has ended, and the stream with it
                self._loop.call_soon_threadsafe(self._wake.set)

    def _collect_woken(self) -> None:
        # First: what is appended after this signals again.
        self._is_signalled = False
        while self._woken:
            self._ready.append(self._woken.popleft())
