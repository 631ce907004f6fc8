"""Sends and receives snapshots, each on a connection of its own.

A transfer has no deadline but has to make progress; its contents have a checksum. Each end keeps
only a few chunks in memory.
"""

from __future__ import annotations

import asyncio
import zlib
from collections import deque
from collections.abc import AsyncGenerator, Coroutine
from typing import Any, TypeVar

from braft_core.errors import BraftError, DecodeError, Unreachable, WrongCluster
from braft_core.raft import InstallSnapshot, InstallSnapshotResponse
from braft_core.transport import (
    SnapshotReader,
    SnapshotReceiver,
    decode_error,
    decode_request,
    decode_response,
    encode_error,
    encode_request,
)
from braft_tcp.connection import Connection
from braft_tcp.frames import Channel, Hello, Kind
from braft_tcp.handshake import Refused, connect
from braft_tcp.inbound import Inbound, ResponseRoute
from braft_tcp.tcp_endpoint import TcpEndpoint

__all__ = ["SnapshotInbound", "TcpSnapshotReceiver", "send_snapshot"]

_T = TypeVar("_T")

#: Bytes of contents in one frame.
_CHUNK = 256 << 10
#: Chunks that wait for our disk; beyond it nothing is read.
_MAX_CHUNKS = 4


# --------------------------------------------------------------------------------------------
# Sending


async def send_snapshot(
    local: TcpEndpoint, address: str, message: InstallSnapshot
) -> InstallSnapshotResponse:
    """Send one of our snapshots to the server at ``address``; returns its answer.

    :raises Unreachable: it cannot be reached, stopped taking or answering.
    :raises WrongCluster: it refuses us.
    :raises StorageError: our snapshot cannot be read.
    """
    source = SnapshotReader(local.handler, message.meta)
    transfer = _Transfer(local, address, message)
    try:
        return await transfer.run(source)
    finally:
        source.close()
        transfer.close()


class _Transfer:
    """One snapshot on its way out."""

    def __init__(self, local: TcpEndpoint, address: str, message: InstallSnapshot) -> None:
        self._local = local
        self._address = address
        self._message = message
        self._connection: Connection | None = None
        #: The peer's answer, which may come at any time; or how the connection ended.
        self._answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def run(self, source: SnapshotReader) -> InstallSnapshotResponse:
        local, message = self._local, self._message
        connection = self._connection = await self._connect()
        connection.gone.add_done_callback(self._gone)
        address = local.identity.address.encode()
        first = encode_request(message, local.header, address)
        connection.send(Kind.INSTALL_SNAPSHOT, 0, first)
        await self._contents(connection, source)
        try:
            async with asyncio.timeout(local.timing.snapshot_answer):
                answer = await self._answer
        except TimeoutError as error:
            raise self._unreachable(
                f"did not answer for {local.timing.snapshot_answer} s"
            ) from error
        own_id = local.identity.server_id
        response = decode_response(InstallSnapshot, answer, message.to, own_id)
        if not isinstance(response, InstallSnapshotResponse):
            raise DecodeError("the peer answered something else")
        return response

    async def _connect(self) -> Connection:
        local, to = self._local, self._message.to
        try:
            return await connect(local, self._address, Channel.SNAPSHOT, to, self._receive)
        except Refused as refusal:
            if refusal.temporary:
                raise self._unreachable(refusal.error.message) from None
            local.counters["refused_by_peer"] += 1
            raise WrongCluster(f"{self._address} refuses us: {refusal.error}") from None

    async def _contents(self, connection: Connection, source: SnapshotReader) -> None:
        checksum = 0
        while not self._answer.done():
            chunk = await self._unless_answered(source.next(), "our disk did not give bytes")
            if not chunk:
                break
            for start in range(0, len(chunk), _CHUNK):
                piece = chunk[start : start + _CHUNK]
                checksum = zlib.crc32(piece, checksum)
                connection.send(Kind.CHUNK, 0, piece)
                if connection.full:
                    await self._unless_answered(connection.drain(), "the peer took no bytes")
        connection.send(Kind.END, 0, checksum.to_bytes(4, "big"))

    async def _unless_answered(self, step: Coroutine[Any, Any, _T], reason: str) -> _T | None:
        """Return the step's result; ``None`` if the peer answers first, which ends the transfer."""
        stall = self._local.timing.snapshot_stall
        task = asyncio.ensure_future(step)
        try:
            either: set[asyncio.Future[Any]] = {task, self._answer}
            await asyncio.wait(either, timeout=stall, return_when=asyncio.FIRST_COMPLETED)
            if self._answer.done():
                return None
            if not task.done():
                raise self._unreachable(f"{reason} for {stall} s")
            return task.result()
        finally:
            if not task.cancel() and not task.cancelled():
                task.exception()  # retrieve it, or asyncio logs it as never retrieved

    def _receive(self, kind: int, _request_id: int, body: bytes) -> None:
        if self._answer.done():
            return
        if kind == Kind.RESPONSE:
            self._answer.set_result(body)
        elif kind == Kind.ERROR:
            self._answer.set_exception(decode_error(body))
        else:
            raise DecodeError(f"frame {kind} in answer to a snapshot")

    def _gone(self, _gone: asyncio.Future[None]) -> None:
        if not self._answer.done():
            self._answer.set_exception(self._unreachable("the connection ended"))

    def _unreachable(self, reason: str) -> Unreachable:
        return Unreachable(f"{self._address}: {reason}", address=self._address, sent=True)

    def close(self) -> None:
        """End the connection. What was answered, was."""
        if not self._answer.cancel() and not self._answer.cancelled():
            self._answer.exception()  # retrieve it, or asyncio logs it as never retrieved
        if self._connection is not None:
            self._connection.abort()


