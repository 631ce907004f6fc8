"""The client side of peer calls (``braft.v1.Peer``), with a small cache of channels by address.

A call first waits until its channel is connected, so ``sent=False`` is a fact.
"""

from __future__ import annotations

import asyncio

import grpc
import grpc.aio

from braft_core.errors import DecodeError, Unreachable
from braft_core.escaping import printable
from braft_core.peer import REPLIES, PeerReply, PeerRequest
from braft_core.transport.call_codec import decode_peer, encode_peer, method_of
from braft_core.transport.grpc.authenticated_channel import AuthenticatedChannel
from braft_core.transport.grpc.call_mac import MacMismatchError
from braft_core.transport.grpc.channel_ready import connect_error, wait_until_ready
from braft_core.transport.grpc.grpc_endpoint import CLUSTER, SENDER, GrpcEndpoint
from braft_core.transport.tls_probe import TLSProbe

__all__ = ["CallPool"]

_MAX_CHANNELS = 64


class _Connection:
    """A channel and the number of calls that use it."""

    def __init__(
        self, channel: grpc.aio.Channel, prover: AuthenticatedChannel, found: TLSProbe
    ) -> None:
        self.channel = channel
        self.prover = prover
        #: The probe that it was made with.
        self.found = found
        self.used = 0.0
        self.calls = 0


class CallPool:
    """Calls by address. Used on the loop only."""

    def __init__(self, local: GrpcEndpoint) -> None:
        self._local = local
        self._cache: dict[str, _Connection] = {}
        #: Not used for new calls, but still by earlier ones.
        self._retired: set[_Connection] = set()
        self._closing: set[asyncio.Task[None]] = set()

    async def call(self, address: str, request: PeerRequest, timeout: float) -> PeerReply:
        """See :meth:`braft_core.abc.Transport.call`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        found = await self._local.tls_probes.get_or_probe(address, timeout)
        connection = self._get(address, loop.time(), found)
        connection.calls += 1
        try:
            if not await wait_until_ready(connection.channel, deadline - loop.time()):
                self._retire(address, connection)
                self._local.tls_probes.forget(address)
                raise await connect_error(address, deadline - loop.time())
            return await self._invoke(connection.prover, address, request, deadline - loop.time())
        finally:
            connection.calls -= 1
            if not connection.calls and connection in self._retired:
                self._close(connection)

    async def _invoke(
        self, prover: AuthenticatedChannel, address: str, request: PeerRequest, wait: float
    ) -> PeerReply:
        identity = self._local.identity
        method = method_of(type(request))
        path, wait = f"/braft.v1.Peer/{method}", max(wait, 0.001)
        metadata = ((CLUSTER, identity.cluster_id), (SENDER, identity.server_id))
        sent = False
        try:
            try:
                await prover.ready(wait)
            except DecodeError as error:
                reason = f"{method} to {address}: {error}"
                raise Unreachable(reason, address=address, sent=False) from error
            sent = True
            data = await prover.unary(path, encode_peer(request), wait, metadata)
        except grpc.aio.AioRpcError as error:
            raise _failure(error, method, address, sent) from error
        except MacMismatchError as error:
            reason = f"{method} to {address}: {error}"
            raise Unreachable(reason, address=address, sent=True) from error
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # The transport stopped and cancelled the call; the caller was not cancelled.
            raise Unreachable(
                f"{method} to {address}: this node stopped", address=address, sent=True
            ) from None
        return decode_peer(REPLIES[type(request)], data)

    def renew(self) -> None:
        """Use new connections for new calls."""
        for address, connection in list(self._cache.items()):
            self._retire(address, connection)

    async def close(self) -> None:
        """Close all connections; calls under way end as unreachable."""
        connections = {*self._cache.values(), *self._retired}
        self._cache.clear()
        for connection in connections:
            self._close(connection)
        await asyncio.gather(*self._closing, return_exceptions=True)

    def _get(self, address: str, now: float, found: TLSProbe) -> _Connection:
        self._evict(now)
        connection = self._cache.get(address)
        if connection is not None and (
            # A new channel connects at once; this one may be in a long backoff pause.
            connection.channel.get_state() is grpc.ChannelConnectivity.TRANSIENT_FAILURE
            or connection.found != found
        ):
            self._retire(address, connection)
            connection = None
        if connection is None:
            channel = self._local.connector.channel(address, found)
            prover = AuthenticatedChannel(self._local, channel, address, "")
            connection = self._cache[address] = _Connection(channel, prover, found)
        connection.used = now
        return connection

    def _evict(self, now: float) -> None:
        idle = [(a, c) for a, c in self._cache.items() if not c.calls]
        excess = len(self._cache) - _MAX_CHANNELS
        for number, (address, connection) in enumerate(sorted(idle, key=lambda i: i[1].used)):
            if number < excess or now - connection.used > self._local.timing.idle_call_connection:
                self._retire(address, connection)

    def _retire(self, address: str, connection: _Connection) -> None:
        if self._cache.get(address) is connection:
            del self._cache[address]
        if connection.calls:
            self._retired.add(connection)
        else:
            self._close(connection)

    def _close(self, connection: _Connection) -> None:
        self._retired.discard(connection)
        task = asyncio.get_running_loop().create_task(connection.channel.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _failure(error: grpc.aio.AioRpcError, method: str, address: str, sent: bool) -> Unreachable:
    return Unreachable(
        f"{method} to {address}: {printable(error.details() or error.code().name)}",
        address=address,
        status=error.code().name,
        sent=sent and error.code() is not grpc.StatusCode.UNIMPLEMENTED,
    )
