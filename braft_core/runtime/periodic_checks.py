"""Looks again, each second, at what a node would otherwise look at once, when it starts.

Files are deleted and replaced, and addresses change, while a node runs. A thread looks, because a
file system that hangs would hold up whoever asks it. Knows nothing of what is looked at.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

__all__ = ["PeriodicChecks"]

_log = logging.getLogger(__name__)
#: Seconds between two looks.
INTERVAL = 1.0


class PeriodicChecks:
    """A daemon thread that calls each of ``looks`` in turn, each ``interval`` seconds.

    One that raises is reported once, and called again; it does not keep the others from theirs.
    """

    def __init__(
        self,
        name: str,
        looks: Sequence[Callable[[], object]],
        interval: float | None = None,
    ) -> None:
        self._looks = looks
        self._interval = INTERVAL if interval is None else interval
        self._again = threading.Event()
        self._ended = False
        self._failing: set[int] = set()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def run_now(self) -> None:
        """Look at everything now. *Any thread*, and signal handlers."""
        self._again.set()

    def stop(self, timeout: float) -> None:
        """End the thread, unless it hangs in a look. Idempotent."""
        self._ended = True
        self._again.set()
        if self._thread.ident is not None:
            self._thread.join(timeout)

    def _run(self) -> None:
        while True:
            self._again.wait(self._interval)
            self._again.clear()
            if self._ended:
                return
            for number, look in enumerate(self._looks):
                self._call(number, look)

    def _call(self, number: int, look: Callable[[], object]) -> None:
        try:
            look()
        except Exception as error:  # noqa: BLE001 - the others go on, whatever it is
            if number not in self._failing:
                self._failing.add(number)
                _log.error("a periodic check failed: %r", error)
        else:
            self._failing.discard(number)
