"""One life of the bulk channel to a peer: a stream of AppendEntries, or single calls of it.

Owns the order of requests and the matching of responses; does not know how connections are made
nor what happens after one ended.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Protocol

import grpc
import grpc.aio

from braft_core.errors import AccessDenied, DecodeError
from braft_core.raft.messages import AppendEntries, Response
from braft_core.transport.grpc.authenticated_channel import AuthenticatedChannel, reason_of
from braft_core.transport.grpc.grpc_endpoint import SENDER, GrpcEndpoint, pairs
from braft_core.transport.raft_codec import decode_response

__all__ = ["GOAWAY", "Bulk", "Ending", "Pipeline", "UnaryAppends"]

#: Last message of an orderly pipeline, sent only to braft: no request, therefore no bytes.
GOAWAY = b""
_APPEND = "/RaftTransport/AppendEntries"

#: What may wait to be written. The core's window (8 messages, 8 MiB) with a margin.
_MAX_QUEUED = 64
_MAX_QUEUED_BYTES = 32 << 20

#: Status codes by which a peer, rather than the network, ends a call.
_DECIDED = frozenset(
    {
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
    }
)


class Ending(Enum):
    """How a bulk channel came to its end."""

    ORDERLY = "the peer closed it"
    LOST = "the connection broke"
    REFUSED = "the peer refused it"
    NEVER = "it was never established"
    STALLED = "the peer stopped answering"
    UNSUPPORTED = "the peer does not know pipelines"


class Bulk(Protocol):
    """What carries AppendEntries in order."""

    def put(self, request_id: int, data: bytes) -> bool:
        """Queue an encoded request; False if the queue is full."""

    async def run(self) -> tuple[Ending, str]:
        """Send requests until the stream ends; return how it ended, and the reason."""

    def close(self) -> None:
        """Ask for an orderly end."""

    @property
    def pending(self) -> int:
        """The number of requests without a response."""


class _Queue:
    """Bounded queue of requests, oldest first."""

    def __init__(self) -> None:
        self.waiting: deque[tuple[int, bytes]] = deque()
        self.sent: deque[int] = deque()
        self._bytes = 0
        self._wake = asyncio.Event()
        self.closing = False

    def put(self, request_id: int, data: bytes) -> bool:
        full = len(self.waiting) >= _MAX_QUEUED or self._bytes + len(data) > _MAX_QUEUED_BYTES
        if self.closing or (full and self.waiting):
            return False
        self.waiting.append((request_id, data))
        self._bytes += len(data)
        self._wake.set()
        return True

    def take(self) -> bytes:
        request_id, data = self.waiting.popleft()
        self._bytes -= len(data)
        self.sent.append(request_id)
        return data

    def close(self) -> None:
        self.closing = True
        self._wake.set()

    async def wait(self) -> None:
        await self._wake.wait()
        self._wake.clear()


class _BulkBase:
    """``heard()`` is the loop's time at which the peer last answered on its other channel."""

    def __init__(
        self,
        local: GrpcEndpoint,
        peer: str,
        deliver: Callable[[Response], None],
        heard: Callable[[], float],
    ) -> None:
        self._local = local
        self._peer = peer
        self._deliver = deliver
        self._heard = heard
        self._queue = _Queue()

    def put(self, request_id: int, data: bytes) -> bool:
        return self._queue.put(request_id, data)

    def close(self) -> None:
        self._queue.close()

    @property
    def pending(self) -> int:
        return len(self._queue.waiting) + len(self._queue.sent)

    def _answered(self, data: bytes) -> None:
        if not self._queue.sent:
            raise DecodeError("a response without a request")
        own_id = self._local.identity.server_id
        response = decode_response(AppendEntries, data, self._peer, own_id)
        response.request_id = self._queue.sent.popleft()
        self._deliver(response)


