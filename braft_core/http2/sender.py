"""The sending side of one HTTP/2 connection: answers, flow control, and one write for a turn.

Most answers fit into the peer's windows: they are a few constants around the message, and all
answers of one turn of the loop leave in one write. What does not fit is queued for its stream, and
the streams take turns, a frame each, as the windows open.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from typing import Final, Protocol

from braft_core.http2.frames import (
    CONTINUATION,
    DATA,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    FLOW_CONTROL_ERROR,
    HEADER,
    HEADERS,
    MAX_FRAME_SIZE,
    MAX_WINDOW,
    SETTINGS_INITIAL_WINDOW_SIZE,
    SETTINGS_MAX_CONCURRENT_STREAMS,
    SETTINGS_MAX_HEADER_LIST_SIZE,
    ConnectionFailed,
    frame,
    settings,
    window_update,
)
from braft_core.http2.host import Host
from braft_core.http2.hpack import EMPTY_TABLE, encode
from braft_core.http2.status import Status, encode_message

__all__ = ["Outgoing", "Sender"]

_HEAD_BLOCK: Final = encode([(b":status", b"200"), (b"content-type", b"application/grpc")])
_OK_BLOCK: Final = encode([(b"grpc-status", b"0")])
#: Each is a frame's header up to the stream's number.
_HEAD_START: Final = frame(HEADERS, END_HEADERS, 0, _HEAD_BLOCK)[:5]
_OK_START: Final = frame(HEADERS, END_HEADERS | END_STREAM, 0, _OK_BLOCK)[:5]
#: The header of DATA, and the prefix of a message: not compressed, its length.
_DATA_START: Final = struct.Struct(">IBIBI")
_PREFIX: Final = struct.Struct(">BI")
_PREFIX_SIZE: Final = 5
_STREAM_ID: Final = struct.Struct(">I").pack
#: Queued octets of a stream beyond which its handler waits.
_HIGH_WATER: Final = 64 * 1024
#: Octets to gather before they are written although the turn goes on.
_WRITE_SIZE: Final = 256 * 1024
#: Octets of a ``grpc-message``: a header block stays within one frame.
_MAX_MESSAGE_TEXT: Final = 4096

#: The answer to a header list that is too large; clients of gRPC and of HTTP understand it.
_TOO_LARGE: Final = encode(
    [
        (b":status", b"431"),
        (b"content-type", b"application/grpc"),
        (b"grpc-status", b"%d" % Status.RESOURCE_EXHAUSTED),
        (b"grpc-message", b"the header list is too large"),
    ]
)


class Outgoing(Protocol):
    """What the sender needs of a stream."""

    send_window: int
    started: bool
    queue: deque[memoryview] | None
    queued: int
    tail: bytes

    @property
    def id(self) -> int:
        """The stream's number."""

    @property
    def closed(self) -> bool:
        """True once nothing more is sent."""

    def dequeue(self, size: int) -> list[memoryview]:
        """Remove and return a part of what is queued."""

    def finished(self) -> None:
        """Note that the whole answer was sent."""


