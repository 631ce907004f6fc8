"""Requests on the bulk and the control channel, while they are connected.

Matches responses to requests and bounds what waits. Does not know how connections are made, nor
what happens after one ended.
"""

from __future__ import annotations

import abc
import asyncio
from collections import deque
from collections.abc import Callable

from braft_core.errors import DecodeError
from braft_core.raft import (
    AppendEntries,
    Request,
    RequestPreVote,
    RequestVote,
    Response,
    TimeoutNow,
)
from braft_core.transport import decode_response
from braft_tcp.connection import Connection
from braft_tcp.frames import Kind
from braft_tcp.tcp_endpoint import TcpEndpoint

__all__ = ["REQUESTS", "BulkChannel", "ControlChannel", "OutboundChannel"]

#: What may wait to be written. The core's window (8 messages, 8 MiB) with a margin.
_MAX_QUEUED = 64
_MAX_QUEUED_BYTES = 32 << 20
_MAX_CONTROL = 16

#: The frame of each request.
REQUESTS: dict[Kind, type[Request]] = {
    Kind.APPEND_ENTRIES: AppendEntries,
    Kind.REQUEST_VOTE: RequestVote,
    Kind.REQUEST_PRE_VOTE: RequestPreVote,
    Kind.TIMEOUT_NOW: TimeoutNow,
}
_KINDS: dict[type[Request], Kind] = {kind: frame for frame, kind in REQUESTS.items()}


class OutboundChannel(abc.ABC):
    """Requests to one server in one connection at a time."""

    def __init__(self, local: TcpEndpoint, peer: str, deliver: Callable[[Response], None]) -> None:
        self._local = local
        self._peer = peer
        self._deliver = deliver
        self._loop = asyncio.get_running_loop()
        self._connection: Connection | None = None
        self._cluster_id = ""
        #: The loop's time at which the peer last answered here.
        self.heard = 0.0

    def begin(self, connection: Connection) -> None:
        """Use this connection."""
        connection.limit_unacknowledged()
        self._connection = connection
        self._cluster_id = self._local.identity.cluster_id

    @abc.abstractmethod
    def end(self) -> bool:
        """Drop the connection; return whether requests are left without a response."""

    @abc.abstractmethod
    def put(self, message: Request, data: bytes) -> bool:
        """Send an encoded request, now or soon; False if it is dropped."""

    @abc.abstractmethod
    def watch(self, now: float) -> bool:
        """Drop overdue requests; return whether there were any."""

    @abc.abstractmethod
    def receive(self, kind: int, request_id: int, body: bytes) -> None:
        """Take a frame. :raises DecodeError: it is no response to a request of this channel."""

    def close_gracefully(self) -> asyncio.Future[None] | None:
        """Close the connection in order; return a future that is resolved when it is closed."""
        connection = self._connection
        if connection is None:
            return None
        connection.close_gracefully()
        return connection.gone

    def _usable(self) -> Connection | None:
        """Return the connection, unless it is closed or this node has changed its cluster."""
        connection = self._connection
        if connection is None or connection.closing:
            return None
        if self._local.identity.cluster_id != self._cluster_id:
            connection.close_gracefully()
            return None
        return connection

    def _answered(self, kind: type[Request], request_id: int, body: bytes) -> None:
        self.heard = self._loop.time()
        own_id = self._local.identity.server_id
        response = decode_response(kind, body, self._peer, own_id)
        response.request_id = request_id
        self._deliver(response)