# --------------------------------------------------------------------------------------------
# Receiving


class TcpSnapshotReceiver:
    """Receives the snapshots of a node, one at a time."""

    def __init__(self, local: TcpEndpoint) -> None:
        self._local = local
        self._receiver = SnapshotReceiver(local.handler, local.timing.snapshot_pace)
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, inbound: SnapshotInbound, message: InstallSnapshot) -> None:
        """Receive the snapshot of that connection."""
        task = asyncio.get_running_loop().create_task(self._take(inbound, message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Cancel what is under way."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _take(self, inbound: SnapshotInbound, message: InstallSnapshot) -> None:
        try:
            stored = await self._store(inbound, message)
        except BraftError as error:
            self._local.counters["refused_snapshot"] += 1
            self._receiver.log_failure(error)
            inbound.fail(error)
        else:
            # A stored snapshot must reach the node, even if the leader disconnected meanwhile.
            stored.context = inbound.route
            self._local.handler.on_message(stored)

    async def _store(self, inbound: SnapshotInbound, message: InstallSnapshot) -> InstallSnapshot:
        cluster_id = self._local.identity.cluster_id
        incoming = await self._receiver.receive(message, inbound.contents())
        try:
            if self._local.identity.cluster_id != cluster_id:
                raise WrongCluster("this node changed its cluster")
            return await incoming.commit()
        finally:
            incoming.close()


class SnapshotInbound(Inbound):
    """A connection on which one snapshot arrives."""

    def __init__(
        self,
        local: TcpEndpoint,
        connection: Connection,
        hello: Hello,
        receiver: TcpSnapshotReceiver,
    ) -> None:
        super().__init__(local, connection, hello)
        self._receiver = receiver
        self._begun = False
        self._chunks: deque[bytes] = deque()
        self._checksum = 0
        self._complete = False
        self._news = asyncio.Event()
        self.route = _SnapshotRoute(self, connection)
        self._answered = False

    def receive(self, kind: int, _request_id: int, body: bytes) -> None:
        """See the base class."""
        if self._answered:
            return  # the sender has not read the answer yet
        if kind == Kind.INSTALL_SNAPSHOT and not self._begun:
            if self._still_ours():
                self._begin(body)
        elif kind == Kind.CHUNK and self._begun and not self._complete:
            self._checksum = zlib.crc32(body, self._checksum)
            self._chunks.append(body)
            if len(self._chunks) >= _MAX_CHUNKS:
                self._connection.hold()
        elif kind == Kind.END and self._begun and not self._complete:
            if body != self._checksum.to_bytes(4, "big"):
                raise DecodeError("the contents of a snapshot changed on their way")
            self._complete = True
        else:
            raise DecodeError(f"frame {kind} on a snapshot channel")
        self._news.set()

    def _begin(self, body: bytes) -> None:
        message = decode_request(InstallSnapshot, body, self._local.identity.server_id)
        if not isinstance(message, InstallSnapshot):
            raise DecodeError("not the beginning of a snapshot")
        self._begun = True
        self._receiver.begin(self, message)

    async def contents(self) -> AsyncGenerator[bytes]:
        """Yield the contents. :raises Unreachable: the sender stopped before the end."""
        silence = self._local.timing.snapshot_silence
        while True:
            while self._chunks:
                yield self._chunks.popleft()
                self._connection.release()
            if self._complete:
                return
            self._news.clear()
            if self._connection.gone.done():
                raise Unreachable("the sender of a snapshot went away", sent=True)
            try:
                async with asyncio.timeout(silence):
                    await self._news.wait()
            except TimeoutError as error:
                reason = f"no bytes of the snapshot came for {silence} s"
                raise Unreachable(reason, sent=True) from error

    def fail(self, error: BraftError) -> None:
        """Report to the sender that the snapshot is not accepted."""
        self._connection.send(Kind.ERROR, 0, encode_error(error))
        self._connection.close_gracefully()

    def answered(self) -> None:
        """Leave the sender time to read the answer, then cut the connection."""
        self._answered = True
        self._chunks.clear()
        self._connection.release()
        asyncio.get_running_loop().call_later(
            self._local.timing.snapshot_linger, self._connection.abort
        )

    def lost(self) -> None:
        """See the base class."""
        self._news.set()


class _SnapshotRoute(ResponseRoute):
    """``context`` of a snapshot: its answer is the last message on the connection."""

    __slots__ = ("_inbound",)

    def __init__(self, inbound: SnapshotInbound, connection: Connection) -> None:
        super().__init__(connection, 0)
        self._inbound = inbound

    def fill(self, data: bytes) -> None:
        """See the base class."""
        super().fill(data)
        self._inbound.answered()

    def refuse(self, error: BraftError) -> None:
        """See the base class. The sender learns why."""
        self._inbound.fail(error)
