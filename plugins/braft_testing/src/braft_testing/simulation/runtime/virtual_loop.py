"""An asyncio event loop in virtual time. Many of them, of several nodes, share one thread."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine
from concurrent.futures import Executor
from contextvars import Context
from functools import partial
from typing import Any, TypeVar

from braft_testing.simulation.runtime.scheduler import Process

__all__ = ["VirtualLoop"]

_T = TypeVar("_T")
#: Timers are due at most so much too early, seconds.
_RESOLUTION = 1e-6


class _Task(asyncio.Task[Any]):
    """A task whose hash follows from the run: sets of tasks have the same order in each run."""

    def __init__(self, number: int, work: Coroutine[Any, Any, Any], **options: Any) -> None:
        self.number = number
        super().__init__(work, **options)

    def __hash__(self) -> int:
        return self.number


class _Future(asyncio.Future[Any]):
    """A future whose hash follows from the run."""

    number = 0

    def __hash__(self) -> int:
        return self.number


class _Timer(asyncio.TimerHandle):
    """A timer that is equal to no other: those of asyncio are compared by time and callback."""

    __slots__ = ()
    __eq__ = object.__eq__
    __hash__ = object.__hash__


class VirtualLoop(asyncio.AbstractEventLoop):
    """One turn runs every handle that is ready, as asyncio's loop does.

    Blocking calls (``run_in_executor``) run at once at a later time: each on its own, or in order
    if the executor is given.
    """

    def __init__(self, process: Process, name: str) -> None:
        self.process, self.name = process, name
        self._scheduler = process.scheduler
        self._lane = process.lane(name)
        self._ready: deque[asyncio.Handle] = deque()
        self._running = self._planned = self._closed = False
        self._numbers = 0
        #: The timers that are neither due nor cancelled. They follow the clock of the machine.
        self._timers: dict[_Timer, None] = {}
        process.clock.on_change.append(self._plan_timers)
        #: When the last job of an executor will be over.
        self._busy_until: dict[Executor, float] = {}

    # -- life --------------------------------------------------------------------------------

    def begin(self) -> None:
        """Begin to run what is ready."""
        self._running = True
        self._wake()

    def close(self) -> None:
        """Run nothing any more."""
        self._closed = True
        self._ready.clear()

    def is_closed(self) -> bool:
        """Return whether it was closed, or its process was killed."""
        return self._closed or not self.process.alive

    def is_running(self) -> bool:
        """Return whether it began to run."""
        return self._running and not self.is_closed()

    def get_debug(self) -> bool:
        """Return ``False``: asyncio's checks read the real time."""
        return False

    def time(self) -> float:
        """Return the time by the clock of the machine."""
        return self.process.clock.monotonic()

    # -- handles -----------------------------------------------------------------------------

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """See asyncio."""
        if self.is_closed():
            raise RuntimeError("Event loop is closed")
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        self._wake()
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """See asyncio."""
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """See asyncio."""
        if self.is_closed():
            raise RuntimeError("Event loop is closed")
        handle = _Timer(when, callback, args, self, context)
        self._timers[handle] = None
        self._plan(handle)
        return handle

    def _plan(self, handle: _Timer) -> None:
        when = self.process.clock.true_time(handle.when())
        self._scheduler.at(when, partial(self._due, handle))

    def _plan_timers(self) -> None:
        """Plan all timers anew: the clock goes at another rate."""
        if not self.is_closed():
            for handle in self._timers:
                self._plan(handle)

    def _timer_handle_cancelled(self, handle: _Timer) -> None:
        """Forget the handle; it stays in the schedule, and is skipped. asyncio calls this."""
        self._timers.pop(handle, None)

    def _due(self, handle: _Timer) -> None:
        early = handle.when() > self.time() + _RESOLUTION  # the clock was faster before
        if early or handle not in self._timers or self.is_closed():
            return
        del self._timers[handle]
        self._ready.append(handle)
        self._wake()

    def _wake(self) -> None:
        if self._running and not self._planned:
            self._planned = True
            self._lane.after(self.process.latency("turn"), self._turn)

    def _turn(self) -> None:
        self._planned = False
        if self._closed:
            return
        running = asyncio._get_running_loop()
        hooks = sys.get_asyncgen_hooks()
        asyncio._set_running_loop(self)
        sys.set_asyncgen_hooks(self._first_iteration, self._finalize)
        try:
            for _ in range(len(self._ready)):
                if not self._ready:
                    break
                handle = self._ready.popleft()
                if not handle.cancelled():
                    handle._run()
        finally:
            asyncio._set_running_loop(running)
            sys.set_asyncgen_hooks(*hooks)
        if self._ready:
            self._wake()

    # -- tasks and futures -------------------------------------------------------------------

    def create_future(self) -> asyncio.Future[Any]:
        """See asyncio."""
        future = _Future(loop=self)
        self._numbers += 1
        future.number = self._numbers
        return future

    def create_task(
        self,
        coro: Any,
        *,
        name: str | None = None,
        context: Context | None = None,
    ) -> asyncio.Task[Any]:
        """See asyncio."""
        self._numbers += 1
        name = name or f"task-{self._numbers}"
        if context is None:
            return _Task(self._numbers, coro, loop=self, name=name)
        return _Task(self._numbers, coro, loop=self, name=name, context=context)

    @property
    def tasks(self) -> list[asyncio.Task[Any]]:
        """The tasks that have not ended, the oldest first."""
        found = [task for task in asyncio.all_tasks(self) if isinstance(task, _Task)]
        return sorted(found, key=hash)

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., _T], *args: Any
    ) -> asyncio.Future[_T]:
        """Run a blocking call later, in one step."""
        if self.is_closed():
            raise RuntimeError("Event loop is closed")
        future: asyncio.Future[_T] = self.create_future()
        now, takes = self._scheduler.now, self.process.latency("blocking")
        if executor is not None:
            begin = max(now, self._busy_until.get(executor, 0.0))
            takes = begin + takes - now
            self._busy_until[executor] = now + takes

        def run() -> None:
            if future.cancelled():
                return
            try:
                result = func(*args)
            except Exception as error:  # noqa: BLE001 - it is a finding
                self._settle(future, error=error)
            else:
                self._settle(future, result=result)

        self.process.lane("blocking").after(takes, run)
        return future

    def _settle(
        self,
        future: asyncio.Future[Any],
        *,
        result: Any = None,
        error: Exception | None = None,
    ) -> None:
        def settle() -> None:
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)

        if not self.is_closed():
            self.call_soon(settle)

    # -- asynchronous generators, errors -----------------------------------------------------

    def _first_iteration(self, generator: AsyncGenerator[Any, Any]) -> None:
        """Remember nothing: the garbage collector is off in a run. Python calls this."""

    def _finalize(self, generator: AsyncGenerator[Any, Any]) -> None:
        if not self.is_closed():
            self.call_soon(self.create_task, generator.aclose())

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Count an error that nobody handles as a failure of the process."""
        if self.process.alive:
            error = context.get("exception")
            self.process.failures.append(f"{self.name}: {context.get('message')}: {error!r}")
