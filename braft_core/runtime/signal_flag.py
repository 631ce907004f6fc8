"""A flag that a signal handler sets and the main thread waits for.

A handler runs in the main thread between any two instructions, so also while that thread waits.
``threading.Event`` cannot be used: ``wait`` holds a lock now and then, and ``set`` in a handler
that interrupts it there would wait for that lock for ever.
"""

from __future__ import annotations

import contextlib
import queue

__all__ = ["SignalFlag"]


class SignalFlag:
    """A flag that can be set in a signal handler, and from any thread."""

    def __init__(self) -> None:
        self._is_set = False
        # The documentation promises that `put` may interrupt `get` and `put` of the same thread.
        self._wakeups: queue.SimpleQueue[None] = queue.SimpleQueue()

    def set(self) -> None:
        """Set the flag and wake up who waits for it."""
        self._is_set = True
        self._wakeups.put(None)

    def is_set(self) -> bool:
        """Return whether the flag was set."""
        return self._is_set

    def wait(self, timeout: float) -> bool:
        """Wait until the flag is set, for at most ``timeout`` seconds; return whether it is.

        Only one thread may wait.
        """
        if not self._is_set:
            with contextlib.suppress(queue.Empty):
                self._wakeups.get(timeout=timeout)
        return self._is_set
