"""What a node takes from the machine beside its plugins: randomness, threads, an event loop.

Time is in :mod:`braft_core.runtime.clock`. :data:`THREADS` is the machine itself. The simulator of
``braft_testing`` has another one, in which a seed decides and no thread exists.
"""

from __future__ import annotations

import abc
import asyncio
import concurrent.futures
import random
import secrets
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeVar

from braft_core.runtime.loop import LoopThread
from braft_core.runtime.periodic_checks import PeriodicChecks
from braft_core.runtime.workers import (
    Begin,
    JobT,
    Spawned,
    SpawnedThread,
    ThreadWorker,
    Work,
    Worker,
)

__all__ = ["THREADS", "Checks", "Platform", "RunningLoop"]

_T = TypeVar("_T")


class RunningLoop(Protocol):
    """An event loop that runs apart from its callers. See :class:`LoopThread`."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop itself."""

    @property
    def started(self) -> bool:
        """Whether it was started."""

    def start(self) -> None:
        """Begin to run."""

    def run(self, work: Coroutine[Any, Any, _T], timeout: float | None = None) -> _T:
        """Run a coroutine on the loop and wait for it here."""

    async def awaited(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run a coroutine on this loop and await it on the caller's."""

    def submit(self, work: Coroutine[Any, Any, _T]) -> concurrent.futures.Future[_T]:
        """Start a coroutine on the loop."""

    def stop(self, timeout: float) -> None:
        """End the loop."""


class Checks(Protocol):
    """Checks that run periodically. See :class:`PeriodicChecks`."""

    def start(self) -> None:
        """Begin."""

    def run_now(self) -> None:
        """Run all checks now."""

    def stop(self, timeout: float) -> None:
        """End."""


class Platform(abc.ABC):
    """The machine under a node. Methods may be called from any thread."""

    @abc.abstractmethod
    def random(self) -> float:
        """Return a random number from 0 to 1, unpredictable to others."""

    @abc.abstractmethod
    def new_random(self) -> Callable[[], float]:
        """Return a source of random numbers from 0 to 1 for one node, seeded unpredictably.

        For what is random and no secret, such as election timeouts: drawing is no system call.
        """

    @abc.abstractmethod
    def random_bytes(self, count: int) -> bytes:
        """Return random bytes, unpredictable to others."""

    @abc.abstractmethod
    def worker(
        self, name: str, work: Work[JobT], begin: Begin | None = None, *, many: bool = False
    ) -> Worker[JobT]:
        """Make a worker, not started.

        :param begin: called when jobs were taken from the queue.
        :param many: take all jobs that wait at once, instead of one.
        """

    @abc.abstractmethod
    def spawn(self, name: str, work: Callable[[], None]) -> Spawned:
        """Run ``work`` away from the loop, now."""

    @abc.abstractmethod
    def loop(self, name: str, executor_stop: float) -> RunningLoop:
        """Make an event loop, not started. See :class:`LoopThread`."""

    @abc.abstractmethod
    def checks(self, name: str, checks: Sequence[Callable[[], object]], interval: float) -> Checks:
        """Prepare periodic checks, not started. See :class:`PeriodicChecks`."""


class _Threads(Platform):
    """The machine itself: its threads, its source of randomness."""

    def __init__(self) -> None:
        self._random = random.SystemRandom().random

    def random(self) -> float:
        return self._random()

    def new_random(self) -> Callable[[], float]:
        return random.Random().random  # noqa: S311 - no secret; seeded by the system

    def random_bytes(self, count: int) -> bytes:
        return secrets.token_bytes(count)

    def worker(
        self, name: str, work: Work[JobT], begin: Begin | None = None, *, many: bool = False
    ) -> Worker[JobT]:
        return ThreadWorker(name, work, begin, many=many)

    def spawn(self, name: str, work: Callable[[], None]) -> Spawned:
        return SpawnedThread(name, work)

    def loop(self, name: str, executor_stop: float) -> RunningLoop:
        return LoopThread(name, executor_stop)

    def checks(self, name: str, checks: Sequence[Callable[[], object]], interval: float) -> Checks:
        return PeriodicChecks(name, checks, interval)


THREADS = _Threads()
