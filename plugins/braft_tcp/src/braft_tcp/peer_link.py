"""The outbound side of one peer: two connections, kept up in the background.

Owns when to connect, when to give up, and what the node is told. *Bulk* carries AppendEntries in
order; *control* carries heartbeats, votes and TimeoutNow, so that they wait neither behind
megabytes nor behind their flow control.
"""

from __future__ import annotations

import asyncio
import logging
import random

from braft_core.errors import DecodeError, Unreachable
from braft_core.raft import AppendEntries, Request
from braft_core.transport import PeerHealthReporter, encode_request
from braft_tcp.connection import Connection
from braft_tcp.frames import Channel
from braft_tcp.handshake import Refused, connect
from braft_tcp.outbound import BulkChannel, ControlChannel, OutboundChannel
from braft_tcp.tcp_endpoint import TcpEndpoint

__all__ = ["PeerLink"]

_log = logging.getLogger(__name__)


class PeerLink:
    """Requests to one server. Made on the loop; needs :meth:`close`."""

    def __init__(self, local: TcpEndpoint, server_id: str, address: str) -> None:
        self.server_id = server_id
        self.address = address
        self._local = local
        self._loop = asyncio.get_running_loop()
        self._health = PeerHealthReporter(local, server_id, _log)
        self._control = ControlChannel(local, server_id, self._health.deliver)
        self._bulk = BulkChannel(local, server_id, self._health.deliver, self._control)
        self._reconnect_now = {
            channel: asyncio.Event() for channel in (Channel.BULK, Channel.CONTROL)
        }
        self._keepers = [
            self._loop.create_task(self._maintain(Channel.BULK, self._bulk)),
            self._loop.create_task(self._maintain(Channel.CONTROL, self._control)),
        ]

    # ------------------------------------------------------------------ sending

    def send(self, message: Request) -> None:
        """Send, or drop and report. Never blocks."""
        local = self._local
        entries = message.entries if isinstance(message, AppendEntries) else ()
        data = encode_request(
            message, local.header, local.identity.address.encode(), local.entries.encode(entries)
        )
        limit = local.options.max_message_bytes
        bulk = isinstance(message, AppendEntries) and not message.heartbeat
        channel: OutboundChannel = self._bulk if bulk else self._control
        if len(data) > limit:
            _log.error("a message of %d bytes exceeds max_message_bytes %d", len(data), limit)
            self._health.report_dropped()
        elif not channel.put(message, data):
            self._health.report_dropped()

    def reconnect_now(self) -> None:
        """Skip the rest of the pause before the next attempt: the peer was just heard from."""
        for event in self._reconnect_now.values():
            event.set()

    def watch(self, now: float) -> None:
        """Check for requests that wait too long and for silent connections."""
        for channel in (self._bulk, self._control):
            if channel.watch(now):
                self._health.report_dropped()

    async def close(self) -> None:
        """End both connections, orderly if the peer listens."""
        ending = [
            gone for channel in (self._bulk, self._control) if (gone := channel.close_gracefully())
        ]
        for task in self._keepers:
            task.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        self._health.forget_refusal()
        if ending:
            await asyncio.wait(ending, timeout=2 * self._local.timing.close)

    # ------------------------------------------------------------------ connecting

    async def _maintain(self, kind: Channel, channel: OutboundChannel) -> None:
        pause = self._local.timing.reconnect_min
        nudged = self._reconnect_now[kind]
        while True:
            # The node sets its identity without a signal, once in its life.
            while not self._local.identity.cluster_id:  # noqa: ASYNC110
                await asyncio.sleep(self._local.timing.membership_poll)
            nudged.clear()
            connection = await self._connect(kind, channel)
            if connection is not None:
                pause = self._local.timing.reconnect_min
                await self._run(channel, connection)
            try:
                # Peers that lost the same node do not all call it at the same moment.
                async with asyncio.timeout(pause * random.uniform(0.5, 1.0)):  # noqa: S311
                    await nudged.wait()
                pause = self._local.timing.reconnect_min
            except TimeoutError:
                pause = min(pause * 2, self._local.timing.reconnect_max)

    async def _connect(self, kind: Channel, channel: OutboundChannel) -> Connection | None:
        local = self._local
        try:
            return await connect(local, self.address, kind, self.server_id, channel.receive)
        except Refused as refusal:
            if not refusal.temporary and kind is Channel.BULK:
                self._health.report_refused(refusal.error, self.address)
        except (Unreachable, DecodeError) as error:
            _log.debug("%s to %s: %s", kind.name, self.server_id, error)
            if error.data.get("no_peer") and kind is Channel.BULK:
                self._health.report_untrusted(error)
        return None

    async def _run(self, channel: OutboundChannel, connection: Connection) -> None:
        if channel is self._bulk:
            self._health.report_connected()
        channel.begin(connection)
        try:
            await asyncio.shield(connection.gone)
        finally:
            pending = channel.end()
        if channel is self._bulk and not connection.orderly:
            self._local.handler.on_connection_lost(self.server_id)
        if pending:
            self._health.report_dropped()