class Sender:
    """Writes the answers of one connection. Belongs to the loop of its connection."""

    def __init__(self, transport: asyncio.Transport, host: Host) -> None:
        self._transport = transport
        self._host = host
        self._limits = host.limits
        #: What the peer takes: on the connection, at first on each stream, in one frame.
        self.window = DEFAULT_WINDOW
        self.initial_window = DEFAULT_WINDOW
        self.frame_size = MAX_FRAME_SIZE
        #: True while the socket does not take what was written.
        self.paused = False
        #: True while a turn goes on that ends with :meth:`flush`.
        self.in_turn = False
        #: Octets that the peer's windows hold back.
        self.unread = 0
        #: True once something of an answer was sent; reset by whoever asks.
        self.answered = False
        #: Octets that windows held back, and that were sent since.
        self.released = 0
        #: Octets handed to the transport.
        self.written = 0
        self._out: list[bytes | memoryview] = []
        self._out_size = 0
        self._scheduled = False
        #: What the peer must read before the first block: that we use no table.
        self._block_prefix = b""
        #: Streams with queued octets and an open window.
        self._ready: dict[int, Outgoing] = {}
        self._waiting: dict[Outgoing, asyncio.Future[None]] = {}

    # ------------------------------------------------------------------ answers

    def control(self, data: bytes) -> None:
        """Send frames that no window holds back."""
        self._out.append(data)
        if not self.in_turn:
            self._schedule()

    def answer(self, stream: Outgoing, message: bytes) -> None:
        """Send the whole answer of a unary call."""
        size = len(message) + _PREFIX_SIZE
        if (
            size > self.window
            or size > stream.send_window
            or size > self.frame_size
            or self._ready
            or self._block_prefix
        ):
            self.message(stream, message)
            self.end(stream)
            return
        self.window -= size
        self.answered = True
        number = _STREAM_ID(stream.id)
        self._out += (
            _HEAD_START,
            number,
            _HEAD_BLOCK,
            _DATA_START.pack(size << 8, 0, stream.id, 0, size - _PREFIX_SIZE),
            message,
            _OK_START,
            number,
            _OK_BLOCK,
        )
        stream.finished()
        if not self.in_turn:
            self._schedule()

    def message(self, stream: Outgoing, message: bytes) -> None:
        """Send one message of an answer, and its head if it is the first."""
        if not stream.started:
            self.head(stream, _HEAD_BLOCK)
        self.data(stream, _PREFIX.pack(0, len(message)) + message)

    def head(self, stream: Outgoing, block: bytes) -> None:
        """Send the head of an answer."""
        stream.started = self.answered = True
        self.control(self._headers(stream.id, 0, block))

    def data(self, stream: Outgoing, data: bytes) -> None:
        """Send ``data`` on a stream, as soon as the windows allow."""
        size = len(data)
        if (
            size <= self.window
            and size <= stream.send_window
            and size <= self.frame_size
            and not (stream.queued or self._ready or self.paused)
        ):
            self.window -= size
            stream.send_window -= size
            self.answered = True
            self.control(HEADER.pack(size << 8 | DATA, 0, stream.id) + data)
            return
        if stream.queue is None:
            stream.queue = deque()
        stream.queue.append(memoryview(data))
        stream.queued += size
        self._hold(size)
        if stream.send_window > 0:
            self._ready[stream.id] = stream
            self._pump()

    def end(self, stream: Outgoing, status: Status = Status.OK, message: str = "") -> None:
        """Send the trailers of a gRPC answer; nothing but them if nothing was sent."""
        if status is Status.OK and stream.started:
            self.finish(stream, self._headers(stream.id, END_STREAM, _OK_BLOCK))
            return
        fields = [(b"grpc-status", b"%d" % status)]
        if message:
            fields.append((b"grpc-message", encode_message(message)[:_MAX_MESSAGE_TEXT]))
        block = encode(fields) if stream.started else _HEAD_BLOCK + encode(fields)
        stream.started = True
        self.finish(stream, self._headers(stream.id, END_STREAM, block))

    def end_data(self, stream: Outgoing) -> None:
        """End an answer that has no trailers."""
        self.finish(stream, frame(DATA, END_STREAM, stream.id))

    def finish(self, stream: Outgoing, tail: bytes) -> None:
        """Send the frame that ends a stream, after what is queued for it."""
        if stream.queued:
            stream.tail = tail
        else:
            self.control(tail)
            stream.finished()

    def _headers(self, stream: int, flags: int, block: bytes) -> bytes:
        if self._block_prefix:
            block = self._block_prefix + block
            self._block_prefix = b""
        if len(block) <= MAX_FRAME_SIZE:
            return frame(HEADERS, flags | END_HEADERS, stream, block)
        starts = range(MAX_FRAME_SIZE, len(block), MAX_FRAME_SIZE)
        parts = [block[start : start + MAX_FRAME_SIZE] for start in starts]
        found = [frame(HEADERS, flags, stream, block[:MAX_FRAME_SIZE])]
        found += (frame(CONTINUATION, 0, stream, part) for part in parts[:-1])
        found.append(frame(CONTINUATION, END_HEADERS, stream, parts[-1]))
        return b"".join(found)

    def refuse_large_head(self, number: int) -> None:
        """Answer a request whose header list is too large, and was not kept."""
        self.control(self._headers(number, END_STREAM, _TOO_LARGE))

    def greet(self, stream_window: int) -> None:
        """Send the server's preface: the settings, and the window of the connection."""
        limits = self._limits
        values = (
            (SETTINGS_MAX_CONCURRENT_STREAMS, limits.max_concurrent_streams),
            (SETTINGS_INITIAL_WINDOW_SIZE, stream_window),
            (SETTINGS_MAX_HEADER_LIST_SIZE, limits.max_header_list),
        )
        self.control(settings(values))
        if limits.connection_window > DEFAULT_WINDOW:
            self.control(window_update(0, limits.connection_window - DEFAULT_WINDOW))

    def announce_no_table(self) -> None:
        """Begin the next block with the table's size: the peer wants it smaller than ours was."""
        self._block_prefix = EMPTY_TABLE

    # ------------------------------------------------------------------ flow control

    def discard(self, stream: Outgoing) -> None:
        """Drop what is queued for a stream that ends at once."""
        self._ready.pop(stream.id, None)
        self._hold(-stream.queued)
        stream.queued = 0
        stream.queue = None
        if (waiter := self._waiting.pop(stream, None)) and not waiter.done():
            waiter.set_result(None)

    def open_window(self, increment: int) -> None:
        """Take a WINDOW_UPDATE of the connection.

        Raises:
            ConnectionFailed: the window would exceed 2^31 - 1.
        """
        if self.window + increment > MAX_WINDOW:
            raise ConnectionFailed(FLOW_CONTROL_ERROR, "the connection's window is too large")
        self.window += increment
        self._pump()

    def open_stream_window(self, stream: Outgoing, increment: int) -> bool:
        """Take a change of a stream's window; return False if it would exceed 2^31 - 1."""
        stream.send_window += increment
        if stream.send_window > MAX_WINDOW:
            return False
        if stream.queued:
            if stream.send_window > 0:
                self._ready[stream.id] = stream
                self._pump()
            else:
                self._ready.pop(stream.id, None)
        return True

    def overloaded(self) -> bool:
        """Return True if so much is held back that no more calls should be served."""
        limits = self._limits
        return self.unread > limits.max_unread or (
            self.unread > 0 and self._host.unread > limits.max_unread_total
        )

    def must_wait(self, stream: Outgoing) -> bool:
        """Return True if the handler of a stream must wait before it sends more."""
        return stream.queued > _HIGH_WATER or self.paused or self.overloaded()

    async def writable(self, stream: Outgoing) -> None:
        """Wait until a stream takes more."""
        while self.must_wait(stream) and not stream.closed:
            waiter: asyncio.Future[None] = self._host.loop.create_future()
            self._waiting[stream] = waiter
            await waiter

    def _hold(self, size: int) -> None:
        self.unread += size
        self._host.unread += size

    def _pump(self) -> None:
        """Send what the windows allow, a frame of each stream in turn."""
        while self._ready and self.window > 0 and not self.paused:
            number = next(iter(self._ready))
            stream = self._ready.pop(number)
            size = min(self.window, stream.send_window, self.frame_size, stream.queued)
            self._out.append(HEADER.pack(size << 8 | DATA, 0, number))
            self._out += stream.dequeue(size)
            self.window -= size
            stream.send_window -= size
            self.answered = True
            self._hold(-size)
            self.released += size
            self._out_size += size
            if stream.queued:
                if stream.send_window > 0:
                    self._ready[number] = stream
            elif stream.tail:
                self._out.append(stream.tail)
                stream.finished()
            if stream in self._waiting and not self.must_wait(stream):
                self._wake(stream)
            if self._out_size >= _WRITE_SIZE:
                self.flush()
        if self._waiting and not (self.paused or self.overloaded()):
            for stream in [each for each in self._waiting if each.queued <= _HIGH_WATER]:
                self._wake(stream)
        if self._out and not self.in_turn:
            self._schedule()

    def _wake(self, stream: Outgoing) -> None:
        waiter = self._waiting.pop(stream)
        if not waiter.done():
            waiter.set_result(None)

    # ------------------------------------------------------------------ writing

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._host.loop.call_soon(self._flush_later)

    def _flush_later(self) -> None:
        self._scheduled = False
        self.flush()

    def flush(self) -> None:
        """Hand all that was gathered to the socket, in one write."""
        if self._out:
            data = b"".join(self._out)
            self._out.clear()
            self._out_size = 0
            self.written += len(data)
            if not self._transport.is_closing():
                self._transport.write(data)

    def resume(self) -> None:
        """Go on: the socket took what was written."""
        self.paused = False
        self._pump()

    def progress(self) -> int:
        """Return a number that grows when the peer takes what waits for it.

        A peer that only asks with PING for more to read makes no progress.
        """
        if self.paused:
            return self.written - self._transport.get_write_buffer_size()
        return self.released
