"""Serves ``RaftTransport``: six methods that hand requests to the node.

Routes each response to its call or stream. Decodes here rather than in gRPC's deserializers, so
that malformed bytes cause a clear status instead of a traceback.
"""

from __future__ import annotations

import asyncio
import functools
import random
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import grpc
import grpc.aio

from braft_core.errors import BraftError, DecodeError
from braft_core.raft.messages import (
    AppendEntries,
    Request,
    RequestPreVote,
    RequestVote,
    Response,
    TimeoutNow,
)
from braft_core.transport.address_quota import AddressQuota
from braft_core.transport.admission import GARBAGE, NO_PEER, NOT_MEMBER, Refusal
from braft_core.transport.grpc.authenticated_context import is_over, signed
from braft_core.transport.grpc.bounded_calls import BoundedCalls, within_quota
from braft_core.transport.grpc.call_auth import CallAuthorizer
from braft_core.transport.grpc.error_status import details_of, status_of
from braft_core.transport.grpc.grpc_endpoint import SENDER, GrpcEndpoint, pairs, text
from braft_core.transport.grpc.install_snapshot import GrpcSnapshotReceiver
from braft_core.transport.grpc.pipeline import GOAWAY
from braft_core.transport.raft_codec import decode_request, encode_response
from braft_core.transport.size_limits import MAX_CONTROL
from braft_core.transport.snapshot_transfer import InboundSnapshot

__all__ = ["RaftTransportServer"]

#: Requests of one stream that may wait for the node; then reading pauses.
_MAX_WAITING = 64
#: Limits of pipelines: of one address, and of all. Each holds up to one message while it reads.
PIPELINES = (32, 256)

#: Method → its request, and the largest one in bytes where the transport's limit is too large.
_UNARY: dict[str, tuple[type[Request], int | None]] = {
    "AppendEntries": (AppendEntries, None),
    "RequestVote": (RequestVote, MAX_CONTROL),
    "RequestPreVote": (RequestPreVote, MAX_CONTROL),
    "TimeoutNow": (TimeoutNow, MAX_CONTROL),
}


class _Slot:
    """The place of one response: ``context`` of a request from a stream."""

    __slots__ = ("data", "stream")

    def __init__(self, stream: _InboundStream) -> None:
        self.stream = stream
        self.data: bytes | None = None

    def fill(self, data: bytes) -> None:
        self.data = data
        if self.stream.slots and self.stream.slots[0] is self:
            self.stream.wake.set()

    def refuse(self, error: BraftError) -> None:
        self.stream.refuse(error)


