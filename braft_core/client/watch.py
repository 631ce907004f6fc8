"""``client.store.watch``: the changes of some keys, as one node after the other sends them.

The caller's own thread or task receives them. When an answer ends, breaks off or goes silent, the
watch asks the next node for what comes after the last event, so nothing is lost or seen twice.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping
from contextlib import suppress
from typing import Final, Self, TypeVar

import httpx

from braft_core.client.node_rotation import NodeRotation
from braft_core.client.nodes import Call, Nodes, may_go_on
from braft_core.client.response_decoding import error_of, understood
from braft_core.client.watch_feed import WatchFeed
from braft_core.errors import BraftError, FutureRevision, InvalidRequest
from braft_core.runtime import clock
from braft_core.store import Batch, Change
from braft_core.store.wake_up import WakeUp
from braft_core.store.watch import check_progress

__all__ = ["PROGRESS", "RemoteBatches", "RemoteWatch"]

T = TypeVar("T")

_ROUTE: Final = "/v1/store/watch"
#: Seconds without a change after which a node sends something; a silent node is left.
PROGRESS: Final = 5.0
#: The least that nodes accept, seconds.
_LEAST_PROGRESS: Final = 0.1
#: A batch without changes may come this part of its time early: nodes send progress in turns.
_EARLY: Final = 0.1
#: Errors of reading an answer. The second: it was closed.
_BROKEN: Final = (httpx.RequestError, httpx.StreamError)


class RemoteWatch:
    """The changes of some keys, for a ``with`` or ``async with`` statement, then to be iterated.

    It is used like :class:`braft_core.store.Watch`, and goes on at another node when one fails. One
    thread or task iterates. :attr:`revision` and :meth:`close` are for any thread. A loop that was
    left can be continued, also after an error. It ends when :meth:`close` is called.

    :raises Compacted: while iterating: the history was compacted past what was seen.
        ``data["compacted"]`` is the oldest revision that can be read.
    :raises Unreachable: while iterating: no node has answered for ``reconnect_timeout`` seconds.
    :raises NotApplied: while iterating: for so long no node could serve the watch; says why.
    :raises Stopped: while iterating: the client was closed.
    """

    def __init__(
        self,
        nodes: Nodes,
        params: Mapping[str, str | bytes],
        since: int,
        timeout: float | None,
        reconnect_timeout: float,
    ) -> None:
        self._nodes = nodes
        self._params, self._timeout = dict(params), timeout
        self._rotation = NodeRotation(nodes.urls, reconnect_timeout)
        self._feed = WatchFeed(since)
        self._progress = PROGRESS
        self._is_open = self._is_closed = False
        self._answer: httpx.Response | None = None
        self._chunks: Iterator[bytes] | None = None
        self._achunks: AsyncIterator[bytes] | None = None
        #: What a thread or a task waits in, for :meth:`interrupt`.
        self._wake = WakeUp()
        self._waiting: tuple[asyncio.AbstractEventLoop, asyncio.Timeout] | None = None

    def __repr__(self) -> str:
        return f"<RemoteWatch {self._params} revision={self.revision}>"

    @property
    def revision(self) -> int:
        """The revision up to which every change was returned; pass it as ``since`` to go on.

        It rises without changes too.
        """
        return self._feed.revision

    # -- the statement ---------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._begin()
        try:
            while not (self._feed.received or self._is_closed):
                self._receive()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self._drop()

    async def __aenter__(self) -> Self:
        self._begin()
        try:
            while not (self._feed.received or self._is_closed):
                await self._areceive()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()
        await self._adrop()

    def close(self) -> None:
        """End it: a loop over it ends. Idempotent."""
        self._is_closed = True
        self.interrupt()

    def interrupt(self) -> None:
        """*Any thread.* Wake the thread or task that iterates: something was closed."""
        self._wake.call()
        if (waiting := self._waiting) is not None:
            with suppress(RuntimeError):  # that loop is closed: nobody waits any more
                waiting[0].call_soon_threadsafe(_end_wait, *waiting)
        elif (answer := self._answer) is not None and self._chunks is not None:
            _shut_down(answer)

    def _begin(self) -> None:
        if self._is_open or self._is_closed:
            raise InvalidRequest("this watch was used already; call watch() again")
        self._is_open = True
        self._nodes.add_watch(self)

    # -- iteration -------------------------------------------------------------------------------

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Change:
        while not self._is_closed:
            if (change := self._feed.pop()) is not None:
                return change
            self._receive()
        raise StopIteration

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Change:
        while not self._is_closed:
            if (change := self._feed.pop()) is not None:
                return change
            await self._areceive()
        raise StopAsyncIteration

    def batches(self, *, progress: float | None = None) -> RemoteBatches:
        """Iterate over the revisions, each with all its changes, with ``for`` or ``async for``.

        A revision that changes many keys is held in memory as a whole.

        :param progress: seconds after which a batch without changes is returned if there is no
            other one, at least 0.1. Its revision says how far this watch has seen.
        """
        check_progress(progress)
        return RemoteBatches(self, progress)

    def next_batch(self) -> Batch | None:
        """Return the next revision with all its changes, ``None`` if it must be waited for."""
        changes = self._feed.pop_revision()
        return None if changes is None else Batch(changes[0].revision, changes)

    @property
    def is_closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._is_closed

    # -- receiving -------------------------------------------------------------------------------

    def receive(self, progress: float | None) -> None:
        """Do one step: read some more, ask a node, or wait before that.

        :param progress: seconds after which the node is to send something.
        """
        if self._asks_too_rarely(progress):
            self._drop()
        self._receive()

    async def areceive(self, progress: float | None) -> None:
        """Call :meth:`receive` asynchronously."""
        if self._asks_too_rarely(progress):
            await self._adrop()
        await self._areceive()

    def _asks_too_rarely(self, progress: float | None) -> bool:
        wanted = max(_LEAST_PROGRESS, min(PROGRESS, progress or PROGRESS))
        if wanted >= self._progress:
            return False
        self._progress = wanted
        return True

    def _receive(self) -> None:
        if self._must_leave():
            self._drop()
        elif self._chunks is None:
            self._ask()
        else:
            try:
                goes_on = self._take(next(self._chunks, b""))
            except _BROKEN:
                goes_on = self._take(b"")
            except BaseException:
                self._drop()
                raise
            if not goes_on:
                self._drop()

    async def _areceive(self) -> None:
        """Call :meth:`_receive` asynchronously. Cancelled, it goes on after the last event."""
        if self._must_leave():
            await self._adrop()
        elif self._achunks is None:
            await self._aask()
        else:
            try:
                data = await self._interruptible(_next(self._achunks))
                goes_on = self._take(data or b"")
            except _BROKEN:
                goes_on = self._take(b"")
            except BaseException:
                await self._adrop()
                raise
            if not goes_on:
                await self._adrop()

    def _must_leave(self) -> bool:
        """Return whether the answer ended with a problem that another node may not have.

        :raises BraftError: any node has it.
        """
        if not self._is_open:
            raise InvalidRequest("this watch is not open; use it in a with statement")
        problem, self._feed.problem = self._feed.problem, None
        if problem is None:
            return False
        if not may_go_on(problem, write=False):
            raise problem
        self._note_end()
        return True

    def _take(self, data: bytes) -> bool:
        """Take a part of the answer; return ``False`` at its end.

        :raises BraftError: it is not a node's.
        """
        if data and self._answer is not None:
            understood(self._answer, lambda _: self._feed.feed(data), write=False)
            return True
        self._note_end()
        return False

    def _note_end(self) -> None:
        # The first event of an answer only says where it begins.
        self._rotation.ended(fruitless=self._feed.received <= 1)

    def _drop(self) -> None:
        """Close the answer."""
        answer, self._answer, self._chunks = self._answer, None, None
        if answer is not None:
            answer.close()

    async def _adrop(self) -> None:
        answer, self._answer, self._achunks = self._answer, None, None
        if answer is not None:
            await answer.aclose()

    # -- asking nodes ----------------------------------------------------------------------------

    def _ask(self) -> None:
        """Ask the next node, or wait before that."""
        step = self._rotation.step()
        if isinstance(step, float):
            self._wake.wait(step)
            self._rotation.waited()
            return
        try:
            answer = self._nodes.open_stream(step, self._call(), self._progress)
        except httpx.RequestError as error:
            self._rotation.silent(str(error) or type(error).__name__)
            return
        # First: another thread that closes the watch from now on sees it.
        self._answer, self._chunks = answer, answer.iter_bytes()
        try:
            serves = self._serves(answer)
        except BaseException:
            self._drop()
            raise
        if not serves or self._is_closed:
            self._drop()

    async def _aask(self) -> None:
        step = self._rotation.step()
        if isinstance(step, float):
            await self._interruptible(asyncio.sleep(step))
            self._rotation.waited()
            return
        try:
            opened = self._nodes.aopen_stream(step, self._call(), self._progress)
            answer = await self._interruptible(opened)
        except httpx.RequestError as error:
            self._rotation.silent(str(error) or type(error).__name__)
            return
        if answer is None:
            return
        self._answer, self._achunks = answer, answer.aiter_bytes()
        try:
            serves = self._serves(answer)
        except BaseException:
            await self._adrop()
            raise
        if not serves:
            await self._adrop()

    def _call(self) -> Call[None]:
        position = self._feed.position
        since = {"since": position.text} if position.revision else {}
        return Call(
            "GET",
            _ROUTE,
            _check_type,
            write=False,
            params=self._params | since | {"progress": f"{self._progress:g}"},
            # A proxy that compresses may hold events back.
            headers={"Accept": "text/event-stream", "Accept-Encoding": "identity"},
            timeout=self._timeout,
        )

    def _serves(self, answer: httpx.Response) -> bool:
        """Return whether a node serves the watch.

        :raises BraftError: no node can, or none is asked any more.
        """
        refusal = error_of(answer, write=False)
        if refusal is not None:
            if not self._may_ask_on(refusal):
                raise refusal
            self._rotation.refused(refusal)
            return False
        understood(answer, _check_type, write=False)
        self._rotation.served()
        self._feed.begin()
        return True

    def _may_ask_on(self, refusal: BraftError) -> bool:
        if isinstance(refusal, FutureRevision) and self._params.get("consistency") == "stale":
            # That node is behind one that was asked before.
            return not self._rotation.is_new
        return may_go_on(refusal, write=False)

    async def _interruptible(self, waiting: Awaitable[T]) -> T | None:
        """Await something; return ``None`` if it was interrupted."""
        try:
            async with asyncio.timeout(None) as timeout:
                self._waiting = asyncio.get_running_loop(), timeout
                if self._is_closed:
                    timeout.reschedule(0)
                return await waiting
        except TimeoutError:
            return None
        finally:
            self._waiting = None


class RemoteBatches:
    """Revisions with all their changes, for ``for`` and ``async for``; see :class:`RemoteWatch`.

    They are taken from the watch, so that both may be iterated in turn.
    """

    def __init__(self, watch: RemoteWatch, progress: float | None) -> None:
        self._watch, self._progress = watch, progress

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Batch:
        watch, due = self._watch, self._due()
        while not watch.is_closed:
            if (batch := watch.next_batch()) is not None:
                return batch
            if due is not None and clock.monotonic() >= due:
                return Batch(watch.revision, [])
            watch.receive(self._progress)
        raise StopIteration

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Batch:
        watch, due = self._watch, self._due()
        while not watch.is_closed:
            if (batch := watch.next_batch()) is not None:
                return batch
            if due is not None and clock.monotonic() >= due:
                return Batch(watch.revision, [])
            await watch.areceive(self._progress)
        raise StopAsyncIteration

    def _due(self) -> float | None:
        """Return when a batch without changes is due."""
        if self._progress is None:
            return None
        return clock.monotonic() + self._progress * (1 - _EARLY)


def _check_type(answer: httpx.Response) -> None:
    """Check that an answer is a stream of events. :raises ValueError: it is not."""
    kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind != "text/event-stream":
        raise ValueError("not a stream of events")


async def _next(chunks: AsyncIterator[bytes]) -> bytes:
    return await anext(chunks, b"")


def _end_wait(loop: asyncio.AbstractEventLoop, timeout: asyncio.Timeout) -> None:
    with suppress(RuntimeError):  # the wait is over
        timeout.reschedule(loop.time())


def _shut_down(answer: httpx.Response) -> None:
    """End the connection of an answer: a thread that reads from it wakes up."""
    stream = answer.extensions.get("network_stream")
    sock = stream.get_extra_info("socket") if stream is not None else None
    if isinstance(sock, socket.socket):
        with suppress(OSError):
            # Not the method of a TLS socket, which another thread uses.
            socket.socket.shutdown(sock, socket.SHUT_RDWR)
