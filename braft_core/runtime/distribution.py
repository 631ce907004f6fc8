"""Report the live nodes to the distribute service, and each node's share to its callers.

The leader proposes the list of members that answer when it differs from the list of the service.
A node counts as gone after :attr:`Timing.gone_after` of silence, which outlasts an election.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from braft_core.errors import BraftError
from braft_core.raft import RaftCore
from braft_core.runtime.components import Components
from braft_core.runtime.events import Events
from braft_core.runtime.replica import Replica
from braft_core.runtime.requests import Command, Query
from braft_core.services.distribute import DistributeService
from braft_core.services.envelope import encode_command

__all__ = ["Distribution"]

_log = logging.getLogger(__name__)


class _Server(Protocol):
    """What distribution needs of the server."""

    @property
    def components(self) -> Components:
        """The components of the node."""

    @property
    def replica(self) -> Replica | None:
        """The member part, if the node is a member."""

    def submit(self, request: Command | Query) -> None:
        """Take a request."""


class Distribution:
    """Lives on the loop, except :meth:`watch`."""

    def __init__(self, server: _Server, events: Events) -> None:
        self._server = server
        self._events = events
        self._timing = server.components.timing
        self._task: asyncio.Task[None] | None = None
        self._service: DistributeService | None = next(
            (s for s in server.components.services if isinstance(s, DistributeService)), None
        )

    def start(self) -> None:
        """Start proposing live nodes, if the service is in use."""
        if self._service is not None and self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(self._service))

    async def stop(self) -> None:
        """Stop proposing live nodes."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def watch(self, callback: Callable[[Mapping[str, Any]], None]) -> Callable[[], None]:
        """*Any thread.* Call back on the events thread when this node's share changes.

        :raises BraftError: the distribute service is not in use here.
        """
        if self._service is None:
            raise BraftError("the service 'distribute' is not in use (BRAFT_SERVICES)")

        def dispatch(target: Callable[[dict[str, Any]], object], share: dict[str, Any]) -> None:
            self._events.call(lambda: _tell(target, share))

        return self._service.on_change(self._server.components.server_id, callback, dispatch)

    async def _run(self, service: DistributeService) -> None:
        proposed: list[str] = []
        while True:
            await asyncio.sleep(self._timing.live_check)
            replica = self._server.replica
            # Without items nothing is distributed, and the log of an unused cluster stays empty.
            if replica is None or not replica.is_leader or not service.in_use:
                proposed = []
                continue
            live = _live(replica.core, self._timing.gone_after)
            # Compare with the applied list too: a former leader may have proposed another.
            if (live != proposed or live != service.nodes) and await self._propose(live):
                proposed = live

    async def _propose(self, live: list[str]) -> bool:
        data = encode_command(self._server.components.serializer, "distribute", "set_nodes", [live])
        command = Command(data, self._timing.live_timeout, asyncio.get_running_loop())
        self._server.submit(command)
        try:
            await command.awaitable
        except BraftError as error:
            _log.debug("the live nodes could not be proposed: %s", error)
            return False
        return True


def _tell(target: Callable[[dict[str, Any]], object], share: dict[str, Any]) -> None:
    target(share)


def _live(core: RaftCore, gone_after: float) -> list[str]:
    silent = {peer.server_id for peer in core.peers() if peer.silent_for > gone_after}
    return sorted(server for server in core.configuration.ids if server not in silent)
