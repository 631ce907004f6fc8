"""The events thread: reports events to plugins and callbacks, in order, away from consensus.

A listener may block or raise; it delays other listeners at most, never the node.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from typing import Any

__all__ = ["Events"]

_log = logging.getLogger(__name__)


class Events:
    """An ordered queue of calls with a thread that makes them."""

    def __init__(self, name: str) -> None:
        self._queue: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._listeners: dict[str, list[Callable[..., None]]] = {}
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def listen(self, event: str, callback: Callable[..., None]) -> Callable[[], None]:
        """Call ``callback`` on each ``event``; return a function that ends it. Any thread."""
        with self._lock:
            self._listeners.setdefault(event, []).append(callback)

        def end() -> None:
            with self._lock:
                listeners = self._listeners.get(event, [])
                if callback in listeners:
                    listeners.remove(callback)

        return end

    def emit(self, event: str, *args: Any) -> None:
        """Report ``event`` to its listeners, without blocking. Any thread."""
        self._queue.put(lambda: self._tell(event, args))

    def call(self, action: Callable[[], None]) -> None:
        """Queue ``action``, without blocking. Any thread."""
        self._queue.put(action)

    def stop(self, timeout: float) -> None:
        """Make the calls that are queued and end the thread. If it never started, make none."""
        self._queue.put(None)
        if self._thread.ident is not None and threading.current_thread() is not self._thread:
            self._thread.join(timeout)

    def _tell(self, event: str, args: tuple[Any, ...]) -> None:
        with self._lock:
            listeners = list(self._listeners.get(event, ()))
        for listener in listeners:
            try:
                listener(*args)
            except Exception:  # noqa: BLE001 - a listener's bug is its own
                _log.exception("a callback for %r raised", event)

    def _run(self) -> None:
        while (action := self._queue.get()) is not None:
            try:
                action()
            except Exception:  # noqa: BLE001 - a listener's bug is its own
                _log.exception("an observer raised")
