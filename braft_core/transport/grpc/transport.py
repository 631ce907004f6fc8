"""The gRPC transport: listens, and keeps a link to each peer.

Owns start and stop; each concern has its own module in this package.
"""

from __future__ import annotations

import asyncio
from typing import ClassVar

from braft_core.abc import TransportHandler
from braft_core.peer import PeerReply, PeerRequest
from braft_core.raft.messages import Response
from braft_core.tokens import REFLECTION
from braft_core.transport.grpc import poller_workaround, rpc_services
from braft_core.transport.grpc.auth_sessions import AuthSessions
from braft_core.transport.grpc.bounded_calls import BoundedCalls
from braft_core.transport.grpc.call_auth import CallAuthorizer
from braft_core.transport.grpc.call_pool import CallPool
from braft_core.transport.grpc.grpc_endpoint import GrpcEndpoint
from braft_core.transport.grpc.health_reflection import Health, Reflection
from braft_core.transport.grpc.install_snapshot import send_snapshot
from braft_core.transport.grpc.peer_link import PeerLink
from braft_core.transport.grpc.raft_server import RaftTransportServer
from braft_core.transport.linked import LinkedTransport, PeerLinks, TransportSession

__all__ = ["GrpcTransport"]


class GrpcTransport(LinkedTransport):
    """Raft messages and peer calls over gRPC. See :class:`braft_core.abc.Transport`."""

    name: ClassVar[str] = "grpc"

    def _begin(self, handler: TransportHandler) -> _GrpcSession:
        return _GrpcSession(GrpcEndpoint(self.options, handler))


class _GrpcSession(TransportSession[PeerLink]):
    """See the base class."""

    def __init__(self, local: GrpcEndpoint) -> None:
        peers = PeerLinks(
            local.handler,
            lambda server_id, address: PeerLink(local, server_id, address),
            lambda address, message: send_snapshot(local, address, message),
        )
        super().__init__(local, peers)
        self.local = local
        self.pool = CallPool(local)
        self._bounded = BoundedCalls(local.timing)
        self._authorizer = CallAuthorizer(local, AuthSessions(local))
        self._raft = RaftTransportServer(local, self._authorizer, self._bounded, peers.heard_from)
        self._health = Health(self._bounded, rpc_services.SERVICES)
        self._loop = asyncio.get_running_loop()
        self._server = local.connector.server()

    async def start(self) -> tuple[str, ...]:
        """See the base class."""
        local, server = self.local, self._server
        handlers = [
            self._raft.handlers(),
            rpc_services.raft_service(local, self._authorizer, self._bounded),
            rpc_services.peer_service(local, self._authorizer, self._bounded),
            self._authorizer.sessions.service(self._bounded),
            self._health.handlers(),
        ]
        if local.options.reflection:
            admit = self._authorizer.admits(REFLECTION)
            handlers.append(Reflection(rpc_services.SERVICES, admit).handlers())
        server.add_generic_rpc_handlers(handlers)
        try:
            listening = tuple(local.connector.bind(server, a) for a in local.options.listen)
            await server.start()
            await local.connector.open()
        except BaseException:
            await local.connector.close()
            await server.stop(None)
            raise
        poller_workaround.install(self._loop)
        return listening

    async def stop(self) -> None:
        """See the base class."""
        self._health.stop()
        await asyncio.gather(self._raft.stop(), self.peers.close())
        await self.pool.close()
        await self._server.stop(self.local.timing.close / 2)
        await self.local.connector.close()
        await self.peers.closed()
        poller_workaround.remove(self._loop)

    def reply(self, message: Response) -> None:
        """See the base class."""
        self._raft.reply(message)

    def reconnect(self) -> None:
        """See the base class."""
        super().reconnect()
        self.pool.renew()

    async def call(self, address: str, request: PeerRequest, timeout: float) -> PeerReply:
        """See the base class."""
        return await self.pool.call(address, request, timeout)
