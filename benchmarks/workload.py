"""The load itself: how many operations are outstanding, for how long, and what is measured.

Pure measuring: knows no peer. Every peer's client runs these same functions (the Go client of etcd
repeats them), so that a difference between two figures is a difference between two systems.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from itertools import count
from typing import Any, NamedTuple

__all__ = [
    "KEYS",
    "Load",
    "Operation",
    "Sample",
    "drive",
    "fill",
    "first_success",
    "key_of",
    "summarize",
]

#: An operation gets its running number and is done when the system has answered.
Operation = Callable[[int], Awaitable[object]]

#: Operations go round over this many keys, so that the state stays small and the log is what grows.
KEYS = 1000


def key_of(number: int) -> str:
    """The key that the operation of that number writes or reads."""
    return f"key-{number % KEYS}"


class Load(NamedTuple):
    """What is asked of a cluster: ``put`` or ``get``, how many at once, and of which node."""

    operation: str
    outstanding: int
    on: str = "leader"


@dataclass(frozen=True, slots=True)
class Sample:
    """What one measured stretch showed."""

    operations: int
    seconds: float
    p50_ms: float
    p99_ms: float
    #: The slowest one; ``None`` where a client does not tell.
    max_ms: float | None = None

    @property
    def rate(self) -> float:
        """Operations a second."""
        return self.operations / self.seconds if self.seconds else 0.0

    def as_json(self) -> dict[str, Any]:
        """The fields as plain values."""
        return asdict(self)


def summarize(latencies: list[float], seconds: float) -> Sample:
    """Reduce the latencies (in seconds) of the operations that ended within ``seconds``."""
    ordered = sorted(latencies)

    def percentile(fraction: float) -> float:
        if not ordered:
            return float("nan")
        return 1000 * ordered[min(len(ordered) - 1, int(fraction * len(ordered)))]

    slowest = 1000 * ordered[-1] if ordered else None
    return Sample(len(ordered), seconds, percentile(0.50), percentile(0.99), slowest)


async def drive(operation: Operation, outstanding: int, seconds: float, warmup: float) -> Sample:
    """Keep ``outstanding`` operations under way; count those that end within the measured stretch.

    :param warmup: seconds of the same load before measuring begins.
    :raises Exception: whatever an operation raises: a failed operation spoils the measurement.
    """
    latencies: list[float] = []
    numbers = count()
    clock = time.perf_counter
    begin = clock() + warmup
    end = begin + seconds

    async def worker() -> None:
        while (started := clock()) < end:
            await operation(next(numbers))
            done = clock()
            if begin <= done < end:
                latencies.append(done - started)

    async with asyncio.TaskGroup() as group:
        for _ in range(outstanding):
            group.create_task(worker())
    return summarize(latencies, seconds)


async def fill(operation: Operation, total: int, outstanding: int) -> None:
    """Do exactly ``total`` operations, ``outstanding`` at a time."""
    numbers = iter(range(total))

    async def worker() -> None:
        for number in numbers:
            await operation(number)

    async with asyncio.TaskGroup() as group:
        for _ in range(outstanding):
            group.create_task(worker())


async def first_success(operation: Operation, period: float, limit: float) -> int:
    """Begin an operation every ``period`` seconds; the wall clock (ns) when the first one succeeds.

    Operations overlap, since one that was handed to a dead leader may hang until its time-out.
    Their failures are expected: the cluster has no leader at first.

    :raises TimeoutError: none succeeded within ``limit`` seconds.
    """
    won: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    tasks: set[asyncio.Task[None]] = set()

    async def attempt(number: int) -> None:
        try:
            await operation(number)
        except Exception:  # noqa: BLE001 - any failure means: not yet
            return
        if not won.done():
            won.set_result(time.time_ns())

    async def keep_trying() -> None:
        for number in count():
            tasks.add(asyncio.create_task(attempt(number)))
            await asyncio.sleep(period)

    trying = asyncio.create_task(keep_trying())
    try:
        return await asyncio.wait_for(won, limit)
    finally:
        trying.cancel()
        for task in tasks:
            task.cancel()
        await asyncio.gather(trying, *tasks, return_exceptions=True)
