"""Run checks periodically: files and addresses may change while a node runs.

A thread runs them, because a file system that hangs blocks its caller. Knows nothing of the checks.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

__all__ = ["PeriodicChecks"]

_log = logging.getLogger(__name__)


class PeriodicChecks:
    """A daemon thread that calls each of ``checks`` in turn, each ``interval`` seconds.

    A check that raises is logged once and called again; the other checks still run.
    """

    def __init__(
        self,
        name: str,
        checks: Sequence[Callable[[], object]],
        interval: float,
    ) -> None:
        self._checks = checks
        self._interval = interval
        self._again = threading.Event()
        self._ended = False
        self._failing: set[int] = set()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def run_now(self) -> None:
        """Run all checks now. *Any thread*, and signal handlers."""
        self._again.set()

    def stop(self, timeout: float) -> None:
        """End the thread, unless a check hangs. Idempotent."""
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
            for number, check in enumerate(self._checks):
                self._call(number, check)

    def _call(self, number: int, check: Callable[[], object]) -> None:
        try:
            check()
        except Exception as error:  # noqa: BLE001 - the others go on, whatever it is
            if number not in self._failing:
                self._failing.add(number)
                _log.error("a periodic check failed: %r", error)
        else:
            self._failing.discard(number)
