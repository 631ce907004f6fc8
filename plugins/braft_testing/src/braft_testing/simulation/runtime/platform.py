"""The machine under a simulated node: a seed instead of randomness, lanes instead of threads."""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import random
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Generic, TypeVar

from braft_core.errors import OutcomeUnknown, Stopped
from braft_core.runtime.platform import Checks, Platform, RunningLoop
from braft_core.runtime.workers import Begin, EndOfWork, JobT, Spawned, Work, Worker
from braft_testing.simulation.runtime.scheduler import Process
from braft_testing.simulation.runtime.virtual_loop import VirtualLoop

__all__ = ["VirtualPlatform", "VirtualWorker"]

_T = TypeVar("_T")


class VirtualPlatform(Platform):
    """See :class:`Platform`. One for each life of a node."""

    def __init__(self, process: Process, rng: random.Random) -> None:
        self.process, self._rng = process, rng
        self.workers: dict[str, VirtualWorker[Any]] = {}
        self.loops: list[VirtualRunningLoop] = []

    def random(self) -> float:
        """See the base class."""
        return self._rng.random()

    def new_random(self) -> Callable[[], float]:
        """See the base class."""
        return self._rng.random

    def random_bytes(self, count: int) -> bytes:
        """See the base class."""
        return self._rng.randbytes(count)

    def worker(
        self, name: str, work: Work[JobT], begin: Begin | None = None, *, many: bool = False
    ) -> Worker[JobT]:
        """See the base class."""
        made = VirtualWorker(self.process, _kind(name), work, begin, many)
        self.workers[_kind(name)] = made
        return made

    def spawn(self, name: str, work: Callable[[], None]) -> Spawned:
        """See the base class."""
        return _Spawned(self.process, _kind(name), work)

    def loop(self, name: str, executor_stop: float) -> RunningLoop:
        """See the base class."""
        loop = VirtualRunningLoop(self.process, _kind(name))
        self.loops.append(loop)
        return loop

    def checks(self, name: str, checks: Sequence[Callable[[], object]], interval: float) -> Checks:
        """See the base class."""
        return _VirtualChecks(self.process, _kind(name), checks, interval)


def _kind(name: str) -> str:
    """Return ``writer`` of ``braft-15000-writer``."""
    return name.rpartition("-")[2]


class VirtualWorker(Generic[JobT]):
    """A queue whose jobs take virtual time: they are taken, and done in one step later."""

    def __init__(
        self, process: Process, kind: str, work: Work[JobT], begin: Begin | None, many: bool
    ) -> None:
        self._process, self.kind, self._work = process, kind, work
        self._begin, self._many = begin, many
        self._lane = process.lane(kind)
        self._queue: deque[JobT] = deque()
        self._started = self._busy = self._stopping = False
        #: The jobs under way.
        self.taken: list[JobT] = []
        self.ended = True
        #: Everything happens in one thread.
        self.is_current = True

    def start(self) -> None:
        """See :class:`Worker`."""
        self._started, self.ended = True, False
        self._go_on()

    def put(self, job: JobT) -> None:
        """See :class:`Worker`."""
        self._queue.append(job)
        self._go_on()

    def stop(self, timeout: float) -> None:
        """See :class:`Worker`."""
        self._stopping = True
        if self._started:
            self._go_on()
            self._process.wait(lambda: self.ended, timeout)

    def _go_on(self) -> None:
        if not self._started or self._busy or self.ended:
            return
        self._busy = True
        self._lane.after(self._process.latency("turn"), self._take)

    def _take(self) -> None:
        if not self._queue:
            self._busy, self.ended = False, self._stopping
            return
        count = len(self._queue) if self._many else 1
        self.taken = [self._queue.popleft() for _ in range(count)]
        if self._begin is not None:
            self._begin()
        self._lane.after(self._process.latency(self.kind), self._do)

    def _do(self) -> None:
        try:
            wait = self._work(self.taken)
        except EndOfWork:
            self._end()
            return
        except Exception as error:  # noqa: BLE001 - it is a finding
            self._process.failures.append(f"the thread {self.kind} failed: {error!r}")
            self._end()
            return
        if wait is None:
            self.taken = []
            self._lane.after(self._process.latency("turn"), self._take)
        else:
            self._again(self._process.scheduler.now + wait)

    def _again(self, when: float) -> None:
        """Wait, but no longer than until the worker is to end."""
        now = self._process.scheduler.now
        if self._stopping:
            self._end()
        elif now >= when:
            self._do()
        else:
            self._lane.after(min(0.05, when - now), lambda: self._again(when))

    def _end(self) -> None:
        self._busy, self.ended = False, True
        self.taken.clear()
        self._queue.clear()

    def finish_after_death(self) -> None:
        """Do the jobs under way although the process was killed: they had reached the machine."""
        if self.taken:
            self._work(self.taken)


