"""The applier thread: runs the services' code, in log order, away from the consensus loop.

It is the only thread that touches the state machine. It applies commands when they are committed,
answers queries once their index is applied, and captures and restores the whole state in between.
A capture that is read in slices is read here, one slice between two batches of commands, as fast as
its consumer on another thread asks for them.

An entry or a snapshot that this node cannot execute stops applying (:class:`ApplyStop`). Later
entries are not applied or captured, and reads that need them are rejected, until a readable
snapshot replaces the state or the node restarts with what it lacked. It still replicates and votes.
"""

from __future__ import annotations

import asyncio
import functools
import heapq
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

from braft_core.abc import SlicedCapture
from braft_core.abc.service import SLICE_BYTES
from braft_core.errors import BraftError, NotReady, OutcomeUnknown, Stopped
from braft_core.raft import Entry, EntryType
from braft_core.runtime.pending import Segment
from braft_core.runtime.platform import THREADS, Platform
from braft_core.runtime.requests import Query, Request, settle
from braft_core.serializers.unsupported import UnsupportedEncoding
from braft_core.services.state_machine import StateMachine

__all__ = ["Applier", "ApplyStop", "Capture"]

_log = logging.getLogger(__name__)


class Capture(NamedTuple):
    """The state machine as it was after ``index``; ``chunks`` may be consumed on any thread."""

    index: int  # type: ignore[assignment]  # the field's name in the paper, over tuple.index
    term: int
    chunks: Iterator[bytes]


class ApplyStop(NamedTuple):
    """Why this node has stopped applying entries."""

    #: The entry that it cannot execute, or the last one in the snapshot that it cannot read.
    index: int  # type: ignore[assignment]  # the field's name in the paper, over tuple.index
    reason: str
    #: Whether the state is undefined, since a snapshot was read in part.
    state_lost: bool = False

    @property
    def message(self) -> str:
        """The reason, as users see it."""
        what = "the snapshot at entry" if self.state_lost else "entry"
        return f"this node stopped applying at {what} {self.index}: {self.reason}"


class _Job(NamedTuple):
    action: Callable[[], None]
    #: The requests that wait for it.
    segments: Sequence[Segment] = ()
    queries: Sequence[Query] = ()
    #: Gets the error if the job is not finished.
    slice: Future[bytes | None] | None = None


