"""One HTTP/2 connection: frames in, calls of handlers, frames out.

This is where the time of a call goes, so the usual path is flat. One ``receive`` handles all frames
that arrived. A header block that was seen before is a dictionary look-up. A unary call makes one
object and no task. All answers of a turn leave in one write (:mod:`braft_core.http2.sender`).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Final

from braft_core.half_close import half_close
from braft_core.http2 import frames
from braft_core.http2.calls import Peer
from braft_core.http2.control_frames import DRAIN_PING, HANDLERS
from braft_core.http2.frames import ConnectionFailed, StreamFailed
from braft_core.http2.head import Head, check_trailers
from braft_core.http2.head_reader import HeadReader
from braft_core.http2.host import FloodGuard, Host
from braft_core.http2.http_stream import HttpStream
from braft_core.http2.rpc_stream import RpcStream
from braft_core.http2.sender import Sender
from braft_core.http2.status import Status
from braft_core.http2.streams import Stream

__all__ = ["Http2Connection"]

_logger = logging.getLogger(__name__)

#: Streams that we ended before the peer did: what it still sends on them is no fault.
_MAX_RESET_STREAMS: Final = 1024
#: Frames that are handled before other connections have their turn.
_MAX_FRAMES: Final = 1024
_SLOPPY: Final = "frames on closed streams"
#: Seconds for which a peer may read the reason of an end.
_LINGER: Final = 2.0
#: Seconds after which a graceful end goes on although the peer did not answer.
_DRAIN_PATIENCE: Final = 1.0


class Http2Connection:
    """The state of one connection. Belongs to the loop of its transport.

    Args:
        transport: Takes what is sent; is paused and closed.
        host: What connections share.
        peer: Who is at the other end, for handlers.
    """

    def __init__(self, transport: asyncio.Transport, host: Host, peer: Peer) -> None:
        limits = host.limits
        self.host: Final = host
        self.peer: Final = peer
        self.sender: Final = Sender(transport, host)
        self.stream_window: Final = limits.stream_window
        #: Handlers that run, those of streams that were reset included.
        self.active = 0
        self.closed = False
        #: True once no stream after the announced ones is served.
        self.draining = False
        #: Open streams by number, and the largest number so far.
        self.streams: Final[dict[int, Stream]] = {}
        self.last_stream = 0
        self.guard: Final = FloodGuard(host)
        #: True once the peer's first SETTINGS arrived.
        self.settings_seen = False
        #: When the graceful end began.
        self.drain_began: float | None = None
        self._transport = transport
        self._reset_streams: dict[int, None] = {}
        self._rest = b""
        self._greeted = False
        #: When the last frame was handled.
        self._moved = host.now
        self._heads = HeadReader(host.methods, limits.max_header_list)
        #: A header block that goes on: stream, flags, its parts, since when.
        self._block: tuple[int, int, list[bytes], float] | None = None
        self._window = limits.connection_window
        self._replenish_at = limits.connection_window - limits.replenish
        self._buffered = 0
        self._deferred: deque[tuple[Stream, bytes]] = deque()
        self._progress = 0
        self._progressed = host.now
        self._closing_since: float | None = None

    # ------------------------------------------------------------------ receiving

    def receive(self, data: bytes) -> None:
        """Handle what arrived; never raises for what a peer sends."""
        if self.closed:
            return
        if self._rest:
            data = self._rest + data
        sender = self.sender
        sender.in_turn = True
        try:
            done = self._handle(data) if self._greeted else self._greet(data)
        except ConnectionFailed as failure:
            self._rest = b""
            self._fail(failure)
        else:
            self._rest = data[done:] if done < len(data) else b""
            if done:
                self._moved = self.host.now
            if self._deferred:
                self._serve_deferred()
        finally:
            sender.in_turn = False
        sender.flush()

    def _greet(self, data: bytes) -> int:
        """Take the client's preface and send ours; return how much was handled."""
        size = len(frames.PREFACE)
        if data[:size] != frames.PREFACE[: len(data)]:
            raise ConnectionFailed(frames.PROTOCOL_ERROR, "no preface of HTTP/2")
        if len(data) < size:
            return 0
        self._greeted = True
        self.sender.greet(self.stream_window)
        return self._handle(data, size)

    def _handle(self, data: bytes, position: int = 0) -> int:
        """Handle the whole frames of ``data``; return how much that was."""
        unpack, end, sender = frames.HEADER.unpack_from, len(data), self.sender
        for _ in range(_MAX_FRAMES):
            if end - position < frames.HEADER_SIZE:
                break
            word, flags, number = unpack(data, position)
            size, kind = word >> 8, word & 0xFF
            start = position + frames.HEADER_SIZE
            if size > frames.MAX_FRAME_SIZE:
                raise ConnectionFailed(frames.FRAME_SIZE_ERROR, f"a frame of {size} octets")
            if start + size > end or sender.paused or self.closed:
                break
            position = start + size
            number &= frames.MAX_STREAM_ID
            if self._block is not None and kind != frames.CONTINUATION:
                raise ConnectionFailed(frames.PROTOCOL_ERROR, "a header block was interrupted")
            if kind == frames.DATA:
                self._on_data(flags, number, data[start:position])
            elif kind == frames.HEADERS:
                self._on_headers(flags, number, data[start:position])
            elif kind == frames.CONTINUATION:
                self._on_continuation(flags, number, data[start:position])
            elif not self.settings_seen and kind != frames.SETTINGS:
                raise ConnectionFailed(frames.PROTOCOL_ERROR, "the first frame is not SETTINGS")
            else:
                handler = HANDLERS.get(kind)
                if handler is not None:
                    handler(self, flags, number, data[start:position])
        else:
            self._transport.pause_reading()
            self.host.loop.call_soon(self._go_on)
        return position

    def _go_on(self) -> None:
        """Handle what had arrived, now that other connections had their turn."""
        if not (self.closed or self.sender.paused):
            self._transport.resume_reading()
            self.receive(b"")

    # ------------------------------------------------------------------ DATA

    def _on_data(self, flags: int, number: int, payload: bytes) -> None:
        size = len(payload)
        self._window -= size
        if self._window < self._replenish_at:
            self._replenish()
        stream = self.streams.get(number)
        if stream is None or stream.remote_closed:
            self._stray(number)
            return
        stream.recv_window -= size
        if flags == frames.END_STREAM and stream.is_whole(payload):
            stream.remote_closed = True
            self.invoke(stream, payload[5:])
            return
        try:
            self._receive(stream, flags, payload)
        except StreamFailed as failure:
            self.guard.note("streams that failed", self.host.limits.max_resets)
            self.reset(stream, failure.code)

    def _receive(self, stream: Stream, flags: int, payload: bytes) -> None:
        if stream.recv_window < 0:
            raise StreamFailed(frames.FLOW_CONTROL_ERROR, "more data than the stream's window")
        data = frames.unpad(flags, payload)
        ended = bool(flags & frames.END_STREAM)
        if not data and not ended:
            self.guard.note("empty DATA frames", self.host.limits.max_empty_frames)
        if len(data) < len(payload):
            self.taken(stream, len(payload) - len(data), held=0)
        stream.remote_closed = ended
        stream.received += len(data)
        stream.check_length()
        if stream.tail:
            return  # the answer is complete, and waits for the peer's window
        if data:
            stream.receive(data)
        if ended:
            stream.receive_end()

    def _replenish(self) -> None:
        if self._window < 0:
            raise ConnectionFailed(frames.FLOW_CONTROL_ERROR, "more data than the window")
        full = self.host.limits.connection_window
        self.sender.control(frames.window_update(0, full - self._window))
        self._window = full

    def _stray(self, number: int) -> None:
        """Answer a frame of a stream that is not open."""
        if not number & 1 or number > self.last_stream:
            raise ConnectionFailed(frames.PROTOCOL_ERROR, f"a frame on idle stream {number}")
        if number not in self._reset_streams:
            self.guard.note(_SLOPPY, self.host.limits.max_resets)
            self.sender.control(frames.rst_stream(number, frames.STREAM_CLOSED))

    # ------------------------------------------------------------------ HEADERS

    def _on_headers(self, flags: int, number: int, payload: bytes) -> None:
        if flags & ~(frames.END_STREAM | frames.END_HEADERS):
            payload = frames.unpad(flags, payload)
            if flags & frames.PRIORITY_FLAG:
                if len(payload) < 5:
                    raise ConnectionFailed(frames.FRAME_SIZE_ERROR, "HEADERS without a priority")
                if int.from_bytes(payload[:4], "big") & frames.MAX_STREAM_ID == number:
                    raise ConnectionFailed(frames.PROTOCOL_ERROR, "a stream depends on itself")
                payload = payload[5:]
        if not self.settings_seen:
            raise ConnectionFailed(frames.PROTOCOL_ERROR, "the first frame is not SETTINGS")
        if len(payload) > self.host.limits.max_header_block:
            raise ConnectionFailed(frames.ENHANCE_YOUR_CALM, "a header block is too large")
        if flags & frames.END_HEADERS:
            self._on_block(flags, number, payload)
        else:
            self._block = (number, flags, [payload], self.host.now)

    def _on_continuation(self, flags: int, number: int, payload: bytes) -> None:
        if self._block is None or self._block[0] != number:
            raise ConnectionFailed(frames.PROTOCOL_ERROR, "CONTINUATION without HEADERS")
        limits = self.host.limits
        _, first, parts, _ = self._block
        parts.append(payload)
        if len(parts) > limits.max_continuations + 1 or (
            sum(map(len, parts)) > limits.max_header_block
        ):
            raise ConnectionFailed(frames.ENHANCE_YOUR_CALM, "a header block is too large")
        if flags & frames.END_HEADERS:
            self._block = None
            self._on_block(first, number, b"".join(parts))

    def _on_block(self, flags: int, number: int, block: bytes) -> None:
        """Handle a whole header block: a new stream, or the end of a request."""
        if number <= self.last_stream or not number & 1:
            self._on_trailers(flags, number, block)
            return
        self.last_stream = number
        head = self._heads.known.get(block)
        if head is None:
            head = self._new_head(number, block)
            if head is None:
                return
        limit = self.host.limits.max_concurrent_streams
        if self.draining or len(self.streams) >= limit or self.active >= limit:
            self._refuse(number, frames.REFUSED_STREAM)
            return
        stream: Stream = (RpcStream if head.request is None else HttpStream)(self, number, head)
        self.streams[number] = stream
        if flags & frames.END_STREAM:
            stream.remote_closed = True
        stream.begin()
        if flags & frames.END_STREAM and not stream.closed:
            if stream.head.content_length:
                self.guard.note("streams that failed", self.host.limits.max_resets)
                self.reset(stream, frames.PROTOCOL_ERROR)
            else:
                stream.receive_end()

    def _new_head(self, number: int, block: bytes) -> Head | None:
        """Return the head of a block; None if the request was refused."""
        try:
            head = self._heads.read(block)
        except StreamFailed as failure:
            self.guard.note("streams that failed", self.host.limits.max_resets)
            self._refuse(number, failure.code)
            return None
        if head is None:
            self._remember(number)
            self.sender.refuse_large_head(number)
        return head

    def _on_trailers(self, flags: int, number: int, block: bytes) -> None:
        stream = self.streams.get(number)
        fields = self._heads.decode(block)
        if stream is None or stream.remote_closed:
            if number in self._reset_streams:
                return
            if number == self.last_stream or stream is not None:
                raise ConnectionFailed(frames.STREAM_CLOSED, f"HEADERS on closed stream {number}")
            raise ConnectionFailed(frames.PROTOCOL_ERROR, f"stream {number} is out of order")
        stream.remote_closed = True
        try:
            if not flags & frames.END_STREAM:
                raise StreamFailed(frames.PROTOCOL_ERROR, "trailers do not end the stream")
            check_trailers(fields or ())
            stream.check_length()
        except StreamFailed as failure:
            self.guard.note("streams that failed", self.host.limits.max_resets)
            self.reset(stream, failure.code)
            return
        if not stream.tail:
            stream.receive_end()

    # ------------------------------------------------------------------ streams

    def invoke(self, stream: Stream, message: bytes) -> None:
        """Call the handler of a request, at once or when the peer has read earlier answers."""
        if stream.held:
            self._release(stream, stream.held)
        if self.sender.overloaded():
            self._deferred.append((stream, message))
            self.hold(stream, len(message))
        else:
            stream.invoke(message)

    def _serve_deferred(self) -> None:
        while self._deferred and not self.sender.overloaded():
            stream, message = self._deferred.popleft()
            if not stream.closed:
                self._release(stream, stream.held)
                stream.invoke(message)

    def hold(self, stream: Stream, size: int) -> None:
        """Count octets of a request that wait here; end the stream if they are too many."""
        stream.held += size
        self._buffered += size
        self.host.buffered += size
        limits = self.host.limits
        if self._buffered > limits.max_buffered or self.host.buffered > limits.max_buffered_total:
            stream.interrupt(Status.RESOURCE_EXHAUSTED, "too many requests are under way")

    def _release(self, stream: Stream, size: int) -> None:
        stream.held -= size
        self._buffered -= size
        self.host.buffered -= size

    def taken(self, stream: Stream, size: int, *, held: int) -> None:
        """Note that a handler took octets of a stream, which counted ``held``: more may come."""
        if stream.closed:
            return
        self._release(stream, held)
        stream.unannounced += size
        if stream.unannounced >= self.stream_window // 4 and not stream.remote_closed:
            self.sender.control(frames.window_update(stream.id, stream.unannounced))
            stream.recv_window += stream.unannounced
            stream.unannounced = 0

    def reset(self, stream: Stream, code: int) -> None:
        """End a stream without an answer."""
        stream.remote_closed = True
        self._refuse(stream.id, code)
        stream.abandon()

    def remove(self, stream: Stream) -> None:
        """Forget a stream whose answer is complete, or that ended otherwise."""
        self.streams.pop(stream.id, None)
        if stream.held:
            self._release(stream, stream.held)
        if not stream.remote_closed:
            self._refuse(stream.id, frames.NO_ERROR)  # whatever is still to come, nobody reads it
        if self.draining and not self.streams:
            self.host.loop.call_soon(self._close)

    def _refuse(self, number: int, code: int) -> None:
        self._remember(number)
        self.sender.control(frames.rst_stream(number, code))

    def _remember(self, number: int) -> None:
        self._reset_streams[number] = None
        if len(self._reset_streams) > _MAX_RESET_STREAMS:
            del self._reset_streams[next(iter(self._reset_streams))]

    # ------------------------------------------------------------------ the socket, and the end

    def pause_writing(self) -> None:
        """Stop reading: the peer does not read what it asked for."""
        self.sender.paused = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on with what was sent and what had arrived."""
        self.sender.resume()
        self.host.loop.call_soon(self._go_on)

    def is_idle(self) -> bool:
        """Return True if no call is under way."""
        return not self.streams and not self.active

    def sweep(self) -> None:
        """Enforce the limits of time; to be called about once a second."""
        now, limits = self.host.now, self.host.limits
        if self._closing_since is not None:
            if now - self._closing_since >= _LINGER:
                self._transport.abort()
            return
        progress = self.sender.progress()
        if progress != self._progress or not (self.sender.paused or self.sender.overloaded()):
            self._progress, self._progressed = progress, now
        if now - self._progressed >= limits.stall_timeout:
            _logger.debug("%s does not read its answers", self.peer.address)
            self._transport.abort()
            return
        waits = now - self._moved if not self.sender.paused else 0.0
        if (waits >= limits.preface_timeout and not self.settings_seen) or (
            self._block is not None and now - self._block[3] >= limits.preface_timeout
        ):
            self._fail(ConnectionFailed(frames.NO_ERROR, "no request arrived in time"))
        elif waits >= limits.request_timeout and self._rest:
            self._fail(ConnectionFailed(frames.NO_ERROR, "the rest of a frame is missing"))
        else:
            self._expire_streams(now - limits.request_timeout)
            self._serve_deferred()
            if self.drain_began is not None and now - self.drain_began >= _DRAIN_PATIENCE:
                self.stop_streams()

    def _expire_streams(self, born: float) -> None:
        for stream in [each for each in self.streams.values() if each.born <= born]:
            if stream.expects_more():
                stream.interrupt(Status.DEADLINE_EXCEEDED, "the request did not arrive in time")

    def drain(self) -> None:
        """Begin the graceful end: finish the calls under way, and those that cross our frames."""
        if self.closed or self.drain_began is not None:
            return
        self.drain_began = self.host.loop.time()
        if not self.settings_seen:
            self._close()
            return
        text = "the server stops"
        self.sender.control(frames.goaway(frames.MAX_STREAM_ID, frames.NO_ERROR, text))
        self.sender.control(frames.frame(frames.PING, 0, 0, DRAIN_PING))

    def stop_streams(self) -> None:
        """Serve no streams but the open ones; close once they have ended."""
        if self.draining:
            return
        self.draining = True
        self.sender.control(frames.goaway(self.last_stream, frames.NO_ERROR))
        if not self.streams:
            self.host.loop.call_soon(self._close)

    def shutdown(self) -> None:
        """End at once: open calls fail, and their handlers are cancelled."""
        if self.closed:
            return
        for stream in list(self.streams.values()):
            stream.interrupt(Status.UNAVAILABLE, "the server stops")
        self._fail(ConnectionFailed(frames.NO_ERROR, "the server stops"))

    def lost(self) -> None:
        """Note that the transport is gone: nobody waits for an answer."""
        self.closed = True
        self._rest = b""
        self._deferred.clear()
        for stream in list(self.streams.values()):
            stream.remote_closed = True
            stream.abandon()

    def _fail(self, failure: ConnectionFailed) -> None:
        """Say why, and close; a peer that does not read is cut off later."""
        if failure.code != frames.NO_ERROR:
            _logger.debug("%s: %s", self.peer.address, failure)
        self.sender.control(frames.goaway(self.last_stream, failure.code, str(failure)))
        self._close(linger=True)

    def _close(self, *, linger: bool = False) -> None:
        if self.closed:
            return
        self.sender.flush()
        self.lost()
        self._closing_since = self.host.loop.time()
        # Data that nobody reads would make the kernel discard what the peer did not read yet.
        if not linger:
            self._transport.close()
        elif half_close(self._transport):
            self._transport.resume_reading()
