"""An executor with daemon threads, for blocking calls of a node's loop such as name resolution.

The default executor of asyncio waits for its threads at the end of the loop and of the process: a
resolver that hangs would block both. These threads are daemons, and the end waits only briefly.
"""

from __future__ import annotations

import concurrent.futures
import queue
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar

__all__ = ["DaemonExecutor"]

_T = TypeVar("_T")

_MOST = 32


class _Job(NamedTuple):
    future: concurrent.futures.Future[Any]
    work: Callable[[], Any]

    def run(self) -> Callable[[], None]:
        """Do the work, and return the function that publishes its outcome."""
        if not self.future.set_running_or_notify_cancel():
            return _nobody_waits
        try:
            result = self.work()
        except BaseException as error:  # noqa: BLE001 - it is raised where somebody waits
            return partial(self.future.set_exception, error)
        return partial(self.future.set_result, result)


def _nobody_waits() -> None:
    """Do nothing: the job was cancelled before it began."""


class DaemonExecutor(concurrent.futures.ThreadPoolExecutor):
    """A thread pool whose end is bounded in time. asyncio requires this base class.

    :param stop: seconds that a shutdown waits for running work.
    """

    def __init__(self, name: str, stop: float) -> None:
        super().__init__(_MOST, thread_name_prefix=name)
        self._name, self._stop = name, stop
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._gate = threading.Lock()
        self._workers: list[threading.Thread] = []
        self._free = 0
        self._over = False

    def submit(
        self, fn: Callable[..., _T], /, *args: Any, **kwargs: Any
    ) -> concurrent.futures.Future[_T]:
        """See :meth:`concurrent.futures.Executor.submit`."""
        future: concurrent.futures.Future[_T] = concurrent.futures.Future()
        with self._gate:
            if self._over:
                raise RuntimeError("cannot schedule new futures after shutdown")
            self._jobs.put(_Job(future, partial(fn, *args, **kwargs)))
            self._free -= 1
            if self._free < 0 and len(self._workers) < _MOST:
                self._free += 1
                name = f"{self._name}-{len(self._workers)}"
                worker = threading.Thread(target=self._run, name=name, daemon=True)
                try:
                    worker.start()
                except RuntimeError:  # the system gives no more threads
                    if not self._workers:
                        raise
                else:
                    self._workers.append(worker)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept no more work, and wait briefly for running work. Idempotent."""
        with self._gate:
            self._over = True
            for _ in self._workers:
                self._jobs.put(None)
        if not wait:
            return
        deadline = time.monotonic() + self._stop
        for worker in self._workers:
            worker.join(max(0.0, deadline - time.monotonic()))

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            tell = job.run()
            # Count this thread as free before its outcome is visible: a caller that submits the
            # next job then starts no other thread.
            with self._gate:
                self._free += 1
            tell()
            del job, tell
