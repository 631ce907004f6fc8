"""The network between simulated nodes: the memory transport's, with delays, losses and cuts."""

from __future__ import annotations

import asyncio
import concurrent.futures
import random
from collections.abc import Callable
from typing import Any

from braft_core.abc import TransportHandler
from braft_core.errors import Unreachable
from braft_core.transport.memory import MemoryNetwork, MemoryTransport
from braft_testing.simulation.runtime.scheduler import Scheduler

__all__ = ["VirtualNetwork"]


class VirtualNetwork(MemoryNetwork):
    """Carries everything in virtual time. What one node sends to another arrives in order.

    :param latency: draws how long one message travels, seconds.
    """

    def __init__(
        self, scheduler: Scheduler, rng: random.Random, latency: Callable[[], float]
    ) -> None:
        super().__init__()
        self._scheduler, self._rng, self._latency = scheduler, rng, latency
        #: The share of messages that are lost.
        self.loss = 0.0
        self.messages = 0
        self._arrivals: dict[tuple[str, str], float] = {}
        self._foreign: list[tuple[asyncio.AbstractEventLoop, concurrent.futures.Future[Any]]] = []

    def cut(self, source: tuple[str, ...], target: tuple[str, ...]) -> bool:
        """Return whether a message is lost: by a cut, or by chance."""
        return super().cut(source, target) or (
            self.loss > 0 and source != target and self._rng.random() < self.loss
        )

    def deliver(
        self,
        source: MemoryTransport,
        target: MemoryTransport,
        act: Callable[[TransportHandler], None],
    ) -> bool:
        """See the base class. It arrives later, if the target still listens then."""
        if target.loop.is_closed():
            return False
        self.messages += 1
        way = (source.identity.server_id, target.identity.server_id)
        arrival = max(self._scheduler.now + self._latency(), self._arrivals.get(way, 0.0) + 1e-6)
        self._arrivals[way] = arrival
        self._scheduler.at(arrival, lambda: _arrive(target, act))
        return True

    def run_on(self, target: MemoryTransport, step: Any) -> asyncio.Future[Any]:
        """See the base class. The outcome is an error once the target is killed."""
        if target.loop.is_closed():
            step.close()
            raise Unreachable("the node is gone", sent=False)
        foreign = asyncio.run_coroutine_threadsafe(step, target.loop)
        self._foreign = [one for one in self._foreign if not one[1].done()]
        self._foreign.append((target.loop, foreign))
        return asyncio.wrap_future(foreign)

    def forget(self, loop: asyncio.AbstractEventLoop) -> None:
        """Break what waits for a loop whose process was killed."""
        for where, foreign in self._foreign:
            if where is loop and not foreign.done():
                foreign.set_exception(Unreachable("the connection broke", sent=True))


def _arrive(target: MemoryTransport, act: Callable[[TransportHandler], None]) -> None:
    if not target.loop.is_closed():
        target.post(act)
