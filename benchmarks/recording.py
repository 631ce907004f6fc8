"""A load that runs in the background while something else happens to the cluster.

Only measures, as :mod:`benchmarks.workload`. Times are those of ``time.monotonic``, which all
processes of a machine share, so the study can ask for any interval afterwards.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from array import array
from bisect import bisect_left

from benchmarks.workload import Operation, Sample, summarize

__all__ = ["Background", "Recording"]

#: Pause after a failed operation, seconds: do not retry in a tight loop without a leader.
_PAUSE = 0.01
_FAILURES_KEPT = 10
_END_SECONDS = 60.0


class Recording:
    """Ends and durations of operations. One thread adds, another one may read."""

    def __init__(self) -> None:
        self._ended = array("d")
        self._took = array("d")
        self.failed = 0
        #: The messages of the first failures.
        self.failures: list[str] = []

    def add(self, ended: float, took: float) -> None:
        """Add a successful operation; ``ended`` never decreases."""
        self._took.append(took)
        # Last, so that a reader that sees the end also sees the duration.
        self._ended.append(ended)

    def fail(self, error: Exception) -> None:
        """Add a failed operation."""
        self.failed += 1
        if len(self.failures) < _FAILURES_KEPT:
            self.failures.append(repr(error))

    def between(self, begin: float, end: float) -> Sample:
        """Return the operations that ended in an interval, however early they began."""
        low, high = bisect_left(self._ended, begin), bisect_left(self._ended, end)
        return summarize(list(self._took[low:high]), end - begin)

    def forget(self, before: float) -> None:
        """Drop what ended earlier, so that a long load needs little memory."""
        count = bisect_left(self._ended, before)
        del self._ended[:count]
        del self._took[:count]


class Background:
    """Keeps ``outstanding`` operations running, on a loop in a separate thread."""

    def __init__(self, operation: Operation, outstanding: int) -> None:
        """Start the load."""
        self.recording = Recording()
        self._operation = operation
        self._outstanding = outstanding
        self._numbers = itertools.count()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Start no more operations, and wait for those that run.

        :raises TimeoutError: they do not end.
        """
        self._ended.set()
        self._thread.join(_END_SECONDS)
        if self._thread.is_alive():
            raise TimeoutError(f"operations are still under way after {_END_SECONDS} s")

    def _run(self) -> None:
        asyncio.run(self._all())

    async def _all(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(self._outstanding):
                group.create_task(self._worker())

    async def _worker(self) -> None:
        clock = time.monotonic
        while not self._ended.is_set():
            began = clock()
            try:
                await self._operation(next(self._numbers))
            except Exception as error:  # noqa: BLE001 - counted and shown; the load continues
                self.recording.fail(error)
                await asyncio.sleep(_PAUSE)
            else:
                ended = clock()
                self.recording.add(ended, ended - began)
