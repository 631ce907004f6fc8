"""The transport ``tcp``: listens, and keeps a link to each peer.

Owns start and stop; each concern has its own module in this package.
"""

from __future__ import annotations

import asyncio
from typing import ClassVar

from braft_core.abc import TransportHandler
from braft_core.peer import PeerReply, PeerRequest
from braft_core.raft import Response
from braft_core.transport import LinkedTransport, PeerLinks, TransportSession
from braft_tcp.call_pool import CallPool
from braft_tcp.listener import Listener
from braft_tcp.peer_link import PeerLink
from braft_tcp.snapshot_channel import send_snapshot
from braft_tcp.tcp_endpoint import TcpEndpoint

__all__ = ["TcpTransport"]

#: Longest time between two tls_probes for silence, seconds.
_WATCH = 0.5


class TcpTransport(LinkedTransport):
    """Raft messages and peer calls over framed TCP. See :class:`braft_core.abc.Transport`."""

    name: ClassVar[str] = "tcp"
    caution: ClassVar[str] = (
        "every node of the cluster has to use it, and no gRPC is answered (Raft, braft.v1, health, "
        "reflection, HashiCorp peers); HTTP does not change"
    )

    def _begin(self, handler: TransportHandler) -> _TcpSession:
        return _TcpSession(TcpEndpoint(self.options, handler))


class _TcpSession(TransportSession[PeerLink]):
    """See the base class."""

    def __init__(self, local: TcpEndpoint) -> None:
        peers = PeerLinks(
            local.handler,
            lambda server_id, address: PeerLink(local, server_id, address),
            lambda address, message: send_snapshot(local, address, message),
        )
        super().__init__(local, peers)
        self.local = local
        self.pool = CallPool(local)
        self._listener = Listener(local, peers.heard_from, peers.links.__contains__)
        self._loop = asyncio.get_running_loop()
        self._interval = min(_WATCH, local.options.rpc_timeout / 4)
        self._timer: asyncio.TimerHandle | None = None

    async def start(self) -> tuple[str, ...]:
        """See the base class."""
        try:
            listening = await self._listener.start()
        except BaseException:
            await self._listener.stop()
            raise
        self._timer = self._loop.call_later(self._interval, self._watch)
        return listening

    async def stop(self) -> None:
        """See the base class."""
        if self._timer is not None:
            self._timer.cancel()
        await asyncio.gather(
            self._listener.stop(), self.peers.close(), self.pool.close(), self.peers.closed()
        )

    def reply(self, message: Response) -> None:
        """See the base class."""
        self._listener.reply(message)

    def reconnect(self) -> None:
        """See the base class."""
        super().reconnect()
        self.pool.renew()

    async def call(self, address: str, request: PeerRequest, timeout: float) -> PeerReply:
        """See the base class."""
        return await self.pool.call(address, request, timeout)

    def _watch(self) -> None:
        now = self._loop.time()
        for link in self.peers.links.values():
            link.watch(now)
        self.pool.watch(now)
        self._listener.watch(now)
        self._timer = self._loop.call_later(self._interval, self._watch)
