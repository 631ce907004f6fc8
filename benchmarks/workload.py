"""The load: how many operations are outstanding, for how long, and what is measured.

Only measures; must not know a peer. All peers' clients run these functions (the Go client of etcd
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

#: An operation takes its sequence number, and returns when the system has answered.
Operation = Callable[[int], Awaitable[object]]

#: Operations cycle over this many keys, so that the log grows and the state stays small.
KEYS = 1000


def key_of(number: int) -> str:
    """Return the key that the operation of that number writes or reads."""
    return f"key-{number % KEYS}"


class Load(NamedTuple):
    """A load of a cluster: ``put`` or ``get``, how many at once, and at which node."""

    operation: str
    outstanding: int
    on: str = "leader"


@dataclass(frozen=True, slots=True)
class Sample:
    """The result of one measured interval."""

    operations: int
    seconds: float
    p50_ms: float
    p99_ms: float
    #: The slowest operation; ``None`` if the client does not report it.
    max_ms: float | None = None

    @property
    def rate(self) -> float:
        """Operations per second."""
        return self.operations / self.seconds if self.seconds else 0.0

    def as_json(self) -> dict[str, Any]:
        """Return the fields as plain values."""
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
    """Keep ``outstanding`` operations running; count those that end in the measured interval.

    :param warmup: seconds of the same load before measuring begins.
    :raises Exception: what an operation raises, because a failure invalidates the measurement.
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
    """Run exactly ``total`` operations, ``outstanding`` at a time."""
    numbers = iter(range(total))

    async def worker() -> None:
        for number in numbers:
            await operation(number)

    async with asyncio.TaskGroup() as group:
        for _ in range(outstanding):
            group.create_task(worker())


async def first_success(operation: Operation, period: float, limit: float) -> int:
    """Start an operation every ``period`` seconds; return when the first one succeeded.

    Operations overlap, because one that was sent to a dead leader may hang until its timeout.
    Failures are expected: the cluster has no leader at first.

    :returns: the wall clock in nanoseconds.

    :raises TimeoutError: none succeeded within ``limit`` seconds.
    """
    won: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    tasks: set[asyncio.Task[None]] = set()

    async def attempt(number: int) -> None:
        try:
            await operation(number)
        except Exception:  # noqa: BLE001 - any failure means "not yet"
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
