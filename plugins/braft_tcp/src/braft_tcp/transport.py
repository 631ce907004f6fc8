"""The transport ``tcp``: listens, keeps a link per peer, and answers for both.

Owns start and stop; each concern has a module of its own beside this one.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import ClassVar

from braft_core.abc import Transport, TransportHandler, TransportOptions
from braft_core.errors import Stopped, Unreachable
from braft_core.peer import PeerReply, PeerRequest
from braft_core.raft import InstallSnapshot, InstallSnapshotResponse, Request, Response
from braft_core.transport import Outgoing
from braft_tcp.calls import CallPool
from braft_tcp.link import PeerLink
from braft_tcp.local import LocalEnd
from braft_tcp.server import Listener
from braft_tcp.snapshots import carry

__all__ = ["TcpTransport"]

#: Longest time between two looks for silence, seconds.
_WATCH = 0.5


class TcpTransport(Transport):
    """Raft messages and peer calls over framed TCP. See :class:`braft_core.abc.Transport`."""

    name: ClassVar[str] = "tcp"
    caution: ClassVar[str] = (
        "every node of the cluster has to use it, and no gRPC is answered (Raft, braft.v1, health, "
        "reflection, HashiCorp peers); HTTP is as ever"
    )

    def __init__(self, options: TransportOptions) -> None:
        super().__init__(options)
        #: Addresses in fact listened on, with the ports chosen for 0. Set by :meth:`start`.
        self.listening: tuple[str, ...] = ()
        self._running: _Running | None = None

    @property
    def counters(self) -> Counter[str]:
        """Events since the start: ``refused_*``, ``refused_by_peer``, ``dropped``."""
        return self._running.local.counters if self._running else Counter()

    async def start(self, handler: TransportHandler) -> None:
        """See the base class."""
        running = _Running(LocalEnd(self.options, handler))
        self.listening = await running.start()
        self._running = running

    async def stop(self) -> None:
        """See the base class."""
        running, self._running = self._running, None
        if running is not None:
            await running.stop()

    def set_peer(self, server_id: str, address: str) -> None:
        """See the base class."""
        if self._running is not None:
            self._running.set_peer(server_id, address)

    def remove_peer(self, server_id: str) -> None:
        """See the base class."""
        if self._running is not None:
            self._running.remove_peer(server_id)

    def send(self, message: Request) -> None:
        """See the base class."""
        if self._running is not None:
            self._running.send(message)

    def reply(self, message: Response) -> None:
        """See the base class."""
        if self._running is not None:
            self._running.listener.reply(message)

    async def call(self, address: str, request: PeerRequest, timeout: float) -> PeerReply:
        """See the base class."""
        if self._running is None:
            raise Stopped("the transport is not running")
        return await self._running.pool.call(address, request, timeout)


class _Running:
    """A started transport: everything that :meth:`stop` ends."""

    def __init__(self, local: LocalEnd) -> None:
        self.local = local
        self.pool = CallPool(local)
        self.listener = Listener(local, self._heard_from)
        self._outgoing = Outgoing(self._carry, local.handler.on_message)
        self._links: dict[str, PeerLink] = {}
        self._strangers: set[str] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._interval = min(_WATCH, local.options.rpc_timeout / 4)
        self._timer: asyncio.TimerHandle | None = None

    async def start(self) -> tuple[str, ...]:
        try:
            listening = await self.listener.start()
        except BaseException:
            await self.listener.stop()
            raise
        self._timer = self._loop.call_later(self._interval, self._watch)
        return listening

    async def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        links = list(self._links.values())
        self._links.clear()
        await asyncio.gather(
            self.listener.stop(),
            self._outgoing.stop(),
            self.pool.close(),
            *(link.close() for link in links),
            *self._closing,
        )

    def set_peer(self, server_id: str, address: str) -> None:
        link = self._links.get(server_id)
        if link is not None and link.address == address:
            return
        self.remove_peer(server_id)
        self._strangers.discard(server_id)
        self._links[server_id] = PeerLink(self.local, server_id, address)

    def remove_peer(self, server_id: str) -> None:
        link = self._links.pop(server_id, None)
        self._outgoing.cancel(server_id)
        if link is not None:
            task = self._loop.create_task(link.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    def send(self, message: Request) -> None:
        link = self._links.get(message.to)
        if isinstance(message, InstallSnapshot):
            self._outgoing.send(message)
        elif link is not None:
            link.send(message)
        elif message.to not in self._strangers:
            self._strangers.add(message.to)
            self.local.handler.on_unreachable(message.to)

    async def _carry(self, message: InstallSnapshot) -> InstallSnapshotResponse:
        link = self._links.get(message.to)
        if link is None:
            raise Unreachable(f"the address of server {message.to} is not known", sent=False)
        return await carry(self.local, link.address, message)

    def _heard_from(self, server_id: str) -> None:
        link = self._links.get(server_id)
        if link is not None:
            link.nudge()

    def _watch(self) -> None:
        now = self._loop.time()
        for link in self._links.values():
            link.watch(now)
        self.pool.watch(now)
        self.listener.watch(now)
        self._timer = self._loop.call_later(self._interval, self._watch)
