"""The client side of peer calls, with a small cache of connections by address.

A call is only written to a connection that the peer has accepted, so ``sent=False`` is a fact.
"""

from __future__ import annotations

import asyncio
import itertools

from braft_core.errors import BraftError, DecodeError, TooLarge, Unreachable
from braft_core.peer import REPLIES, PeerReply, PeerRequest
from braft_core.transport import (
    decode_error,
    decode_peer,
    encode_error,
    encode_peer,
    method_of,
    probe_reachability,
)
from braft_tcp.call_server import encode_call
from braft_tcp.connection import Connection
from braft_tcp.frames import Channel, Kind
from braft_tcp.handshake import Refused, connect
from braft_tcp.tcp_endpoint import TcpEndpoint

__all__ = ["CallPool"]

_MAX_CONNECTIONS = 64
#: Seconds for probing whether a server runs that speaks another protocol.
_PRESENCE = 0.5


class _CallConnection:
    """One connection for calls, established or being established."""

    def __init__(self, local: TcpEndpoint, address: str) -> None:
        self._local, self._address = local, address
        self.cluster_id = local.identity.cluster_id
        self.tokens = local.keyring.current
        self.used = 0.0
        self.waiting: dict[int, asyncio.Future[bytes]] = {}
        self._numbers = itertools.count(1)
        self.ready = asyncio.get_running_loop().create_task(self._connect(local))
        # If nobody waits for it any more, its error is not logged.
        self.ready.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def _connect(self, local: TcpEndpoint) -> Connection:
        try:
            connection = await connect(local, self._address, Channel.CALLS, "", self._receive)
        except Refused as refusal:
            if refusal.temporary:
                raise Unreachable(
                    f"{self._address}: {refusal.error}", address=self._address, sent=False
                ) from None
            local.counters["refused_by_peer"] += 1
            raise refusal.error from None
        except Unreachable as error:
            # Perhaps the server speaks TLS and closed the connection for that reason.
            if not error.data.get("answered"):
                error.data["answered"] = (await probe_reachability(self._address, _PRESENCE))[1]
            raise
        connection.gone.add_done_callback(self._gone)
        return connection

    @property
    def over(self) -> bool:
        """Whether a new call needs a new connection."""
        ready = self.ready
        if not ready.done():
            return False
        return ready.cancelled() or ready.exception() is not None or ready.result().closing

    async def invoke(self, connection: Connection, method: str, data: bytes) -> bytes:
        number = next(self._numbers)
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.waiting[number] = answer
        try:
            connection.send(Kind.CALL, number, encode_call(method, data))
            return await answer
        finally:
            if self.waiting.pop(number, None) is not None:
                connection.send(Kind.CANCEL, number, b"")

    def _receive(self, kind: int, request_id: int, body: bytes) -> None:
        if kind not in (Kind.REPLY, Kind.ERROR):
            raise DecodeError(f"frame {kind} on the calls channel")
        answer = self.waiting.pop(request_id, None)
        if answer is None or answer.done():
            return
        if kind == Kind.REPLY:
            answer.set_result(body)
        else:
            answer.set_exception(decode_error(body))

    def _gone(self, _gone: asyncio.Future[None]) -> None:
        self.fail(f"{self._address} closed the connection")

    def fail(self, reason: str) -> None:
        """End the calls under way."""
        waiting, self.waiting = self.waiting, {}
        for answer in waiting.values():
            if not answer.done():
                answer.set_exception(Unreachable(reason, address=self._address, sent=True))

    async def drain(self) -> None:
        """Close it once the calls under way are answered. New ones use another connection."""
        if self.waiting:
            await asyncio.wait(set(self.waiting.values()))
        await self.close("the connection is closed")

    async def close(self, reason: str) -> None:
        self.fail(reason)
        self.ready.cancel()
        await asyncio.gather(self.ready, return_exceptions=True)
        if not self.over:
            connection = self.ready.result()
            connection.close_gracefully()
            await asyncio.wait({connection.gone}, timeout=2 * self._local.timing.close)


