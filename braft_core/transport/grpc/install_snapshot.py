"""Sends and receives InstallSnapshot over gRPC: a client stream of metadata, then contents.

A transfer has no deadline but has to make progress. Each has a connection of its own, so that its
flow control does not slow down other traffic.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import grpc
import grpc.aio

from braft_core.errors import BraftError, DecodeError, Unreachable, WrongCluster
from braft_core.raft.messages import InstallSnapshot, InstallSnapshotResponse
from braft_core.transport.grpc.authenticated_channel import AuthenticatedChannel
from braft_core.transport.grpc.bounded_calls import BoundedCalls
from braft_core.transport.grpc.channel_ready import wait_until_ready
from braft_core.transport.grpc.grpc_endpoint import SENDER, GrpcEndpoint, pairs
from braft_core.transport.raft_codec import (
    decode_chunk,
    decode_request,
    decode_response,
    encode_chunk,
    encode_request,
)
from braft_core.transport.size_limits import MAX_CONTROL
from braft_core.transport.snapshot_transfer import InboundSnapshot, SnapshotReader, SnapshotReceiver

__all__ = ["GrpcSnapshotReceiver", "send_snapshot"]

_PATH = "/RaftTransport/InstallSnapshot"
#: Bytes of contents in one message: a slow path moves it well within ``snapshot_stall``.
_MESSAGE = 256 << 10


# --------------------------------------------------------------------------------------------
# Sending


async def send_snapshot(
    local: GrpcEndpoint, address: str, message: InstallSnapshot
) -> InstallSnapshotResponse:
    """Send one of our snapshots to the server at ``address``; returns its answer.

    :raises Unreachable: it cannot be reached, stopped taking or answering.
    :raises WrongCluster: it refuses us. :raises AccessDenied: it does not know our token.
    :raises StorageError: our snapshot cannot be read.
    """
    timing = local.timing
    found = await local.tls_probes.get_or_probe(address, timing.connect)
    channel = local.connector.channel(address, found, MAX_CONTROL)
    source = SnapshotReader(local.handler, message.meta)
    try:
        if not await wait_until_ready(channel, timing.connect):
            local.tls_probes.forget(address)
            raise Unreachable(f"cannot connect to {address}", address=address, sent=False)
        prover = AuthenticatedChannel(local, channel, address, message.to)
        await prover.ready()
        call = prover.stream_unary(_PATH, local.metadata(message.to))
        try:
            await _stream(local, call, message, source)
            async with _patience(timing.snapshot_answer, "did not answer"):
                answer = await call
        finally:
            call.cancel()
        own_id = local.identity.server_id
        response = decode_response(InstallSnapshot, answer, message.to, own_id)
    except grpc.aio.AioRpcError as error:
        raise _failure(local, address, error) from error
    finally:
        source.close()
        await channel.close()
    if not isinstance(response, InstallSnapshotResponse):
        raise DecodeError("the peer answered something else")
    return response


async def _stream(
    local: GrpcEndpoint, call: Any, message: InstallSnapshot, source: SnapshotReader
) -> None:
    timing = local.timing
    ended: asyncio.Future[Any] = asyncio.ensure_future(call.code())
    # If the peer ends the call early, its status or answer says why.
    with contextlib.suppress(asyncio.InvalidStateError):
        try:
            address = local.identity.address.encode()
            await _write(
                call, encode_request(message, local.header, address), timing.snapshot_stall
            )
            await _acceptance(call, ended, timing.snapshot_accept)
            while chunk := await _next(source, ended, timing.snapshot_stall):
                for start in range(0, len(chunk), _MESSAGE):
                    await _write(
                        call, encode_chunk(chunk[start : start + _MESSAGE]), timing.snapshot_stall
                    )
            await call.done_writing()
        finally:
            ended.cancel()


async def _next(source: SnapshotReader, ended: asyncio.Future[Any], stall: float) -> bytes:
    """Return the next chunk. :raises InvalidStateError: the call has ended."""
    reading = asyncio.ensure_future(source.next())
    try:
        await asyncio.wait({reading, ended}, timeout=stall, return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            raise asyncio.InvalidStateError
        if not reading.done():
            raise Unreachable(f"our disk did not give the next bytes for {stall} s", sent=True)
        return reading.result()
    finally:
        if not reading.cancel() and not reading.cancelled():
            reading.exception()  # retrieve it, or asyncio logs it as never retrieved


async def _acceptance(call: Any, ended: asyncio.Future[Any], wait: float) -> None:
    """Leave the peer time to refuse: a write after the end of a call would hide the reason."""
    accepted = asyncio.ensure_future(call.initial_metadata())
    try:
        await asyncio.wait({accepted, ended}, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
        if accepted.done() and not (await _is_ours(accepted)):
            # Other implementations send metadata only with their decision.
            await asyncio.wait({ended}, timeout=wait)
    finally:
        accepted.cancel()


async def _is_ours(metadata: asyncio.Future[Any]) -> bool:
    try:
        return SENDER in dict(pairs(await metadata))
    except grpc.aio.AioRpcError:
        return False


async def _write(call: Any, data: bytes, stall: float) -> None:
    async with _patience(stall, "the peer took no more bytes"):
        await call.write(data)


@contextlib.asynccontextmanager
async def _patience(seconds: float, otherwise: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise Unreachable(f"{otherwise} for {seconds} s", sent=True) from error


def _failure(local: GrpcEndpoint, address: str, error: grpc.aio.AioRpcError) -> BraftError:
    code, words = error.code(), error.details() or ""
    if code is grpc.StatusCode.FAILED_PRECONDITION:
        local.counters["refused_by_peer"] += 1
        return WrongCluster(f"{address} refuses us: {words}", address=address)
    return Unreachable(
        f"{address}: {code.name}: {words}", address=address, status=code.name, sent=True
    )


# --------------------------------------------------------------------------------------------
# Receiving


class GrpcSnapshotReceiver:
    """Receives the contents of snapshots. The server commits them."""

    def __init__(self, local: GrpcEndpoint, bounded: BoundedCalls) -> None:
        self._local = local
        self._bounded = bounded
        self._receiver = SnapshotReceiver(local.handler, local.timing.snapshot_pace)
        #: Logs why a snapshot was not received, at a bounded rate.
        self.log_failure = self._receiver.log_failure

    async def receive(self, context: Any) -> InboundSnapshot:
        """Receive one stream up to its end. The caller commits or closes the result.

        :raises BraftError: it is malformed, cannot be stored, or another one has precedence.
            Nothing of it is left then.
        """
        server_id, cluster_id = self._local.identity.server_id, self._local.identity.cluster_id
        data = await self._bounded.read(context)
        if data is grpc.aio.EOF:
            raise DecodeError("the snapshot ended before it began")
        message = decode_request(InstallSnapshot, data, server_id)
        if not isinstance(message, InstallSnapshot):
            raise DecodeError("not the beginning of a snapshot")
        incoming = await self._receiver.receive(message, self._contents(context, data))
        if self._local.identity.cluster_id != cluster_id:
            incoming.close()
            raise WrongCluster("this node changed its cluster")
        return incoming

    async def _contents(self, context: Any, data: Any) -> AsyncGenerator[bytes]:
        await self._greet(context)
        while data is not grpc.aio.EOF:
            yield decode_chunk(data)
            data = await self._read(context)

    async def _greet(self, context: Any) -> None:
        """Send the metadata. A newer transfer may cancel this one meanwhile.

        gRPC cannot end a call while its metadata is being sent: the call would stay open, and its
        sender would wait until its own deadline. So the sending is waited for in any case.
        """
        metadata = ((SENDER, self._local.identity.server_id),)
        sending = asyncio.ensure_future(context.send_initial_metadata(metadata))
        try:
            await asyncio.shield(sending)
        except asyncio.CancelledError:
            await asyncio.wait({sending})
            raise

    async def _read(self, context: Any) -> Any:
        async with _patience(
            self._local.timing.snapshot_silence, "no message of the snapshot came"
        ):
            return await context.read()