class Pipeline(_BulkBase):
    """AppendEntries over one bidirectional stream; responses come in request order."""

    def __init__(
        self,
        local: GrpcEndpoint,
        peer: str,
        prover: AuthenticatedChannel,
        deliver: Callable[[Response], None],
        heard: Callable[[], float],
    ) -> None:
        super().__init__(local, peer, deliver, heard)
        path = "/RaftTransport/AppendEntriesPipeline"
        self._call = prover.stream_stream(path, local.metadata(peer))
        self._loop = asyncio.get_running_loop()
        self._progress = self._loop.time()
        self._established = False
        self._accepted = asyncio.Event()
        #: The server is a braft node and understands GOAWAY.
        self._ours = False

    async def run(self) -> tuple[Ending, str]:
        """See :class:`Bulk`."""
        reader = asyncio.create_task(self._read())
        writer = asyncio.create_task(self._write())
        try:
            return await self._watch(reader, writer)
        finally:
            reader.cancel()
            writer.cancel()
            self._call.cancel()
            await asyncio.gather(reader, writer, return_exceptions=True)

    async def _watch(
        self, reader: asyncio.Task[tuple[Ending, str]], writer: asyncio.Task[None]
    ) -> tuple[Ending, str]:
        patience = self._local.options.rpc_timeout
        while True:
            await asyncio.wait(
                {reader} if writer.done() else {reader, writer},
                timeout=patience / 4,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if reader.done():
                return reader.result()
            if writer.done() and self._queue.closing:
                await asyncio.wait({reader}, timeout=self._local.timing.close)
                return Ending.ORDERLY, ""
            if self.pending and self._is_stalled(patience):
                await self._give_up(writer)
                return Ending.STALLED, f"no response for {patience} s"

    def _is_stalled(self, patience: float) -> bool:
        """Return whether to wait no longer for a response.

        A peer that answers heartbeats may have a disk that takes longer than ``patience`` to store
        what it was sent. On a new stream it would have to store as much again.
        """
        now = self._loop.time()
        stored_by = max(
            self._progress, min(self._heard(), self._progress + self._local.timing.store_timeout)
        )
        return now - stored_by > patience

    async def _give_up(self, writer: asyncio.Task[None]) -> None:
        """Send GOAWAY if the stream takes it: the peer may be alive, and we are."""
        self._queue.waiting.clear()
        self._queue.close()
        await asyncio.wait({writer}, timeout=self._local.timing.close)

    async def _write(self) -> None:
        queue, write = self._queue, self._call.write
        # The reader finds out how the call ended.
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            while True:
                while queue.waiting:
                    if not queue.sent:
                        self._progress = self._loop.time()
                    await write(queue.take())
                if queue.closing:
                    break
                await queue.wait()
            # Only a server that accepted the stream as braft's understands GOAWAY.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._local.timing.close / 2):
                    await self._accepted.wait()
            if self._ours:
                await write(GOAWAY)
            await self._call.done_writing()

    async def _read(self) -> tuple[Ending, str]:
        try:
            accepted = pairs(await self._call.initial_metadata())
            self._established = self._ours = SENDER in accepted
            self._accepted.set()
            while (data := await self._call.read()) is not grpc.aio.EOF:
                self._established = True
                self._progress = self._loop.time()
                self._answered(data)
        except grpc.aio.AioRpcError as error:
            return self._ending(error.code()), reason_of(error)
        except DecodeError as error:
            return Ending.REFUSED, f"the peer sent a malformed response: {error}"
        return Ending.ORDERLY, ""

    def _ending(self, code: grpc.StatusCode) -> Ending:
        if code is grpc.StatusCode.UNIMPLEMENTED:
            return Ending.UNSUPPORTED
        if code in _DECIDED:
            return Ending.REFUSED
        if not self._established:
            return Ending.NEVER
        if code is grpc.StatusCode.UNAVAILABLE:
            return Ending.LOST
        # A write that fails because the stream just ended hides the true status behind INTERNAL. A
        # braft peer's own stream to us tells whether it died; of others this is all we learn.
        unclear = code is grpc.StatusCode.INTERNAL
        return Ending.LOST if unclear and not self._ours else Ending.ORDERLY


class UnaryAppends(_BulkBase):
    """AppendEntries as single calls in order, for a peer without pipelines."""

    def __init__(
        self,
        local: GrpcEndpoint,
        peer: str,
        prover: AuthenticatedChannel,
        deliver: Callable[[Response], None],
        heard: Callable[[], float],
    ) -> None:
        super().__init__(local, peer, deliver, heard)
        self._prover = prover
        self._established = False

    async def run(self) -> tuple[Ending, str]:
        """See :class:`Bulk`."""
        timeout = self._local.options.rpc_timeout
        queue = self._queue
        try:
            while not queue.closing:
                while queue.waiting:
                    metadata = self._local.metadata(self._peer)
                    data = queue.take()
                    self._answered(await self._prover.unary(_APPEND, data, timeout, metadata))
                    self._established = True
                await queue.wait()
        except grpc.aio.AioRpcError as error:
            return self._ending(error.code()), error.details() or error.code().name
        except AccessDenied as error:
            return Ending.REFUSED, error.message
        except DecodeError as error:
            return Ending.REFUSED, f"the peer sent a malformed response: {error}"
        return Ending.ORDERLY, ""

    def _ending(self, code: grpc.StatusCode) -> Ending:
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return Ending.STALLED
        if code is grpc.StatusCode.UNAVAILABLE and self._established:
            return Ending.LOST
        return Ending.REFUSED
