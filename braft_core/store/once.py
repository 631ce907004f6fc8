"""An event that happens once, awaited by threads and on any event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator
from contextlib import suppress
from functools import partial
from typing import Any

__all__ = ["Once"]


class Once:
    """Like ``threading.Event`` without a way back, and ``await event`` waits for it too.

    Thread-safe. A waiter that is cancelled leaves nothing.
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._waiters: dict[asyncio.Future[None], asyncio.AbstractEventLoop] = {}
        self._listeners: list[Callable[[], object]] = []

    def __repr__(self) -> str:
        return f"<{'set' if self.is_set() else 'not set'}>"

    def is_set(self) -> bool:
        """Return whether it has happened."""
        return self._event.is_set()

    def set(self) -> bool:
        """Let it happen; return whether it had not happened before."""
        with self._lock:
            if self._event.is_set():
                return False
            self._event.set()
            waiters, self._waiters = self._waiters, {}
            listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener()
        for waiter, loop in waiters.items():
            with suppress(RuntimeError):  # that loop is closed: nobody waits any more
                loop.call_soon_threadsafe(_wake, waiter)
        return True

    def wait(self, timeout: float | None = None) -> bool:
        """Block this thread until it happens, ``timeout`` seconds at most; return whether it has.

        On an event loop ``await`` the object instead.
        """
        return self._event.wait(timeout)

    def listen(self, listener: Callable[[], object]) -> Callable[[], None]:
        """Call ``listener()`` when it happens, in the thread that lets it; now if it has.

        The listener must neither block nor raise. Return a function that ends this.
        """
        with self._lock:
            if not self._event.is_set():
                self._listeners.append(listener)
                return partial(self._end, listener)
        listener()
        return _nothing

    def _end(self, listener: Callable[[], object]) -> None:
        with self._lock:
            if listener in self._listeners:
                self._listeners.remove(listener)

    def __await__(self) -> Generator[Any, None, bool]:
        return self.await_for(None).__await__()

    async def await_for(self, timeout: float | None) -> bool:
        """Call :meth:`wait` asynchronously. Cancelled, nothing is left."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        with self._lock:
            if self._event.is_set():
                return True
            self._waiters[waiter] = loop
        try:
            await asyncio.wait((waiter,), timeout=timeout)
            return self._event.is_set()
        finally:
            with self._lock:
                self._waiters.pop(waiter, None)


def _nothing() -> None:
    """Do nothing: there is nothing to end."""


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
