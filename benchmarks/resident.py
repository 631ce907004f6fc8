"""Resident memory of processes over time, sampled from outside."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import psutil

__all__ = ["MemoryWatch"]

_INTERVAL = 0.05


class MemoryWatch:
    """Samples every 50 ms on a thread, while used as a context manager.

    Processes may change: :meth:`follow` sets those to sample.
    """

    def __init__(self, interval: float = _INTERVAL) -> None:
        """:param interval: seconds between two samples."""
        self._interval = interval
        self._processes: dict[str, psutil.Process] = {}
        self._seen: dict[str, list[tuple[float, int]]] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    def follow(self, pids: Mapping[str, int]) -> None:
        """Sample these processes, by name, from now on."""
        self._processes = {name: psutil.Process(pid) for name, pid in pids.items()}

    def _run(self) -> None:
        while not self._ended.wait(self._interval):
            for name, process in self._processes.items():
                try:
                    size = int(process.memory_info().rss)
                except psutil.Error:
                    continue  # it has ended
                self._seen.setdefault(name, []).append((time.monotonic(), size))

    def peak(self, name: str, begin: float, end: float) -> int | None:
        """Return the peak in an interval of ``time.monotonic``, bytes; ``None`` if unknown."""
        found = [size for at, size in list(self._seen.get(name, ())) if begin <= at < end]
        return max(found, default=None)

    def series(self, name: str, begin: float, step: float) -> list[tuple[float, int]]:
        """Return the peak of every ``step`` seconds, by the seconds since ``begin``."""
        peaks: dict[int, int] = {}
        for at, size in list(self._seen.get(name, ())):
            slot = int((at - begin) // step)
            peaks[slot] = max(size, peaks.get(slot, 0))
        return [(slot * step, size) for slot, size in sorted(peaks.items())]
