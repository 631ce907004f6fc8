"""A load that goes on in the background while something else happens to the cluster.

Pure measuring, as :mod:`benchmarks.workload`. Times are of ``time.monotonic``, which on one machine
means the same in every process: who makes things happen says later which stretch interests.
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

#: After a failed operation, seconds: a cluster without a leader must not be asked in a tight loop.
_PAUSE = 0.01
_FAILURES_KEPT = 10
_END_SECONDS = 60.0


class Recording:
    """When operations ended and how long they took. One thread adds, another one may look."""

    def __init__(self) -> None:
        self._ended = array("d")
        self._took = array("d")
        self.failed = 0
        #: What the first failures said.
        self.failures: list[str] = []

    def add(self, ended: float, took: float) -> None:
        """An operation succeeded. ``ended`` never goes back."""
        self._took.append(took)
        # Last, so that whoever finds the end finds the duration as well.
        self._ended.append(ended)

    def fail(self, error: Exception) -> None:
        """An operation failed."""
        self.failed += 1
        if len(self.failures) < _FAILURES_KEPT:
            self.failures.append(repr(error))

    def between(self, begin: float, end: float) -> Sample:
        """What ended in that stretch. One that hung and ended later belongs to a later one."""
        low, high = bisect_left(self._ended, begin), bisect_left(self._ended, end)
        return summarize(list(self._took[low:high]), end - begin)

    def forget(self, before: float) -> None:
        """Keep no longer what ended before that, so that a long load needs little memory."""
        count = bisect_left(self._ended, before)
        del self._ended[:count]
        del self._took[:count]


class Background:
    """Keeps ``outstanding`` operations under way, on a loop in a thread of its own."""

    def __init__(self, operation: Operation, outstanding: int) -> None:
        """Begin at once."""
        self.recording = Recording()
        self._operation = operation
        self._outstanding = outstanding
        self._numbers = itertools.count()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Begin no more operations and wait for those under way.

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
            except Exception as error:  # noqa: BLE001 - counted and shown; the load goes on
                self.recording.fail(error)
                await asyncio.sleep(_PAUSE)
            else:
                ended = clock()
                self.recording.add(ended, ended - began)
