"""The thread that runs a node's event loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import importlib
import logging
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from braft_core.errors import OutcomeUnknown, Stopped
from braft_core.runtime.blocking import check_may_block
from braft_core.runtime.daemon_executor import DaemonExecutor

__all__ = ["LoopThread", "new_loop"]

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


def new_loop() -> asyncio.AbstractEventLoop:
    """Make an event loop: uvloop's if it is installed (the extra ``speed``), else asyncio's."""
    try:
        uvloop = importlib.import_module("uvloop")
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


class LoopThread:
    """An asyncio loop in a daemon thread of its own, so that user code never starves it.

    :param executor_stop: see :class:`DaemonExecutor`.
    """

    def __init__(self, name: str, executor_stop: float) -> None:
        self.loop = new_loop()
        self.loop.set_default_executor(DaemonExecutor(f"{name}-wait", executor_stop))
        # Serialises submit() with the end: a coroutine becomes a task before it, or is rejected.
        self._gate = threading.RLock()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def started(self) -> bool:
        """Whether the thread was started."""
        return self._thread.ident is not None

    @property
    def is_current(self) -> bool:
        """Whether the caller runs on this loop."""
        return threading.current_thread() is self._thread

    def run(self, work: Coroutine[Any, Any, _T], timeout: float | None = None) -> _T:
        """Run a coroutine on the loop and wait for it here.

        :raises Stopped: called on the loop itself (it would wait for itself), or after the end.
        :raises OutcomeUnknown: the loop ended before it did.
        :raises TimeoutError: it took longer; it is cancelled.
        """
        try:
            check_may_block()
        except RuntimeError:
            work.close()
            raise
        if self.is_current:
            work.close()
            raise Stopped("a blocking call was made on the node's own loop; use its async variant")
        future = self.submit(work)
        try:
            return future.result(timeout)
        except concurrent.futures.TimeoutError:
            future.cancel()
            raise TimeoutError from None
        except concurrent.futures.CancelledError:
            raise OutcomeUnknown("the node was stopped while this was under way") from None
        except KeyboardInterrupt:
            future.cancel()  # its caller is gone
            raise

    async def awaited(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run a coroutine on this loop and await it on the caller's.

        :raises Stopped: the loop has ended. :raises OutcomeUnknown: it ended before the work did.
        """
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
        with self._gate:
            if not self._ended:
                return asyncio.run_coroutine_threadsafe(work, self.loop)
        work.close()
        raise Stopped("the node was stopped")

    def stop(self, timeout: float) -> None:
        """End the loop and its thread. Idempotent."""
        if self.loop.is_closed():
            return
        if not self.started:
            self.loop.close()
            return
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(timeout)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            self._finish()

    def _finish(self) -> None:
        loop = self.loop
        with self._gate:
            self._ended = True
        # One iteration, so that coroutines submitted last become tasks.
        loop.run_until_complete(asyncio.sleep(0))
        while tasks := asyncio.all_tasks(loop):
            for task in tasks:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
