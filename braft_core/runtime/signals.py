"""Waiting for the node's state to change, from threads and from the loop alike."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from braft_core.runtime import clock

__all__ = ["Signal"]


class Signal:
    """Says "look again". What to look at is the waiter's business."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._waiters: list[asyncio.Future[None]] = []

    def notify(self) -> None:
        """Wake everybody. On the loop."""
        with self._condition:
            self._condition.notify_all()
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def wait_for(self, predicate: Callable[[], bool], deadline: float) -> bool:
        """Block a thread until ``predicate`` holds or the deadline passes; whether it holds."""
        with self._condition:
            return self._condition.wait_for(predicate, max(0.0, deadline - clock.monotonic()))

    async def await_for(self, predicate: Callable[[], bool], deadline: float) -> bool:
        """:meth:`wait_for` on the loop."""
        loop = asyncio.get_running_loop()
        while not predicate():
            left = deadline - clock.monotonic()
            if left <= 0:
                return False
            waiter: asyncio.Future[None] = loop.create_future()
            self._waiters.append(waiter)
            await asyncio.wait((waiter,), timeout=left)
        return True
