"""Tell the store how time passes: the leader's ticks, by which leases expire.

The leader proposes ``tick`` when the first lease is due, and at least every
:attr:`Timing.lease_tick` while there are leases. Without leases nothing is proposed. A tick is
proposed to this node's own core, for one term: a deposed leader's tick is never forwarded, so it
cannot expire a lease that was renewed at its successor.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from braft_core.errors import BraftError
from braft_core.runtime import clock
from braft_core.runtime.components import Components
from braft_core.runtime.core_requests import propose_here
from braft_core.runtime.replica import Replica
from braft_core.services.envelope import encode_command
from braft_core.services.store import StoreService

__all__ = ["Lessor"]

_log = logging.getLogger(__name__)


class _Server(Protocol):
    """What the lessor needs of the server."""

    @property
    def components(self) -> Components:
        """The components of the node."""

    @property
    def replica(self) -> Replica | None:
        """The member part, if the node is a member."""


class Lessor:
    """Lives on the loop."""

    def __init__(self, server: _Server) -> None:
        self._server = server
        self._timing = server.components.timing
        self._task: asyncio.Task[None] | None = None
        self._store = next(
            (s for s in server.components.services if isinstance(s, StoreService)), None
        )

    def start(self) -> None:
        """Start ticking, if the store is in use."""
        if self._store is not None and self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(self._store))

    async def stop(self) -> None:
        """Stop ticking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self, store: StoreService) -> None:
        while True:
            wait = self._timing.lease_tick
            replica = self._server.replica if store.leases_due_at is not None else None
            if replica is not None and replica.is_leader and await self._tick(replica):
                wait = self._until_due(store.leases_due_at)
            await asyncio.sleep(wait)

    async def _tick(self, replica: Replica) -> bool:
        """Propose a tick and wait until it is applied; return whether it was."""
        term = replica.core.current_term
        data = encode_command(self._server.components.serializer, "store", "tick", [term])
        try:
            await propose_here(replica.driver, data, term, self._timing.lease_timeout)
        except BraftError as error:
            _log.debug("the leases got no tick: %s", error)
            return False
        return True

    def _until_due(self, due: int | None) -> float:
        """Return the seconds to the next tick. More leases may be due than one tick expires."""
        if due is None:
            return self._timing.lease_tick
        return min(max(due - clock.wall_ns(), 0) / 1e9, self._timing.lease_tick)
