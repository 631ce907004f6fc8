"""Compact the history of the store and set its quota, as the leader's settings say.

The leader proposes ``compact`` when the history is older or longer than ``BRAFT_STORE_HISTORY``,
and ``configure`` when the quota of the store is not ``BRAFT_STORE_MAX_BYTES``. A new leader knows
no ages of revisions, so it keeps them a little longer.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Any, Protocol

from braft_core.errors import BraftError
from braft_core.runtime import clock
from braft_core.runtime.components import Components
from braft_core.runtime.replica import Replica
from braft_core.runtime.requests import Command, Query
from braft_core.services.envelope import encode_command
from braft_core.services.store import StoreService, Upkeep

__all__ = ["HistoryWindow", "StoreUpkeep"]

_log = logging.getLogger(__name__)
#: Samples of the revision in the time that is kept. So many compactions there are in that time.
_SAMPLES = 20
#: The part by which the number of revisions may be exceeded, so that a busy store is not compacted
#: all the time.
_SLACK = 10


class HistoryWindow:
    """Decides up to which revision to compact. Pure.

    :param age: seconds for which a revision is kept; 0 for any time.
    :param number: how many revisions are kept; 0 for any number.
    """

    def __init__(self, age: float, number: int) -> None:
        self._age, self._number = age, number
        #: When the store was at which revision, the oldest first.
        self._samples: deque[tuple[float, int]] = deque()

    def forget(self) -> None:
        """Forget the ages of revisions: another node may have led."""
        self._samples.clear()

    def target(self, now: float, revision: int, compacted: int) -> int | None:
        """Return the revision to compact up to, ``None`` if there is nothing to do.

        :param now: seconds of a clock that does not go back.
        """
        target = max(self._by_age(now, revision), self._by_number(revision, compacted))
        return target if target > compacted else None

    def _by_age(self, now: float, revision: int) -> int:
        if not self._age:
            return 0
        samples = self._samples
        if not samples or now - samples[-1][0] >= self._age / _SAMPLES:
            samples.append((now, revision))
        old = 0
        while samples and now - samples[0][0] >= self._age:
            old = samples.popleft()[1]
        return old

    def _by_number(self, revision: int, compacted: int) -> int:
        if not self._number or revision - compacted <= self._number + self._number // _SLACK:
            return 0
        return revision - self._number


class _Server(Protocol):
    """What the upkeep needs of the server."""

    @property
    def components(self) -> Components:
        """The components of the node."""

    @property
    def replica(self) -> Replica | None:
        """The member part, if the node is a member."""

    def submit(self, request: Command | Query) -> None:
        """Take a request."""


class StoreUpkeep:
    """Lives on the loop."""

    def __init__(self, server: _Server) -> None:
        self._server = server
        components = server.components
        self._timing = components.timing
        self._window = HistoryWindow(*components.settings.store_history)
        self._quota = components.settings.store_max_bytes
        self._task: asyncio.Task[None] | None = None
        self._service = next((s for s in components.services if isinstance(s, StoreService)), None)

    def start(self) -> None:
        """Start proposing, if the service is in use."""
        if self._service is not None and self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(self._service))

    async def stop(self) -> None:
        """Stop proposing."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self, service: StoreService) -> None:
        while True:
            await asyncio.sleep(self._timing.store_check)
            replica, upkeep = self._server.replica, service.upkeep
            # The log of a cluster that does not use the store stays empty.
            if replica is None or not replica.is_leader or upkeep.revision <= 1:
                self._window.forget()
                continue
            await self._look_after(upkeep)

    async def _look_after(self, upkeep: Upkeep) -> None:
        if upkeep.quota != self._quota:
            await self._propose("configure", [self._quota])
        target = self._window.target(clock.monotonic(), upkeep.revision, upkeep.compacted)
        if target is not None:
            await self._propose("compact", [target])

    async def _propose(self, name: str, arguments: list[Any]) -> None:
        data = encode_command(self._server.components.serializer, "store", name, arguments)
        command = Command(data, self._timing.live_timeout, asyncio.get_running_loop())
        self._server.submit(command)
        try:
            await command.awaitable
        except BraftError as error:
            _log.debug("store.%s%r could not be done: %s", name, arguments, error)
