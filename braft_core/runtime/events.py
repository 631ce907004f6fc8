"""The events thread: reports events to plugins and callbacks, in order, away from consensus.

A listener may block or raise; it delays other listeners at most, never the node.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

from braft_core.runtime.platform import THREADS, Platform

__all__ = ["Events"]

_log = logging.getLogger(__name__)


class Events:
    """An ordered queue of calls with a thread that makes them."""

    def __init__(self, name: str, platform: Platform = THREADS) -> None:
        self._worker = platform.worker(name, self._work)
        self._listeners: dict[str, list[Callable[..., None]]] = {}
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start the thread."""
        self._worker.start()

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
        self._worker.put(lambda: self._tell(event, args))

    def call(self, action: Callable[[], None]) -> None:
        """Queue ``action``, without blocking. Any thread."""
        self._worker.put(action)

    def stop(self, timeout: float) -> None:
        """Make the calls that are queued and end the thread. If it never started, make none."""
        self._worker.stop(timeout)

    def _tell(self, event: str, args: tuple[Any, ...]) -> None:
        with self._lock:
            listeners = list(self._listeners.get(event, ()))
        for listener in listeners:
            try:
                listener(*args)
            except Exception:  # noqa: BLE001 - a listener's bug is its own
                _log.exception("a callback for %r raised", event)

    def _work(self, actions: Sequence[Callable[[], None]]) -> None:
        for action in actions:
            try:
                action()
            except Exception:  # noqa: BLE001 - a listener's bug is its own
                _log.exception("an observer raised")
