"""Hands inbound Raft requests to the node, and sends the responses.

Owns the order of responses and the bound on requests that wait for the node.
"""

from __future__ import annotations

import abc
import logging
from collections import deque

from braft_core.errors import BraftError, DecodeError, WrongCluster
from braft_core.raft import AppendEntries
from braft_core.transport import WRONG_CLUSTER, decode_request
from braft_tcp.connection import Connection
from braft_tcp.frames import Hello, Kind
from braft_tcp.handshake import encode_refusal
from braft_tcp.outbound import REQUESTS
from braft_tcp.tcp_endpoint import Rejection, TcpEndpoint

__all__ = ["BulkInbound", "ControlInbound", "Inbound", "ResponseRoute"]

_log = logging.getLogger(__name__)

#: Requests of one connection that may wait for the node; then reading pauses.
_MAX_WAITING = 64


class Inbound(abc.ABC):
    """What one accepted connection is for."""

    def __init__(self, local: TcpEndpoint, connection: Connection, hello: Hello) -> None:
        self._local = local
        self._connection = connection
        self._hello = hello

    @abc.abstractmethod
    def receive(self, kind: int, request_id: int, body: bytes) -> None:
        """Take a frame. :raises DecodeError: it does not belong here or cannot be read."""

    def lost(self) -> None:  # noqa: B027 - most channels have nothing to do
        """Clean up after the connection closed."""

    async def stop(self) -> None:  # noqa: B027 - most channels have nothing to do
        """Cancel what is under way."""

    def _still_ours(self) -> bool:
        """Return whether this node is in the same cluster as before; else refuse the caller."""
        if self._local.identity.cluster_id == self._hello.cluster_id:
            return True
        self._local.counters[WRONG_CLUSTER] += 1
        denial = Rejection(WRONG_CLUSTER, WrongCluster("this node changed its cluster"))
        self._connection.send(Kind.REFUSED, 0, encode_refusal(denial))
        self._connection.close_gracefully()
        return False


class _Slot:
    """The place of one response: ``context`` of a request on the bulk channel."""

    __slots__ = ("channel", "data", "request_id")

    def __init__(self, channel: BulkInbound, request_id: int) -> None:
        self.channel = channel
        self.request_id = request_id
        self.data: bytes | None = None

    def fill(self, data: bytes) -> None:
        self.data = data
        self.channel.answer()

    def refuse(self, error: BraftError) -> None:
        self.channel.refuse(error)


class BulkInbound(Inbound):
    """One peer's AppendEntries; responses go out in request order."""

    def __init__(self, local: TcpEndpoint, connection: Connection, hello: Hello) -> None:
        super().__init__(local, connection, hello)
        self._slots: deque[_Slot] = deque()

    def receive(self, kind: int, request_id: int, body: bytes) -> None:
        """See the base class."""
        if kind != Kind.APPEND_ENTRIES:
            raise DecodeError(f"frame {kind} on the bulk channel")
        if not self._still_ours():
            return
        message = decode_request(AppendEntries, body, self._local.identity.server_id)
        slot = _Slot(self, request_id)
        self._slots.append(slot)
        message.context = slot
        if len(self._slots) >= _MAX_WAITING:
            self._connection.hold()
        self._local.handler.on_message(message)

    def answer(self) -> None:
        """Send the responses whose turn it is."""
        slots = self._slots
        while slots and (data := slots[0].data) is not None:
            self._connection.send(Kind.RESPONSE, slots.popleft().request_id, data)
        if self._connection.held and len(slots) < _MAX_WAITING // 2:
            self._connection.release()

    def refuse(self, error: BraftError) -> None:
        """Close the connection, which brought a protocol violation."""
        _log.debug("a connection is cut: %s", error)
        self._connection.close_gracefully()

    def lost(self) -> None:
        """See the base class."""
        self._slots.clear()


class ResponseRoute:
    """``context`` of a request on the control channel, or of a snapshot."""

    __slots__ = ("connection", "request_id")

    def __init__(self, connection: Connection, request_id: int) -> None:
        self.connection = connection
        self.request_id = request_id

    def fill(self, data: bytes) -> None:
        """Send the response."""
        self.connection.send(Kind.RESPONSE, self.request_id, data)

    def refuse(self, error: BraftError) -> None:
        """Close the connection, which brought a protocol violation."""
        _log.debug("a connection is cut: %s", error)
        self.connection.close_gracefully()


class ControlInbound(Inbound):
    """Heartbeats and votes. A vote waits for the disk, and a heartbeat must not wait for a vote."""

    def receive(self, kind: int, request_id: int, body: bytes) -> None:
        """See the base class."""
        try:
            request = REQUESTS[Kind(kind)]
        except (KeyError, ValueError) as error:
            raise DecodeError(f"frame {kind} on the control channel") from error
        if not self._still_ours():
            return
        message = decode_request(request, body, self._local.identity.server_id)
        message.context = ResponseRoute(self._connection, request_id)
        self._local.handler.on_message(message)