class _Call:
    """``context`` of a single call."""

    __slots__ = ("answer",)

    def __init__(self, answer: asyncio.Future[bytes]) -> None:
        self.answer = answer

    def fill(self, data: bytes) -> None:
        if not self.answer.done():
            self.answer.set_result(data)

    def refuse(self, error: BraftError) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class _InboundStream:
    """One peer's pipeline. The handler coroutine writes, a task of its own reads."""

    def __init__(self, local: GrpcEndpoint, context: Any, sender: str) -> None:
        self._local = local
        self._context = context
        self._cluster_id = local.identity.cluster_id
        self.sender = sender
        self.slots: deque[_Slot] = deque()
        self.wake = asyncio.Event()
        self._room = asyncio.Event()
        #: Why reading ended; ``None`` while it continues.
        self._end: tuple[grpc.StatusCode, str] | None = None
        self.orderly = False
        #: Resolved when the stream is over.
        self.left: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def finish(self) -> None:
        """End the stream from our side, with status OK."""
        self.orderly = True
        self._ended(grpc.StatusCode.OK, "")

    def refuse(self, error: BraftError) -> None:
        """End the stream, which brought a protocol violation."""
        self.orderly = True
        self._ended(status_of(error), details_of(error))

    async def serve(self) -> None:
        await self._context.send_initial_metadata(((SENDER, self._local.identity.server_id),))
        reader = asyncio.create_task(self._read())
        try:
            await self._write()
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _write(self) -> None:
        slots, write = self.slots, self._context.write
        while self._end is None:
            while slots and (data := slots[0].data) is not None:
                slots.popleft()
                await write(data)
            self._room.set()
            await self.wake.wait()
            self.wake.clear()
        status, reason = self._end
        if status is not grpc.StatusCode.OK:
            await self._context.abort(status, reason)

    async def _read(self) -> None:
        try:
            await self._requests()
        except DecodeError as error:
            self._local.counters[GARBAGE] += 1
            self.refuse(error)

    async def _requests(self) -> None:
        read = self._context.read
        while (data := await read()) is not grpc.aio.EOF:
            if data == GOAWAY:
                self.finish()
                return
            message = decode_request(AppendEntries, data, self._local.identity.server_id)
            if self._local.identity.cluster_id != self._cluster_id:
                self.orderly = True
                self._ended(grpc.StatusCode.FAILED_PRECONDITION, "this node changed its cluster")
                return
            self._hand_over(message)
            if is_over(self._context):
                self.finish()
                return
            while len(self.slots) >= _MAX_WAITING:
                self._room.clear()
                await self._room.wait()
        # Without GOAWAY: the peer's process is gone, or it dropped us.
        self._ended(grpc.StatusCode.OK, "")

    def _hand_over(self, message: Request) -> None:
        self.sender = self.sender or message.sender
        slot = _Slot(self)
        self.slots.append(slot)
        message.context = slot
        self._local.handler.on_message(message)

    def _ended(self, status: grpc.StatusCode, reason: str) -> None:
        if self._end is None:
            self._end = (status, reason)
        self.wake.set()


