"""The applier thread: runs the services' code, in log order, away from the consensus loop.

It is the only thread that touches the state machine: commands as they are committed, queries once
the state has reached the index they need.
"""

from __future__ import annotations

import heapq
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from braft_core.errors import BraftError, Stopped
from braft_core.raft import Entry
from braft_core.runtime.proposals import Segment
from braft_core.runtime.requests import Query, Request, settle
from braft_core.services.machine import StateMachine

__all__ = ["Applier"]

_log = logging.getLogger(__name__)


class _Entries(NamedTuple):
    entries: Sequence[Entry]
    segments: list[Segment]


class _Reads(NamedTuple):
    at: int
    queries: list[Query]


class Applier:
    """Owns the state machine. ``on_fatal`` is called from the applier thread."""

    def __init__(
        self,
        machine: StateMachine,
        name: str,
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        self._machine = machine
        self._on_fatal = on_fatal
        self._jobs: queue.SimpleQueue[_Entries | _Reads | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        #: Reads that are ahead of the state: (index, order, queries).
        self._ahead: list[tuple[int, int, list[Query]]] = []
        self._order = 0
        #: Index of the last entry applied. Written here, read by anybody.
        self.applied_index = 0

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def apply(self, entries: Sequence[Entry], segments: list[Segment]) -> None:
        """Queue committed entries and the requests that wait for them."""
        self._jobs.put(_Entries(entries, segments))

    def read(self, index: int, queries: list[Query]) -> None:
        """Queue reads that may be served once ``index`` is applied."""
        self._jobs.put(_Reads(index, queries))

    def stop(self, timeout: float) -> None:
        """Finish what is queued and end the thread."""
        self._jobs.put(None)
        self._thread.join(timeout)
        gone = Stopped("the node was stopped")
        settle((query, gone) for _, _, queries in self._ahead for query in queries)
        self._ahead.clear()

    def _run(self) -> None:
        try:
            while (job := self._jobs.get()) is not None:
                if isinstance(job, _Entries):
                    self._apply(job)
                elif job.at <= self.applied_index:
                    self._serve(job.queries)
                else:
                    self._order += 1
                    heapq.heappush(self._ahead, (job.at, self._order, job.queries))
        except BaseException as error:  # noqa: BLE001 - even MemoryError, and it must be reported
            # A state machine that failed in the middle of an entry must not go on: the node ends.
            _log.exception("the state machine failed")
            self._on_fatal(error)

    def _apply(self, job: _Entries) -> None:
        answers = self._machine.apply_many(job.entries)
        self.applied_index = job.entries[-1].index
        settle(_pair(job.segments, answers))
        while self._ahead and self._ahead[0][0] <= self.applied_index:
            self._serve(heapq.heappop(self._ahead)[2])

    def _serve(self, queries: list[Query]) -> None:
        settle([(query, self._answer(query)) for query in queries])

    def _answer(self, query: Query) -> Any:
        try:
            return self._machine.query(query.service, query.name, query.args)
        except BraftError as error:
            return error


def _pair(segments: list[Segment], answers: Sequence[Any]) -> list[tuple[Request, Any]]:
    return [
        (request, answers[segment.offset + position])
        for segment in segments
        for position, request in enumerate(segment.requests)
    ]
