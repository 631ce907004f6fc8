"""Sends requests to one peer over two connections, maintained in the background.

Owns when to connect, when to give up, and what the node hears of it. The *bulk* connection carries
AppendEntries in order. The *control* connection carries heartbeats, votes and TimeoutNow, so that
they wait neither behind bulk data nor for its flow control. Links do not affect each other.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import grpc
import grpc.aio

from braft_core.errors import AccessDenied, DecodeError, Unreachable, WrongCluster
from braft_core.escaping import printable
from braft_core.raft.messages import (
    AppendEntries,
    Request,
    RequestPreVote,
    RequestPreVoteResponse,
    RequestVote,
    TimeoutNow,
)
from braft_core.transport.grpc.authenticated_channel import AuthenticatedChannel
from braft_core.transport.grpc.channel_ready import wait_until_ready
from braft_core.transport.grpc.grpc_endpoint import GrpcEndpoint
from braft_core.transport.grpc.pipeline import Bulk, Ending, Pipeline, UnaryAppends
from braft_core.transport.peer_health import PeerHealthReporter
from braft_core.transport.raft_codec import decode_response, encode_request
from braft_core.transport.size_limits import MAX_CONTROL
from braft_core.transport.tls_probe import TLSProbe

__all__ = ["PeerLink"]

_log = logging.getLogger(__name__)

_MAX_CONTROL_CALLS = 16

_METHODS: dict[type[Request], str] = {
    AppendEntries: "/RaftTransport/AppendEntries",
    RequestVote: "/RaftTransport/RequestVote",
    RequestPreVote: "/RaftTransport/RequestPreVote",
    TimeoutNow: "/RaftTransport/TimeoutNow",
}


class PeerLink:
    """Requests to one server. Made on the loop; needs :meth:`close`."""

    def __init__(self, local: GrpcEndpoint, server_id: str, address: str) -> None:
        self.server_id = server_id
        self.address = address
        self._local = local
        self._timing = local.timing
        self._loop = asyncio.get_running_loop()
        self._bulk: Bulk | None = None
        self._knows_pipelines = True
        self._closed = False
        self._health = PeerHealthReporter(local, server_id, _log)
        self._reconnect_now = asyncio.Event()
        self._calls: set[asyncio.Task[None]] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._control: grpc.aio.Channel | None = None
        self._control_heard = self._loop.time()
        self._control_made = 0.0
        self._renewing: asyncio.Task[None] | None = None
        self._renew_control()
        self._keeper = self._loop.create_task(self._maintain())

    # ------------------------------------------------------------------ sending

    def send(self, message: Request) -> None:
        """Send, or drop and report. Never blocks."""
        identity = self._local.identity
        entries = message.entries if isinstance(message, AppendEntries) else ()
        data = encode_request(
            message,
            self._local.header,
            identity.address.encode(),
            self._local.entries.encode(entries),
        )
        if len(data) > self._local.options.max_message_bytes:
            limit = self._local.options.max_message_bytes
            _log.error("a message of %d bytes exceeds max_message_bytes %d", len(data), limit)
            self._health.report_dropped()
        elif isinstance(message, AppendEntries) and not message.heartbeat:
            if self._bulk is None or not self._bulk.put(message.request_id, data):
                self._health.report_dropped()
        else:
            self._send_control(message, data)

    def reconnect_now(self) -> None:
        """Skip the rest of the pause before the next attempt: the peer was just heard from."""
        self._reconnect_now.set()

    async def close(self) -> None:
        """Close both connections, in order if the peer reads."""
        self._closed = True
        if self._bulk is not None:
            self._bulk.close()
            await asyncio.wait({self._keeper}, timeout=1.5 * self._timing.close)
        tasks = [self._keeper, *self._calls, *([self._renewing] if self._renewing else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._health.forget_refusal()
        if self._control is not None:
            await self._control.close()
        await asyncio.gather(*self._closing, return_exceptions=True)

    def _refused(self, reason: str) -> None:
        self._health.report_refused(WrongCluster(printable(reason)), self.address)

    # ------------------------------------------------------------------ control channel

    def _renew_control(self) -> None:
        """Replace the control connection, after a probe if there is no valid one."""
        self._control_made = self._loop.time()
        found = self._local.tls_probes.get(self.address)
        if found is not None:
            self._use_control(found)
        elif self._renewing is None or self._renewing.done():
            self._renewing = self._loop.create_task(self._probe_and_renew())

    async def _probe_and_renew(self) -> None:
        try:
            found = await self._local.tls_probes.get_or_probe(self.address, self._timing.connect)
        except (Unreachable, DecodeError) as error:
            _log.debug("control channel to %s: %s", self.server_id, error)
        else:
            self._use_control(found)

    def _use_control(self, found: TLSProbe) -> None:
        if self._control is not None:
            self._in_background(self._control.close())
        self._control_found = found
        self._control = self._local.connector.channel(self.address, found, MAX_CONTROL)
        self._prover = AuthenticatedChannel(
            self._local, self._control, self.address, self.server_id
        )
        self._control.get_state(try_to_connect=True)
        self._control_heard = self._loop.time()

    def _in_background(self, closing: Any) -> None:
        task = self._loop.create_task(closing)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _send_control(self, message: Request, data: bytes) -> None:
        if self._control is None or not self._local.connector.is_current(self._control_found):
            self._renew_control()  # else it would connect with outdated certificates
        path = _METHODS.get(type(message))
        if (
            path is None
            or len(self._calls) >= _MAX_CONTROL_CALLS
            or self._is_broken(try_to_connect=True)
        ):
            self._health.report_dropped()
            return
        task = self._loop.create_task(self._call(path, message, data))
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    def _is_broken(self, *, try_to_connect: bool = False) -> bool:
        """Return whether the control channel cannot connect.

        A TLS channel accepts one certificate only, and the peer may have a new one.
        """
        failing = grpc.ChannelConnectivity.TRANSIENT_FAILURE
        if self._control is None:
            return True
        if self._control.get_state(try_to_connect=try_to_connect) is not failing:
            return False
        if (
            self._control_found.material
            and self._loop.time() - self._control_made > self._timing.connect
        ):
            self._local.tls_probes.forget(self.address)
            self._renew_control()
        return True

    async def _call(self, path: str, message: Request, data: bytes) -> None:
        timeout = min(self._timing.control_timeout, self._local.options.rpc_timeout)
        if isinstance(message, RequestVote):
            timeout = self._timing.vote_timeout
        try:
            metadata = self._local.metadata(self.server_id)
            answer = await self._prover.unary(path, data, timeout, metadata)
            own_id = self._local.identity.server_id
            response = decode_response(type(message), answer, self.server_id, own_id)
        except grpc.aio.AioRpcError as error:
            self._call_failed(message, error)
        except AccessDenied as error:
            self._health.report_refused(error, self.address)
            self._health.report_dropped()
        except DecodeError as error:
            self._refused(f"the peer sent a malformed response: {error}")
            self._health.report_dropped()
        else:
            self._control_heard = self._loop.time()
            response.request_id = message.request_id
            self._health.deliver(response)

    def _call_failed(self, message: Request, error: grpc.aio.AioRpcError) -> None:
        code = error.code()
        if code is grpc.StatusCode.UNIMPLEMENTED and isinstance(message, RequestPreVote):
            self._health.deliver(_grant_unasked(message, self.server_id))
            return
        if code is grpc.StatusCode.FAILED_PRECONDITION:
            self._refused(error.details() or code.name)
        elif code is grpc.StatusCode.DEADLINE_EXCEEDED:
            silent = self._loop.time() - self._control_heard
            if silent > 2 * self._timing.control_timeout:
                # After packet loss TCP retries at growing intervals; a new connection is faster.
                self._renew_control()
        self._health.report_dropped()

    # ------------------------------------------------------------------ bulk channel

    async def _maintain(self) -> None:
        pause = self._timing.reconnect_min
        while not self._closed:
            # The node sets its identity once, without a signal.
            while not self._local.identity.cluster_id:  # noqa: ASYNC110
                await asyncio.sleep(self._timing.membership_poll)
            self._reconnect_now.clear()
            ending = await self._connect_once()
            if self._closed:
                return
            if ending in (Ending.LOST, Ending.ORDERLY):
                pause = self._timing.reconnect_min
            try:
                # Not asyncio.wait_for: before Python 3.12 it may lose a cancellation.
                async with asyncio.timeout(pause):
                    await self._reconnect_now.wait()
                pause = self._timing.reconnect_min
            except TimeoutError:
                pause = min(pause * 2, self._timing.reconnect_max)

    async def _connect_once(self) -> Ending:
        try:
            found = await self._local.tls_probes.get_or_probe(self.address, self._timing.connect)
        except (Unreachable, DecodeError) as error:
            _log.debug("bulk channel to %s: %s", self.server_id, error)
            if error.data.get("no_peer"):
                self._health.report_untrusted(error)
            return Ending.NEVER
        channel = self._local.connector.channel(self.address, found, MAX_CONTROL)
        try:
            if not await wait_until_ready(channel, self._timing.connect):
                return Ending.NEVER
            if self._is_broken():
                self._renew_control()
            prover = AuthenticatedChannel(self._local, channel, self.address, self.server_id)
            if not await self._prove(prover):
                return Ending.NEVER
            return await self._run_bulk(prover)
        finally:
            self._bulk = None
            self._local.tls_probes.forget(self.address)
            self._in_background(channel.close())

    def _when_heard(self) -> float:
        return self._control_heard

    async def _prove(self, prover: AuthenticatedChannel) -> bool:
        try:
            await prover.ready()
        except AccessDenied as error:
            self._health.report_refused(error, self.address)
        except (grpc.aio.AioRpcError, DecodeError) as error:
            _log.debug("the bulk channel to %s did not begin: %r", self.server_id, error)
        else:
            return True
        return False

    async def _run_bulk(self, prover: AuthenticatedChannel) -> Ending:
        make = Pipeline if self._knows_pipelines else UnaryAppends
        deliver = self._health.deliver
        bulk = make(self._local, self.server_id, prover, deliver, self._when_heard)
        self._bulk = bulk
        self._health.report_connected()
        ending, reason = await bulk.run()
        self._bulk = None
        _log.debug("bulk channel to %s (%s): %s: %s", self.server_id, self.address, ending, reason)
        self._knows_pipelines = ending is not Ending.UNSUPPORTED
        if ending is Ending.REFUSED:
            self._refused(reason)
        elif ending is Ending.LOST:
            self._local.handler.on_connection_lost(self.server_id)
        if bulk.pending:
            self._health.report_dropped()
        return ending


def _grant_unasked(message: RequestPreVote, sender: str) -> RequestPreVoteResponse:
    """Grant a pre-vote for a peer that does not know pre-votes, as HashiCorp raft does."""
    response = RequestPreVoteResponse(sender, message.sender, message.term - 1, granted=True)
    response.request_id = message.request_id
    return response
