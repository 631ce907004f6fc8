"""Waiting for the node's state to change, from threads and from any event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress

from braft_core.runtime import clock

__all__ = ["StateCondition"]


class StateCondition:
    """Wakes waiters when the state has changed; each checks its own predicate."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._waiters: dict[asyncio.Future[None], asyncio.AbstractEventLoop] = {}

    def notify(self) -> None:
        """Wake everybody. From any thread."""
        with self._condition:
            self._condition.notify_all()
            waiters, self._waiters = self._waiters, {}
        here = _running_loop()
        for waiter, loop in waiters.items():
            if loop is here:
                _wake(waiter)
                continue
            with suppress(RuntimeError):  # that loop is closed: nobody waits any more
                loop.call_soon_threadsafe(_wake, waiter)

    def wait_for(self, predicate: Callable[[], bool], deadline: float) -> bool:
        """Block a thread until ``predicate`` holds or the deadline passes; whether it holds."""
        with self._condition:
            return self._condition.wait_for(predicate, max(0.0, deadline - clock.monotonic()))

    async def await_for(self, predicate: Callable[[], bool], deadline: float) -> bool:
        """:meth:`wait_for` on an event loop; ``predicate`` runs there. Cancelled, nothing is left.

        :param predicate: if the loop is not the node's, it must be one for any thread.
        """
        loop = asyncio.get_running_loop()
        while True:
            waiter: asyncio.Future[None] = loop.create_future()
            # Before the look: a change in between would be missed.
            with self._condition:
                self._waiters[waiter] = loop
            try:
                if predicate():
                    return True
                left = deadline - clock.monotonic()
                if left <= 0:
                    return False
                await asyncio.wait((waiter,), timeout=left)
            finally:
                with self._condition:
                    self._waiters.pop(waiter, None)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
