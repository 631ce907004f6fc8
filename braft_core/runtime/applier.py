"""The applier thread: runs the services' code, in log order, away from the consensus loop.

It is the only thread that touches the state machine: commands as they are committed, queries once
the state has reached the index they need, captures and restores of the whole in between.
"""

from __future__ import annotations

import asyncio
import functools
import heapq
import logging
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from braft_core.errors import BraftError, OutcomeUnknown, Stopped
from braft_core.raft import Entry
from braft_core.runtime.proposals import Segment
from braft_core.runtime.requests import Query, Request, settle
from braft_core.services.machine import StateMachine

__all__ = ["Applier", "Capture"]

_log = logging.getLogger(__name__)


class Capture(NamedTuple):
    """The state machine as it was after ``index``; ``chunks`` may be consumed on any thread."""

    index: int  # type: ignore[assignment]  # the field's name in the paper, over tuple.index
    term: int
    chunks: Iterator[bytes]


class _Job(NamedTuple):
    action: Callable[[], None]
    #: Who waits for it.
    segments: Sequence[Segment] = ()
    queries: Sequence[Query] = ()


class Applier:
    """Owns the state machine. ``on_fatal`` is called from the applier thread.

    Every other method only queues, and may be called from any thread.
    """

    def __init__(
        self,
        machine: StateMachine,
        name: str,
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        self._machine = machine
        self._on_fatal = on_fatal
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        # Held where a job is let in: either it comes before the end, or it is refused.
        self._gate = threading.Lock()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        #: Reads that are ahead of the state: (index, order, queries).
        self._ahead: list[tuple[int, int, list[Query]]] = []
        self._order = 0
        #: Index and term of the last entry applied. Written here, read by anybody.
        self.applied_index = 0
        self._applied_term = 0

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def apply(self, entries: Sequence[Entry], segments: list[Segment]) -> None:
        """Apply committed entries and answer the requests that wait for them."""
        self._put(_Job(functools.partial(self._apply, entries, segments), segments))

    def read(self, index: int, queries: list[Query]) -> None:
        """Serve reads once ``index`` is applied."""
        self._put(_Job(functools.partial(self._read, index, queries), queries=queries))

    def late(self, now: float) -> list[Query]:
        """Reads that wait for an index beyond their deadline: it may never come."""
        ahead = list(self._ahead)
        queries = [query for _, _, waiting in ahead for query in waiting]
        return [query for query in queries if query.deadline <= now and not query.future.done()]

    def restore(self, index: int, term: int, chunks: Iterator[bytes]) -> None:
        """Replace the whole state by a snapshot's contents."""
        self._put(_Job(functools.partial(self._restore, index, term, chunks)))

    def reset(self) -> None:
        """Forget how far was applied; the state itself was never changed."""
        self._put(_Job(functools.partial(self._advance, 0, 0)))

    async def capture(self) -> Capture:
        """The state as it is when the turn comes, between two commands."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Capture] = loop.create_future()
        self._put(_Job(functools.partial(self._capture, loop, future)))
        return await future

    def stop(self, timeout: float) -> None:
        """Finish what is queued and end the thread."""
        with self._gate:
            self._ended = True
            self._jobs.put(None)
        self._thread.join(timeout)
        self._refuse_ahead(Stopped("the node was stopped"))

    def _put(self, job: _Job) -> None:
        with self._gate:
            if not self._ended:
                self._jobs.put(job)
                return
        _refuse(job, Stopped("the node was stopped"))

    def _refuse_ahead(self, why: Stopped) -> None:
        settle((query, why) for _, _, queries in self._ahead for query in queries)
        self._ahead.clear()

    # -- on the applier thread -------------------------------------------------------------------

    def _run(self) -> None:
        job: _Job | None = None
        try:
            while (job := self._jobs.get()) is not None:
                job.action()
        except BaseException as error:  # noqa: BLE001 - even MemoryError, and it must be reported
            # A state machine that failed in the middle of an entry must not go on: the node ends.
            _log.exception("the state machine failed")
            self._on_fatal(error)
            why = Stopped(f"the state machine of this node failed: {error!r}")
            self._refuse_ahead(why)
            while job is not None:
                _refuse(job, why)
                job = self._jobs.get()

    def _apply(self, entries: Sequence[Entry], segments: list[Segment]) -> None:
        answers = self._machine.apply_many(entries)
        self._advance(entries[-1].index, entries[-1].term)
        settle(_pair(segments, answers))

    def _advance(self, index: int, term: int) -> None:
        self.applied_index, self._applied_term = index, term
        while self._ahead and self._ahead[0][0] <= index:
            self._serve(heapq.heappop(self._ahead)[2])

    def _read(self, index: int, queries: list[Query]) -> None:
        if index <= self.applied_index:
            self._serve(queries)
        else:
            self._order += 1
            heapq.heappush(self._ahead, (index, self._order, queries))

    def _serve(self, queries: list[Query]) -> None:
        settle([(query, self._answer(query)) for query in queries])

    def _answer(self, query: Query) -> Any:
        try:
            return self._machine.query(query.service, query.name, query.args)
        except BraftError as error:
            return error

    def _restore(self, index: int, term: int, chunks: Iterator[bytes]) -> None:
        self._machine.restore(chunks)
        self._advance(index, term)

    def _capture(self, loop: asyncio.AbstractEventLoop, future: asyncio.Future[Capture]) -> None:
        capture = Capture(self.applied_index, self._applied_term, self._machine.snapshot())

        def hand_over() -> None:
            if not future.done():
                future.set_result(capture)

        try:
            loop.call_soon_threadsafe(hand_over)
        except RuntimeError:
            _log.debug("the state was captured after the node had stopped")


def _refuse(job: _Job, why: Stopped) -> None:
    """Answer who waits for a job that is not done to its end."""
    unknown = OutcomeUnknown(f"the outcome is unknown: {why.message}")
    settle((request, unknown) for segment in job.segments for request in segment.requests)
    settle((query, why) for query in job.queries)


def _pair(segments: list[Segment], answers: Sequence[Any]) -> list[tuple[Request, Any]]:
    return [
        (request, answers[segment.offset + position])
        for segment in segments
        for position, request in enumerate(segment.requests)
    ]