class Applier:
    """Owns the state machine. ``on_fatal`` and ``on_stop`` are called from the applier thread.

    Every other method only queues, and may be called from any thread.

    :param on_stop: called when applying stops, and when it goes on again.
    """

    def __init__(
        self,
        machine: StateMachine,
        name: str,
        on_fatal: Callable[[BaseException], None],
        on_stop: Callable[[], None] = lambda: None,
        platform: Platform = THREADS,
    ) -> None:
        self._machine = machine
        self._on_fatal = on_fatal
        self._on_stop = on_stop
        # Serialises put() with stop(): a job is queued before the end, or rejected.
        self._gate = threading.Lock()
        self._ended = False
        self._worker = platform.worker(name, self._work)
        #: Why no job is done any more.
        self._failed: Stopped | None = None
        #: Reads that are ahead of the state: (index, order, queries).
        self._ahead: list[tuple[int, int, list[Query]]] = []
        self._order = 0
        #: Index and term of the last applied entry. Written here, read on any thread.
        self.applied_index = 0
        self._applied_term = 0
        #: Why applying has stopped, or ``None``. Written here, read on any thread.
        self.stopped: ApplyStop | None = None
        self._distrusted = ""
        self._on_applied: list[Callable[[], None]] = []
        self._on_replaced: list[Callable[[], None]] = []
        machine.read_slices_with(self.slices)

    @property
    def fault(self) -> str:
        """Why this state must not be used, "" if it may. Any thread."""
        stop = self.stopped
        return stop.message if stop is not None else self._distrusted

    def distrust(self, reason: str) -> None:
        """Read and capture nothing, since the state differs from that of the cluster.

        :param reason: how it differs; "" if it does not any more.
        """
        self._distrusted = reason

    def call_when_applied(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` on the applier thread after entries were applied or the state replaced.

        It is called before anybody gets an answer that shows the change. It must be quick and must
        not raise. Before :meth:`start`.
        """
        self._on_applied.append(callback)

    def call_when_replaced(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` on the applier thread after the whole state was replaced.

        Before :meth:`start`.
        """
        self._on_replaced.append(callback)

    def start(self) -> None:
        """Start the thread."""
        self._worker.start()

    def apply(self, entries: Sequence[Entry], segments: list[Segment]) -> None:
        """Apply committed entries and answer the requests that wait for them."""
        self._put(_Job(functools.partial(self._apply, entries, segments), segments))

    def read(self, index: int, queries: list[Query]) -> None:
        """Serve reads once ``index`` is applied."""
        self._put(_Job(functools.partial(self._read, index, queries), queries=queries))

    def late(self, now: float) -> list[Query]:
        """Return the reads whose deadline has passed while they wait for an index."""
        ahead = list(self._ahead)
        queries = [query for _, _, waiting in ahead for query in waiting]
        return [query for query in queries if query.deadline <= now and not query.future.done()]

    def restore(self, index: int, term: int, chunks: Iterator[bytes]) -> None:
        """Replace the whole state by a snapshot's contents."""
        self._put(_Job(functools.partial(self._restore, index, term, chunks)))

    def reset(self) -> None:
        """Reset the applied index to 0; the state itself was never changed."""
        self._put(_Job(self._reset))

    async def capture(self) -> Capture:
        """Capture the state between two commands.

        :raises NotReady: applying has stopped.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Capture] = loop.create_future()
        self._put(_Job(functools.partial(self._capture, loop, future)))
        return await future

    def slices(self, capture: SlicedCapture) -> Iterator[bytes]:
        """Return an iterator over a capture for another thread; each slice is made on this one.

        It waits for what is queued before. The capture is released at its end, or when the iterator
        is dropped.

        :raises Stopped: while iterating: the node was stopped.
        """
        while (piece := self._slice(capture)) is not None:
            yield piece

    def _slice(self, capture: SlicedCapture) -> bytes | None:
        if self._worker.is_current:
            return capture.next(SLICE_BYTES)
        future: Future[bytes | None] = Future()
        self._put(_Job(functools.partial(_make_slice, capture, future), slice=future))
        return future.result()

    def stop(self, timeout: float) -> None:
        """Finish what is queued and end the thread."""
        with self._gate:
            self._ended = True
        self._worker.stop(timeout)
        self._refuse_ahead(Stopped("the node was stopped"))

    def _put(self, job: _Job) -> None:
        with self._gate:
            if not self._ended:
                self._worker.put(job)
                return
        _refuse(job, Stopped("the node was stopped"))

    def _refuse_ahead(self, why: Stopped) -> None:
        settle((query, why) for _, _, queries in self._ahead for query in queries)
        self._ahead.clear()

    # -- on the applier thread -------------------------------------------------------------------

    def _work(self, jobs: Sequence[_Job]) -> None:
        for job in jobs:
            self._do(job)

    def _do(self, job: _Job) -> None:
        if self._failed is not None:
            _refuse(job, self._failed)
            return
        try:
            job.action()
        except BaseException as error:  # noqa: BLE001 - even MemoryError, and it must be reported
            # A state machine that failed in the middle of an entry must not go on: the node ends.
            _log.exception("the state machine failed")
            self._on_fatal(error)
            self._failed = Stopped(f"the state machine of this node failed: {error!r}")
            self._refuse_ahead(self._failed)
            _refuse(job, self._failed)

    def _apply(self, entries: Sequence[Entry], segments: list[Segment]) -> None:
        outcomes: list[Any] = []
        if self.stopped is None:
            try:
                self._machine.apply_many(entries, outcomes)
            except UnsupportedEncoding as error:
                self._stop_applying(ApplyStop(entries[len(outcomes)].index, error.message))
        if outcomes:
            last = entries[len(outcomes) - 1]
            self._advance(last.index, last.term)
        if (stop := self.stopped) is not None:
            self._refuse_reads(stop)
            outcomes += [_not_applied_here(entry, stop) for entry in entries[len(outcomes) :]]
        settle(_pair(segments, outcomes))

    def _stop_applying(self, stop: ApplyStop) -> None:
        self.stopped = stop
        _log.error("%s", stop.message)
        self._on_stop()

    def _go_on_applying(self) -> None:
        if self.stopped is not None:
            self.stopped = None
            _log.info("this node applies entries again")
            self._on_stop()

    def _refuse_reads(self, stop: ApplyStop) -> None:
        """Answer the reads that need what is not applied here."""
        refused = NotReady(stop.message, index=stop.index)
        settle((query, refused) for _, _, queries in self._ahead for query in queries)
        self._ahead.clear()

    def _reset(self) -> None:
        self._go_on_applying()
        self._call_replaced()
        self._advance(0, 0)

    def _call_replaced(self) -> None:
        for callback in self._on_replaced:
            callback()

    def _advance(self, index: int, term: int) -> None:
        self.applied_index, self._applied_term = index, term
        for callback in self._on_applied:
            callback()
        while self._ahead and self._ahead[0][0] <= index:
            self._serve(heapq.heappop(self._ahead)[2])

    def _read(self, index: int, queries: list[Query]) -> None:
        stop = self.stopped
        if stop is not None and (index > self.applied_index or stop.state_lost):
            refused = NotReady(stop.message, index=stop.index)
            settle((query, refused) for query in queries)
        elif index <= self.applied_index:
            self._serve(queries)
        else:
            self._order += 1
            heapq.heappush(self._ahead, (index, self._order, queries))

    def _serve(self, queries: list[Query]) -> None:
        if self._distrusted:
            refused = NotReady(self._distrusted)
            settle((query, refused) for query in queries)
            return
        settle([(query, self._answer(query)) for query in queries])

    def _answer(self, query: Query) -> Any:
        try:
            return self._machine.query(query.service, query.name, query.args)
        except BraftError as error:
            return error

    def _restore(self, index: int, term: int, chunks: Iterator[bytes]) -> None:
        """Restore a snapshot; if it cannot be read, stop applying and wait for another one.

        ``restore`` of a service may raise anything for a format of a later version. Ending the node
        would end it again at each start.
        """
        try:
            self._machine.restore(chunks)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - see above
            why = error.message if isinstance(error, BraftError) else repr(error)
            stop = ApplyStop(index, f"it cannot be read: {why}", state_lost=True)
            self._stop_applying(stop)
            self._refuse_reads(stop)
            return
        self._go_on_applying()
        self._call_replaced()
        self._advance(index, term)

    def _capture(self, loop: asyncio.AbstractEventLoop, future: asyncio.Future[Capture]) -> None:
        fault = self.fault
        capture = None
        if not fault:
            capture = Capture(self.applied_index, self._applied_term, self._machine.snapshot())

        def hand_over() -> None:
            if future.done():
                return
            if capture is not None:
                future.set_result(capture)
            else:
                future.set_exception(NotReady(f"no snapshot can be taken: {fault}"))

        try:
            loop.call_soon_threadsafe(hand_over)
        except RuntimeError:
            _log.debug("the state was captured after the node had stopped")


def _make_slice(capture: SlicedCapture, future: Future[bytes | None]) -> None:
    try:
        piece = capture.next(SLICE_BYTES)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - the capture fails, and the state is as it was
        future.set_exception(error)
    else:
        future.set_result(piece)


def _not_applied_here(entry: Entry, stop: ApplyStop) -> BraftError | None:
    """Return the answer to requests whose committed entry is not applied here."""
    if entry.type == EntryType.CONFIGURATION:
        return None  # a configuration takes effect without the state machine
    return OutcomeUnknown(
        f"the outcome is unknown: the command is committed, and {stop.message}", index=entry.index
    )


def _refuse(job: _Job, why: Stopped) -> None:
    """Answer the requests of a job that was not finished."""
    unknown = OutcomeUnknown(f"the outcome is unknown: {why.message}")
    settle((request, unknown) for segment in job.segments for request in segment.requests)
    settle((query, why) for query in job.queries)
    if job.slice is not None and not job.slice.done():
        job.slice.set_exception(why)


def _pair(segments: list[Segment], answers: Sequence[Any]) -> list[tuple[Request, Any]]:
    return [
        (request, answers[segment.offset + position])
        for segment in segments
        for position, request in enumerate(segment.requests)
    ]
