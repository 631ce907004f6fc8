"""A call that wakes the one who waits for it, in a thread or on an event loop."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress

__all__ = ["WakeUp"]


class WakeUp:
    """A flag that one waiter takes back. Many are made, so it is small."""

    __slots__ = ("_gate", "_waiter")

    def __init__(self) -> None:
        #: Locked: not called. It has no owner, so that any thread may open it.
        self._gate = threading.Lock()
        self._gate.acquire()
        self._waiter: tuple[asyncio.AbstractEventLoop, asyncio.Future[None]] | None = None

    def call(self) -> None:
        """Wake the waiter, or the next one. Any thread."""
        with suppress(RuntimeError):  # it was called before
            self._gate.release()
        # After the gate: a waiter that misses the call of before is seen here.
        if (waiter := self._waiter) is not None:
            with suppress(RuntimeError):  # that loop is closed: nobody waits any more
                waiter[0].call_soon_threadsafe(_wake, waiter[1])

    def wait(self, timeout: float | None = None) -> bool:
        """Block this thread until the call, ``timeout`` seconds at most; return whether it came."""
        return self._gate.acquire(timeout=-1 if timeout is None else max(timeout, 0.0))

    async def await_call(self, timeout: float | None = None) -> bool:
        """Call :meth:`wait` asynchronously. Cancelled, nothing is left."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._waiter = loop, future
        try:
            if not self._gate.acquire(blocking=False):
                await asyncio.wait((future,), timeout=timeout)
                return self._gate.acquire(blocking=False)
            return True
        finally:
            self._waiter = None


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
