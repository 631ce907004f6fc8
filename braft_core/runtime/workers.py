"""Workers: what a node does away from its event loop, one queue of jobs and one thread each.

A worker's code says what it does with the jobs that wait. Who calls it, and when, is the
:class:`~braft_core.runtime.platform.Platform`'s affair: a thread in production, a deterministic
queue in a simulation. So the code neither sleeps nor waits: it returns how long to wait.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

__all__ = ["Begin", "EndOfWork", "Spawned", "SpawnedThread", "ThreadWorker", "Work", "Worker"]

JobT = TypeVar("JobT")
_Job = TypeVar("_Job", contravariant=True)

#: Does jobs, in order. Returns ``None`` when they are done; else seconds after which it is called
#: again with the same jobs. The end of the worker cuts that short, and drops the jobs.
Work = Callable[[Sequence[JobT]], "float | None"]
#: Called when jobs were taken from the queue, right before the first call of :data:`Work`.
Begin = Callable[[], None]


class EndOfWork(Exception):
    """Raised by a worker's code: end the worker and do none of the jobs that wait."""


class Worker(Protocol[_Job]):
    """One queue of jobs, done one after the other. Methods may be called from any thread."""

    def start(self) -> None:
        """Begin to do jobs."""

    def put(self, job: _Job) -> None:
        """Queue a job, without blocking."""

    def stop(self, timeout: float) -> None:
        """Do what is queued, end, and wait for that. Idempotent; without a start, do nothing."""

    @property
    def ended(self) -> bool:
        """Whether no job is under way, and none will be."""

    @property
    def is_current(self) -> bool:
        """Whether the caller may do by itself what it would queue: no other thread works here."""


class Spawned(Protocol):
    """One piece of work that runs away from the loop."""

    def join(self, timeout: float) -> None:
        """Wait for its end."""


class ThreadWorker(Generic[JobT]):
    """A worker that is a daemon thread. See :class:`Worker`.

    :param many: take all jobs that wait at once, instead of one.
    """

    def __init__(
        self, name: str, work: Work[JobT], begin: Begin | None = None, *, many: bool = False
    ) -> None:
        self._work, self._begin, self._many = work, begin, many
        self._queue: queue.SimpleQueue[JobT | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        #: Queues a job. ``None`` is the end.
        self.put: Callable[[JobT], None] = self._queue.put

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """End the thread, unless it is the caller's: then it ends after the present job."""
        self._closing.set()
        self._queue.put(None)
        if self._thread.ident is not None and threading.current_thread() is not self._thread:
            self._thread.join(timeout)

    @property
    def ended(self) -> bool:
        """Whether the thread does not run."""
        return not self._thread.is_alive()

    @property
    def is_current(self) -> bool:
        """Whether this is the thread of the worker."""
        return threading.get_ident() == self._thread.ident

    def _run(self) -> None:
        try:
            while (job := self._queue.get()) is not None:
                jobs, last = [job], False
                while self._many and not self._queue.empty():
                    another = self._queue.get()
                    if another is None:
                        last = True
                        break
                    jobs.append(another)
                self._do(jobs)
                if last:
                    return
                del job, jobs  # an idle worker keeps no caller's data alive
        except EndOfWork:
            return

    def _do(self, jobs: Sequence[JobT]) -> None:
        if self._begin is not None:
            self._begin()
        while (wait := self._work(jobs)) is not None:
            if self._closing.wait(wait):
                raise EndOfWork


class SpawnedThread:
    """One piece of work in a daemon thread. See :class:`Spawned`."""

    def __init__(self, name: str, work: Callable[[], None]) -> None:
        self._thread = threading.Thread(target=work, name=name, daemon=True)
        self._thread.start()

    def join(self, timeout: float) -> None:
        """Wait for its end."""
        self._thread.join(timeout)
