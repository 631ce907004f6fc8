"""What the streams of an HTTP/2 connection share: one call each, from head to answer.

A stream is also what the handler sees of its call (:class:`braft_core.http2.calls.Call`).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Any, Protocol

from braft_core.http2.calls import Metadata, Peer
from braft_core.http2.frames import CANCEL, PROTOCOL_ERROR, StreamFailed
from braft_core.http2.head import Head
from braft_core.http2.host import Host
from braft_core.http2.sender import Sender
from braft_core.http2.status import CallFailed, Status

__all__ = ["Owner", "Stream"]

_logger = logging.getLogger(__name__)


class Owner(Protocol):
    """What a stream needs of its connection."""

    #: Handlers that run.
    active: int

    @property
    def host(self) -> Host:
        """What connections share."""

    @property
    def peer(self) -> Peer:
        """Who is at the other end."""

    @property
    def sender(self) -> Sender:
        """The sending side."""

    @property
    def stream_window(self) -> int:
        """What the peer may send on a new stream."""

    def invoke(self, stream: Stream, message: bytes) -> None:
        """Call the handler of a request, now or later."""

    def hold(self, stream: Stream, size: int) -> None:
        """Count octets of a request that wait."""

    def taken(self, stream: Stream, size: int, *, held: int) -> None:
        """Note that a handler took octets, which counted ``held``."""

    def reset(self, stream: Stream, code: int) -> None:
        """End a stream without an answer."""

    def remove(self, stream: Stream) -> None:
        """Forget a stream that ended."""


class Stream:
    """What calls of both kinds share. Attributes of the class are the values of a new stream."""

    #: The peer sent all of its request.
    remote_closed = False
    #: Head of the answer was sent.
    started = False
    #: Nothing is sent or received any more.
    closed = False
    #: Octets of DATA of the request so far.
    received = 0
    #: Octets of the request that count against the budgets.
    held = 0
    #: Octets taken that the peer has not heard of.
    unannounced = 0
    #: What of the answer waits for the peer's window.
    queue: deque[memoryview] | None = None
    queued = 0
    tail = b""
    work: asyncio.Future[Any] | None = None
    deadline: float | None = None
    timer: asyncio.TimerHandle | None = None

    def __init__(self, connection: Owner, number: int, head: Head) -> None:
        self.connection = connection
        self.id = number
        self.head = head
        self.born = connection.host.now
        self.send_window = connection.sender.initial_window
        self.recv_window = connection.stream_window

    @property
    def metadata(self) -> Metadata:
        """What the caller sent beside the message."""
        return self.head.metadata

    @property
    def peer(self) -> Peer:
        """Who calls."""
        return self.connection.peer

    def time_remaining(self) -> float | None:
        """Return the seconds until the caller's deadline, at least 0; None without one."""
        if self.deadline is None:
            return None
        return max(0.0, self.deadline - self.connection.host.loop.time())

    def cancelled(self) -> bool:
        """Return True if nobody waits for the answer any more."""
        return self.closed

    # ------------------------------------------------------------------ to be defined

    def begin(self) -> None:
        """Act on the head of the request."""

    def is_whole(self, data: bytes) -> bool:
        """Return True if ``data`` is all of a unary request: one message, not compressed."""
        raise NotImplementedError

    def receive(self, data: bytes) -> None:
        """Take a part of the request."""
        raise NotImplementedError

    def receive_end(self) -> None:
        """Act on the end of the request."""
        raise NotImplementedError

    def invoke(self, message: bytes) -> None:
        """Call the handler of a request that is complete."""
        raise NotImplementedError

    def deliver(self, result: Any) -> None:
        """Send what the handler returned."""
        raise NotImplementedError

    def fail(self, status: Status, message: str) -> None:
        """Answer with an error, after what was sent before."""
        raise NotImplementedError

    def expects_more(self) -> bool:
        """Return True if the rest of the request should arrive soon."""
        return not self.remote_closed

    # ------------------------------------------------------------------ the end

    def check_length(self) -> None:
        """Compare what arrived with ``content-length``.

        Raises:
            StreamFailed: they differ.
        """
        expected = self.head.content_length
        if expected is not None and (
            self.received > expected or (self.remote_closed and self.received != expected)
        ):
            raise StreamFailed(PROTOCOL_ERROR, "content-length is not the length of the content")

    def dequeue(self, size: int) -> list[memoryview]:
        """Remove and return ``size`` octets of what is queued, at most :attr:`queued`."""
        assert self.queue is not None  # noqa: S101 - for type checkers: `queued` is positive
        self.queued -= size
        parts = []
        while size:
            part = self.queue[0]
            if len(part) <= size:
                self.queue.popleft()
            else:
                self.queue[0] = part[size:]
                part = part[:size]
            parts.append(part)
            size -= len(part)
        return parts

    def finished(self) -> None:
        """Note that the whole answer was sent."""
        self.closed = True
        if self.timer is not None:
            self.timer.cancel()
        self.connection.remove(self)

    def abandon(self) -> None:
        """End without an answer: the peer reset the stream, or the connection is gone."""
        if self.closed:
            return
        self.connection.sender.discard(self)
        self.finished()
        if self.work is not None:
            self.work.cancel()

    # ------------------------------------------------------------------ handlers

    def start(self, work: asyncio.Future[Any]) -> None:
        """Wait for a handler's result, until the deadline."""
        connection = self.connection
        self.work = work
        connection.active += 1
        work.add_done_callback(self._settled)
        if self.deadline is not None:
            self.timer = connection.host.loop.call_at(self.deadline, self._expired)

    def _await(self, result: Any) -> None:
        """Wait for what a handler returned instead of an answer."""
        try:
            work = asyncio.ensure_future(result, loop=self.connection.host.loop)
        except TypeError as error:
            self.raised(error)
        else:
            self.start(work)

    def _settled(self, work: asyncio.Future[Any]) -> None:
        self.connection.active -= 1
        if work.cancelled():
            self.fail(Status.CANCELLED, "the call was cancelled by the server")
        elif (error := work.exception()) is not None:
            self.raised(error)
        elif not self.closed and not self.tail:
            try:
                self.deliver(work.result())
            except Exception as failure:  # noqa: BLE001 - a result that is none is the handler's fault
                self.raised(failure)

    def raised(self, error: BaseException) -> None:
        """Answer with what a handler raised."""
        if isinstance(error, CallFailed):
            self.fail(error.status, error.message)
            return
        _logger.error("a handler failed", exc_info=error)
        self.fail(Status.INTERNAL, "internal error")

    def _expired(self) -> None:
        self.timer = None
        self.interrupt(Status.DEADLINE_EXCEEDED, "the deadline of the call passed")

    def interrupt(self, status: Status, message: str) -> None:
        """Stop the handler, and answer with an error if nothing of an answer is under way."""
        if self.closed:
            return
        if self.queued or self.tail:
            self.connection.reset(self, CANCEL)
        else:
            self.fail(status, message)
        if self.work is not None:
            self.work.cancel()