class _Spawned:
    def __init__(self, process: Process, kind: str, work: Callable[[], None]) -> None:
        self._process, self._kind, self._work, self._ended = process, kind, work, False
        process.lane(kind).after(process.latency(kind), self._run)

    def _run(self) -> None:
        try:
            self._work()
        except Exception as error:  # noqa: BLE001 - it is a finding
            self._process.failures.append(f"the thread {self._kind} failed: {error!r}")
        self._ended = True

    def join(self, timeout: float) -> None:
        self._process.wait(lambda: self._ended, timeout)


class _VirtualChecks:
    def __init__(
        self,
        process: Process,
        kind: str,
        checks: Sequence[Callable[[], object]],
        interval: float,
    ) -> None:
        self._process, self._checks, self._interval = process, checks, interval
        self._lane, self._ended = process.lane(kind), False

    def start(self) -> None:
        self._lane.after(self._interval, self._run)

    def run_now(self) -> None:
        for check in self._checks:
            check()

    def stop(self, timeout: float) -> None:
        self._ended = True

    def _run(self) -> None:
        if not self._ended:
            try:
                self.run_now()
            except Exception as error:  # noqa: BLE001 - it is a finding
                self._process.failures.append(f"a periodic check failed: {error!r}")
            self._lane.after(self._interval, self._run)


class VirtualRunningLoop:
    """See :class:`braft_core.runtime.loop.LoopThread`, whose contract this keeps."""

    def __init__(self, process: Process, name: str) -> None:
        self._process = process
        self.loop = VirtualLoop(process, name)  # type: ignore[abstract]  # what is missing raises
        self._started = self._ended = False
        self._submitted: list[Coroutine[Any, Any, Any]] = []
        #: Tasks that were left when the loop was to end.
        self.left: list[str] = []

    @property
    def started(self) -> bool:
        """Whether it was started."""
        return self._started

    def start(self) -> None:
        """Begin to run."""
        self._started = True
        self.loop.begin()

    def run(self, work: Coroutine[Any, Any, _T], timeout: float | None = None) -> _T:
        """Run a coroutine and wait for it: other events happen meanwhile."""
        future = self.submit(work)
        if not self._process.wait(future.done, timeout if timeout is not None else 3600.0):
            future.cancel()
            raise TimeoutError
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise OutcomeUnknown("the node was stopped while this was under way") from None

    async def awaited(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run a coroutine on this loop and await it on the caller's."""
        future = self.submit(work)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if caller is not None and caller.cancelling():
                raise
            raise OutcomeUnknown("the node was stopped while this was under way") from None

    def submit(self, work: Coroutine[Any, Any, _T]) -> concurrent.futures.Future[_T]:
        """Start a coroutine on the loop. :raises Stopped: the loop has ended."""
        if self._ended or self.loop.is_closed():
            work.close()
            raise Stopped("the node was stopped")
        self._submitted.append(work)
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def drop(self) -> None:
        """Close what was submitted and never began, since the process was killed before."""
        for work in self._submitted:
            if inspect.getcoroutinestate(work) == inspect.CORO_CREATED:
                work.close()

    def stop(self, timeout: float) -> None:
        """End the loop: cancel what is left, then close it. Idempotent."""
        if self.loop.is_closed():
            return
        if not self._started:
            self.loop.close()
            return
        self.loop.call_soon(self._finish)
        self._process.wait(self.loop.is_closed, timeout)

    def _finish(self) -> None:
        if not self._ended:
            self._ended = True
            self.left = [task.get_name() for task in self.loop.tasks]
        tasks = self.loop.tasks
        if not tasks:
            self.loop.close()
            return
        for task in tasks:
            task.cancel()
        together = asyncio.gather(*tasks, return_exceptions=True)
        together.add_done_callback(lambda _: self._finish())