class BulkChannel(OutboundChannel):
    """AppendEntries in order; responses come in request order.

    ``other`` is the channel on which heartbeats are answered meanwhile.
    """

    def __init__(
        self,
        local: TcpEndpoint,
        peer: str,
        deliver: Callable[[Response], None],
        other: OutboundChannel,
    ) -> None:
        super().__init__(local, peer, deliver)
        self._other = other
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._waiting_bytes = 0
        self._sent: deque[int] = deque()
        self._progress = 0.0

    def begin(self, connection: Connection) -> None:
        """See the base class."""
        super().begin(connection)
        connection.on_writable = self._write_waiting

    def end(self) -> bool:
        """See the base class."""
        pending = bool(self._sent or self._waiting)
        self._connection = None
        self._sent.clear()
        self._waiting.clear()
        self._waiting_bytes = 0
        return pending

    def put(self, message: Request, data: bytes) -> bool:
        """See the base class."""
        connection = self._usable()
        if connection is None:
            return False
        if not self._waiting and not connection.full:
            self._write(connection, message.request_id, data)
            return True
        full = self._waiting_bytes + len(data) > _MAX_QUEUED_BYTES
        if self._waiting and (full or len(self._waiting) >= _MAX_QUEUED):
            return False
        self._waiting.append((message.request_id, data))
        self._waiting_bytes += len(data)
        return True

    def _write(self, connection: Connection, request_id: int, data: bytes) -> None:
        if not self._sent:
            self._progress = self._loop.time()
        self._sent.append(request_id)
        connection.send(Kind.APPEND_ENTRIES, request_id, data)

    def _write_waiting(self) -> None:
        connection = self._connection
        while connection is not None and self._waiting and not connection.full:
            request_id, data = self._waiting.popleft()
            self._waiting_bytes -= len(data)
            self._write(connection, request_id, data)

    def receive(self, kind: int, request_id: int, body: bytes) -> None:
        """See the base class."""
        if kind != Kind.RESPONSE or not self._sent or self._sent[0] != request_id:
            raise DecodeError(f"frame {kind} for {request_id} answers no request that waits")
        self._sent.popleft()
        self._progress = self._loop.time()
        self._answered(AppendEntries, request_id, body)

    def watch(self, now: float) -> bool:
        """See the base class. The connection is given up in order: the peer may be alive."""
        connection = self._connection
        if connection is None:
            return False
        if self._sent and now - self._stored_by() > self._local.options.rpc_timeout:
            connection.close_gracefully()
            return False  # reported when the connection has ended
        connection.watch(now)
        return False

    def _stored_by(self) -> float:
        """Return from when on a response is late.

        A peer that answers heartbeats may have a disk that takes long to store what it was sent. On
        a new connection it would have to store as much again.
        """
        return max(
            self._progress,
            min(self._other.heard, self._progress + self._local.timing.store_timeout),
        )


class ControlChannel(OutboundChannel):
    """Heartbeats, votes and TimeoutNow; a response may overtake another."""

    def __init__(self, local: TcpEndpoint, peer: str, deliver: Callable[[Response], None]) -> None:
        super().__init__(local, peer, deliver)
        #: Request id → type and when it was sent, oldest first.
        self._sent: dict[int, tuple[type[Request], float]] = {}

    def end(self) -> bool:
        """See the base class."""
        pending = bool(self._sent)
        self._connection = None
        self._sent.clear()
        return pending

    def put(self, message: Request, data: bytes) -> bool:
        """See the base class."""
        connection = self._usable()
        if connection is None or connection.full or len(self._sent) >= _MAX_CONTROL:
            return False
        self._sent[message.request_id] = type(message), self._loop.time()
        connection.send(_KINDS[type(message)], message.request_id, data)
        return True

    def receive(self, kind: int, request_id: int, body: bytes) -> None:
        """See the base class."""
        if kind != Kind.RESPONSE:
            raise DecodeError(f"frame {kind} on the control channel")
        sent = self._sent.pop(request_id, None)
        if sent is not None:  # else it timed out
            self._answered(sent[0], request_id, body)

    def watch(self, now: float) -> bool:
        """See the base class."""
        connection = self._connection
        if connection is None:
            return False
        patience = min(self._local.timing.control_timeout, self._local.options.rpc_timeout)
        late = [
            key
            for key, (kind, since) in self._sent.items()
            if now - since > (self._local.timing.vote_timeout if kind is RequestVote else patience)
        ]
        for key in late:
            del self._sent[key]
        if late and now - connection.heard > 2 * patience:
            # TCP would retry ever more slowly on a path that lost its packets for a while.
            connection.abort()
        else:
            connection.watch(now)
        return bool(late)