class RaftTransportServer:
    """Serves the Raft RPCs of one node.

    :param heard_from: called with the id of a peer whose stream just began.
    """

    def __init__(
        self,
        local: GrpcEndpoint,
        authorizer: CallAuthorizer,
        bounded: BoundedCalls,
        heard_from: Callable[[str], None],
    ) -> None:
        self._local = local
        self._authorizer = authorizer
        self._bounded = bounded
        self._heard_from = heard_from
        self._streams: dict[int, _InboundStream] = {}
        self._latest: dict[str, _InboundStream] = {}
        self._waiting: set[asyncio.Future[bytes]] = set()
        self._snapshots = GrpcSnapshotReceiver(local, bounded)
        self._installing: set[asyncio.Task[bytes]] = set()
        self._pipelines = AddressQuota(*PIPELINES)
        self._stopping = False

    def handlers(self) -> grpc.GenericRpcHandler:
        """Return the handlers to register."""
        methods = {
            name: self._bounded.method(
                functools.partial(self._admit, name), self._single(kind), limit
            )
            for name, (kind, limit) in _UNARY.items()
        }
        methods["AppendEntriesPipeline"] = grpc.stream_stream_rpc_method_handler(self._pipeline)
        methods["InstallSnapshot"] = grpc.stream_unary_rpc_method_handler(self._install)
        return grpc.method_handlers_generic_handler("RaftTransport", methods)

    def reply(self, message: Response) -> None:
        """Send a response to its request's call or stream, if that still exists."""
        message.context.fill(encode_response(message, self._local.header))

    async def stop(self) -> None:
        """End all streams orderly and all waiting calls."""
        self._stopping = True
        streams = list(self._streams.values())
        for stream in streams:
            stream.finish()
        for answer in [*self._waiting, *self._installing]:
            answer.cancel()
        if streams:
            await asyncio.wait(
                [stream.left for stream in streams], timeout=self._local.timing.close
            )

    async def _admit(self, method: str, context: Any) -> Any:
        """Return the context to serve a call with, or end the call."""
        if self._stopping:
            await _abort(context, grpc.StatusCode.UNAVAILABLE, "this node is stopping")
        context = await self._authorizer.admit(f"/RaftTransport/{method}", context)
        refusal = self._local.refuse(context.invocation_metadata())
        if refusal is not None:
            await _abort(context, _status(refusal), refusal.reason)
        return context

    def _single(self, kind: type[Request]) -> Callable[[bytes, Any], Awaitable[bytes]]:
        async def serve(data: bytes, context: Any) -> bytes:
            try:
                message = decode_request(kind, data, self._local.identity.server_id)
            except DecodeError as error:
                self._local.counters[GARBAGE] += 1
                await _abort(context, status_of(error), details_of(error))
            try:
                return await self.until_stopped(self._answer(message), context)
            except BraftError as error:
                return await _abort(context, status_of(error), details_of(error))

        return serve

    async def _answer(self, message: Request) -> bytes:
        """Hand a request to the node and return its response. Cancelled by :meth:`stop`."""
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        message.context = _Call(answer)
        self._waiting.add(answer)
        try:
            self._local.handler.on_message(message)
            return await answer
        finally:
            self._waiting.discard(answer)

    async def until_stopped(self, serving: Awaitable[bytes], context: Any) -> bytes:
        """Await the answer to a call; abort the call if the server stops meanwhile."""
        try:
            return await serving
        except asyncio.CancelledError:
            if not self._stopping:
                raise
            await _abort(context, grpc.StatusCode.UNAVAILABLE, "this node is stopping")

    async def _install(self, _requests: Any, context: Any) -> bytes:
        context = await self._admit("InstallSnapshot", context)
        try:
            incoming = await self._snapshots.receive(context)
            # A stored snapshot must reach the node, even if the leader disconnects meanwhile.
            installing = asyncio.create_task(self._store(incoming))
            self._installing.add(installing)
            installing.add_done_callback(self._installing.discard)
            answer = await self.until_stopped(asyncio.shield(installing), context)
            return signed(context, answer)
        except BraftError as error:
            self._local.counters["refused_snapshot"] += 1
            self._snapshots.log_failure(error)
            await _abort(context, status_of(error), details_of(error))

    async def _store(self, incoming: InboundSnapshot) -> bytes:
        try:
            message = await incoming.commit()
        finally:
            incoming.close()
        return await self._answer(message)

    async def _pipeline(self, _requests: Any, context: Any) -> None:
        context = await self._admit("AppendEntriesPipeline", context)
        async with within_quota(self._pipelines, context, "pipelines"):
            await self._serve(context, pairs(context.invocation_metadata()))

    async def _serve(self, context: Any, metadata: dict[str, Any]) -> None:
        stream = _InboundStream(self._local, context, text(metadata.get(SENDER, "")))
        self._streams[id(stream)] = stream
        lifetime = self._local.timing.stream_age * random.uniform(0.9, 1)  # noqa: S311
        age = asyncio.get_running_loop().call_later(lifetime, stream.finish)
        if stream.sender:
            self._latest[stream.sender] = stream
            self._heard_from(stream.sender)
        try:
            await stream.serve()
        finally:
            age.cancel()
            self._gone(stream)

    def _gone(self, stream: _InboundStream) -> None:
        stream.left.set_result(None)
        del self._streams[id(stream)]
        replaced = self._latest.get(stream.sender, stream) is not stream
        if not replaced:
            self._latest.pop(stream.sender, None)
        if stream.sender and not (stream.orderly or replaced or self._stopping):
            self._local.handler.on_connection_lost(stream.sender)


def _status(refusal: Refusal) -> grpc.StatusCode:
    """Return UNAVAILABLE for a node without a cluster, which may join one; else a lasting error."""
    if refusal.kind == NOT_MEMBER:
        return grpc.StatusCode.UNAVAILABLE
    if refusal.kind == NO_PEER:
        return grpc.StatusCode.PERMISSION_DENIED
    return grpc.StatusCode.FAILED_PRECONDITION


async def _abort(context: Any, status: grpc.StatusCode, reason: str) -> NoReturn:
    await context.abort(status, reason)
    raise AssertionError("unreachable: abort raises")