class CallPool:
    """Calls by address. Used on the loop only."""

    def __init__(self, local: TcpEndpoint) -> None:
        self._local = local
        self._cache: dict[str, _CallConnection] = {}
        #: Not used for new calls, but perhaps still by earlier ones.
        self._draining: set[_CallConnection] = set()
        self._closing: set[asyncio.Task[None]] = set()

    async def call(self, address: str, request: PeerRequest, timeout: float) -> PeerReply:
        """See :meth:`braft_core.abc.Transport.call`."""
        method, data = method_of(type(request)), encode_peer(request)
        limit = self._local.options.max_message_bytes
        if len(data) + 64 > limit:
            raise TooLarge(f"{method} of {len(data)} bytes exceeds {limit}", address=address)
        sent = False
        try:
            async with asyncio.timeout(timeout):
                callee = self._get(address)
                connection = await self._ready(callee, address)
                sent = True
                answer = await callee.invoke(connection, method, data)
        except TimeoutError as error:
            raise Unreachable(
                f"{method} to {address}: no answer within {timeout:g} s", address=address, sent=sent
            ) from error
        return decode_peer(REPLIES[type(request)], answer)

    async def _ready(self, callee: _CallConnection, address: str) -> Connection:
        try:
            connection = await asyncio.shield(callee.ready)
        except asyncio.CancelledError:
            if not callee.ready.cancelled():
                raise
            raise Unreachable(
                f"{address}: this node stopped", address=address, sent=False
            ) from None
        except BraftError as error:
            # Several calls may wait for it: each gets an error of its own.
            raise decode_error(encode_error(error)) from error
        if connection.closing:
            raise Unreachable(f"{address} closed the connection", address=address, sent=False)
        return connection

    def watch(self, now: float) -> None:
        """Check the connections whose other end is silent."""
        for callee in self._cache.values():
            if callee.ready.done() and not callee.over:
                callee.ready.result().watch(now)

    def renew(self) -> None:
        """Use new connections for new calls."""
        for address, callee in list(self._cache.items()):
            self._retire(address, callee)

    async def close(self) -> None:
        """Close all connections; calls under way end as unreachable."""
        connections_ = [*self._cache.values(), *self._draining]
        self._cache.clear()
        await asyncio.gather(*(callee.close("this node stopped") for callee in connections_))
        await asyncio.gather(*self._closing, return_exceptions=True)

    def _get(self, address: str) -> _CallConnection:
        now = asyncio.get_running_loop().time()
        self._evict(now)
        callee = self._cache.get(address)
        if callee is not None and self._stale(callee):
            self._retire(address, callee)
            callee = None
        if callee is None:
            callee = self._cache[address] = _CallConnection(self._local, address)
        callee.used = now
        return callee

    def _stale(self, callee: _CallConnection) -> bool:
        local = self._local
        # A connection whose token is about to be removed would be cut in the middle of a call.
        other_token = callee.tokens is not local.keyring.current
        return callee.over or other_token or callee.cluster_id != local.identity.cluster_id

    def _evict(self, now: float) -> None:
        idle = [(a, c) for a, c in self._cache.items() if c.ready.done() and not c.waiting]
        excess = len(self._cache) - _MAX_CONNECTIONS
        for number, (address, callee) in enumerate(sorted(idle, key=lambda i: i[1].used)):
            if number < excess or now - callee.used > self._local.timing.idle_call_connection:
                self._retire(address, callee)

    def _retire(self, address: str, callee: _CallConnection) -> None:
        del self._cache[address]
        if callee.over:
            return
        task = asyncio.get_running_loop().create_task(callee.drain())
        self._closing.add(task)
        self._draining.add(callee)
        task.add_done_callback(lambda task: self._drained(task, callee))

    def _drained(self, task: asyncio.Task[None], callee: _CallConnection) -> None:
        self._closing.discard(task)
        self._draining.discard(callee)
