"""Peer calls: the client side of ``braft.v1.Peer``.

Owns a small cache of connections by address. A call first makes sure that it is connected, so that
"surely never sent" is a fact and not a guess from an error text.
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio

from braft_core.errors import Unreachable
from braft_core.peer import REPLIES, PeerReply, PeerRequest
from braft_core.transport.grpc.failures import ERROR_KEY, decode_error
from braft_core.transport.grpc.local import CLUSTER, SENDER, LocalEnd
from braft_core.transport.grpc.peercodec import decode_peer, encode_peer, method_of
from braft_core.transport.grpc.ready import when_ready

__all__ = ["CallPool"]

#: Seconds after which an unused connection is closed, at the next call.
_IDLE = 60.0
_MAX_CHANNELS = 64


class _Cached:
    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.used = 0.0
        self.calls = 0


class CallPool:
    """Calls by address. Used on the loop only."""

    def __init__(self, local: LocalEnd) -> None:
        self._local = local
        self._cache: dict[str, _Cached] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def call(
        self,
        address: str,
        request: PeerRequest,
        timeout: float,
    ) -> PeerReply:
        """See :meth:`braft_core.abc.Transport.call`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        cached = self._get(address, loop.time())
        cached.calls += 1
        try:
            if not await when_ready(cached.channel, timeout):
                self._drop(address, cached)
                raise Unreachable(f"cannot connect to {address}", address=address, sent=False)
            return await self._invoke(cached.channel, address, request, deadline - loop.time())
        finally:
            cached.calls -= 1

    async def _invoke(
        self, channel: grpc.aio.Channel, address: str, request: PeerRequest, wait: float
    ) -> PeerReply:
        identity = self._local.identity
        method = method_of(type(request))
        stub: Any = channel.unary_unary(f"/braft.v1.Peer/{method}")
        metadata = ((CLUSTER, identity.cluster_id), (SENDER, identity.server_id))
        try:
            data = await stub(encode_peer(request), timeout=max(wait, 0.001), metadata=metadata)
        except grpc.aio.AioRpcError as error:
            packed = dict(error.trailing_metadata() or ()).get(ERROR_KEY)
            if isinstance(packed, bytes):
                raise decode_error(packed) from None
            raise Unreachable(
                f"{method} to {address}: {error.details() or error.code().name}",
                address=address,
                status=error.code().name,
                sent=error.code() is not grpc.StatusCode.UNIMPLEMENTED,
            ) from error
        return decode_peer(REPLIES[type(request)], data)

    async def close(self) -> None:
        """Close all connections; calls under way end as unreachable."""
        for address, cached in list(self._cache.items()):
            self._drop(address, cached)
        await asyncio.gather(*self._closing, return_exceptions=True)

    def _get(self, address: str, now: float) -> _Cached:
        self._evict(now)
        cached = self._cache.get(address)
        failed = grpc.ChannelConnectivity.TRANSIENT_FAILURE
        if cached is not None and cached.channel.get_state() is failed:
            # A fresh channel tries at once, whatever pause this one has come to.
            self._drop(address, cached)
            cached = None
        if cached is None:
            cached = self._cache[address] = _Cached(self._local.connector.channel(address))
        cached.used = now
        return cached

    def _evict(self, now: float) -> None:
        idle = [(a, c) for a, c in self._cache.items() if not c.calls]
        excess = len(self._cache) - _MAX_CHANNELS
        for number, (address, cached) in enumerate(sorted(idle, key=lambda item: item[1].used)):
            if number < excess or now - cached.used > _IDLE:
                self._drop(address, cached)

    def _drop(self, address: str, cached: _Cached) -> None:
        if self._cache.get(address) is cached:
            del self._cache[address]
        task = asyncio.get_running_loop().create_task(cached.channel.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
