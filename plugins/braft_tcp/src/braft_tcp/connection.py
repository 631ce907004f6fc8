"""One TCP connection that carries frames: coalesced writes, bounded buffers, orderly close.

The receiver gives frames their meaning. Used on the loop only.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Hashable
from enum import Enum
from typing import Any

from braft_core.abc import TransportTiming
from braft_core.errors import DecodeError
from braft_tcp.frame_mac import MAC_SIZE, FrameMac
from braft_tcp.frames import HEADER, HELLO_LIMIT, FrameReader, Kind
from braft_tcp.large_frames import LARGE, LargeFrames

__all__ = ["Connection", "FrameReceiver"]

_log = logging.getLogger(__name__)

FrameReceiver = Callable[[int, int, bytes], None]

#: Bytes that wait for the kernel before writing is paused.
_HIGH_WATER = 1 << 20
#: Bytes that are collected for one write within one turn of the loop.
_COALESCE = 256 << 10
#: PING, PONG and GOAWAY frames within ``ping_after`` seconds. A peer sends two.
_OWN_FRAMES = 16
#: Frames of one connection that are handled within one turn of the loop.
_FRAMES_AT_ONCE = 128


class Connection(asyncio.Protocol):
    """Sends and receives frames.

    :param receive: takes kind, request id and body of each frame but PING, PONG and GOAWAY. A
        ``DecodeError`` it raises closes the connection.
    :param garbage: called with the error when the other end's bytes cannot be read.
    """

    def __init__(
        self,
        receive: FrameReceiver,
        garbage: Callable[[DecodeError], None],
        timing: TransportTiming,
    ) -> None:
        self.receive = receive
        self._timing = timing
        self._garbage = garbage
        self._loop = asyncio.get_running_loop()
        # uvloop hands all writes of a turn to the kernel at its end. To wait for the next turn as
        # well would put a message behind the callers that this turn woke.
        self._loop_collects = type(self._loop).__module__.startswith("uvloop")
        self._reader = FrameReader(HELLO_LIMIT)
        self._transport: Any = None
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._flushing = False
        #: Why reading is paused.
        self._holds: set[_Hold] = set()
        self._reads_readers_alone = False
        self._full_since = 0.0
        self._large: LargeFrames | None = None
        self._whose: Hashable = ""
        self._has_turn = False
        self._since_turn = 0.0
        self._own_frames = 0
        self._own_since = self._loop.time()
        self._writable: asyncio.Future[None] | None = None
        self._pinged = False
        self._mac: FrameMac | None = None
        #: Resolved when the connection is closed.
        self.gone: asyncio.Future[None] = self._loop.create_future()
        #: Either end sent GOAWAY: the close says nothing about the peer's health.
        self.orderly = False
        self.closing = False
        #: The loop's time at which the other end was last heard.
        self.heard = self._loop.time()
        #: Called when writing is possible again.
        self.on_writable: Callable[[], None] | None = None

    # ------------------------------------------------------------------ sending

    @property
    def certificate(self) -> bytes | None:
        """The other end's certificate, DER; ``None``: the connection has no TLS."""
        tls = self._transport.get_extra_info("ssl_object")
        return (tls.getpeercert(binary_form=True) or b"") if tls is not None else None

    @property
    def full(self) -> bool:
        """Whether further frames would only wait in memory."""
        return self._writable is not None

    def send(self, kind: Kind, request_id: int, body: bytes) -> None:
        """Send a frame. The first of a turn of the loop leaves at once, further ones together."""
        if self.closing:
            return
        if self._mac is not None:
            body = self._mac.sign(kind, request_id, body)
        data = HEADER.pack(len(body), kind, request_id) + body
        if self._loop_collects:
            self._transport.write(data)
        elif not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)
            self._transport.write(data)
        else:
            self._out.append(data)
            self._out_bytes += len(data)
            if self._out_bytes > _COALESCE:
                self._write()

    def limit_unacknowledged(self) -> None:
        """Let the kernel close the connection if data stays unacknowledged (TCP_USER_TIMEOUT)."""
        raw = self._transport.get_extra_info("socket")
        option: int | None = getattr(socket, "TCP_USER_TIMEOUT", None)
        if raw is not None and option is not None:
            raw.setsockopt(socket.IPPROTO_TCP, option, int(self._timing.unacknowledged * 1000))

    async def drain(self) -> None:
        """Wait until more may be sent, or the connection is closed."""
        while self._writable is not None:
            await asyncio.shield(self._writable)

    def _flush(self) -> None:
        self._flushing = False
        if self._out:
            self._write()

    def _write(self) -> None:
        data = b"".join(self._out)
        self._out.clear()
        self._out_bytes = 0
        if not self.gone.done():
            self._transport.write(data)

    # ------------------------------------------------------------------ receiving

    def set_limit(self, max_message_bytes: int) -> None:
        """Accept larger frames: the handshake is over."""
        self._reader.limit = max_message_bytes + (MAC_SIZE if self._mac is not None else 0)

    def authenticate_frames(self, mac: FrameMac) -> None:
        """MacKey everything from now on, in both directions."""
        self._mac = mac

    @property
    def peer(self) -> str:
        """The address of the other end, without its port."""
        name = self._transport.get_extra_info("peername") if self._transport is not None else None
        return str(name[0]) if name else "?"

    def read_only_from_readers(self) -> None:
        """Stop reading while the other end does not read.

        Only one end of a connection may do this, or both could wait for each other.
        """
        self._reads_readers_alone = True

    def share(self, large: LargeFrames, whose: Hashable) -> None:
        """Receive large frames in turn with the other connections of the group ``whose``."""
        self._large, self._whose = large, whose

    @property
    def held(self) -> bool:
        """Whether reading is paused because the receiver is busy."""
        return _Hold.RECEIVER in self._holds

    def hold(self) -> None:
        """Pause reading, so that the other end has to wait."""
        self._hold(_Hold.RECEIVER)

    def release(self) -> None:
        """Resume reading, beginning with what was received already."""
        self._release(_Hold.RECEIVER)

    def _hold(self, why: _Hold) -> None:
        if self.gone.done():
            return
        if not self._holds:
            self._transport.pause_reading()
        self._holds.add(why)

    def _release(self, why: _Hold) -> None:
        if why not in self._holds or self.gone.done():
            return
        self._holds.discard(why)
        if not self._holds:
            # While reading was paused the other end was not silent.
            self.heard = self._loop.time()
            self._transport.resume_reading()
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        try:
            for _ in range(_FRAMES_AT_ONCE):
                if self._holds or self.closing:
                    return
                frame = self._reader.next()
                if frame is None:
                    self._await_large()
                    return
                self._give_turn()
                kind, request_id, body = frame
                if self._mac is not None:
                    body = self._mac.verify(kind, request_id, body)
                if kind in _OWN:
                    self._own(kind)
                else:
                    self.receive(kind, request_id, body)
        except DecodeError as error:
            self._garbage(error)
            self.abort()
            return
        # After many small frames, let other tasks of the loop run first.
        self._hold(_Hold.LOOP)
        self._loop.call_soon(self._release, _Hold.LOOP)

    def _await_large(self) -> None:
        large = self._large
        if large is None or self._has_turn or self._reader.awaited < LARGE:
            return
        if large.take(self._whose, self._my_turn):
            self._has_turn, self._since_turn = True, self._loop.time()
        else:
            self._hold(_Hold.TURN)

    def _my_turn(self) -> None:
        self._has_turn, self._since_turn = True, self._loop.time()
        self._release(_Hold.TURN)

    def _give_turn(self) -> None:
        if self._has_turn and self._large is not None:
            self._has_turn = False
            self._large.give(self._whose)

    def _own(self, kind: int) -> None:
        self._own_frames += 1
        if self._own_frames > _OWN_FRAMES:
            now = self._loop.time()
            if now - self._own_since < self._timing.ping_after:
                raise DecodeError(
                    f"more than {_OWN_FRAMES} pings within {self._timing.ping_after:g} s"
                )
            self._own_frames, self._own_since = 1, now
        if kind == Kind.PING:
            if not self.full:
                self.send(Kind.PONG, 0, b"")
        elif kind == Kind.GOAWAY:
            self.orderly = True
            self._close()

    def watch(self, now: float) -> None:
        """Ping a silent connection, and cut it if there is no answer."""
        if self._has_turn and now - self._since_turn > self._timing.large_frame_timeout:
            self.abort()
        if (
            self.full
            and self._reads_readers_alone
            and now - self._full_since > self._timing.dead_after
        ):
            self.abort()
        if self._holds:
            return
        silent = now - self.heard
        if silent > self._timing.dead_after:
            self.abort()
        elif silent > self._timing.ping_after and not self._pinged:
            self._pinged = True
            self.send(Kind.PING, 0, b"")

    # ------------------------------------------------------------------ the end

    def close_gracefully(self) -> None:
        """Send GOAWAY and close; what was sent is delivered if that is possible soon."""
        if not self.closing:
            self.orderly = True
            self.send(Kind.GOAWAY, 0, b"")
            self._flush()
            self._close()

    def abort(self) -> None:
        """Cut it at once."""
        self.closing = True
        if self._transport is not None:
            self._transport.abort()
        elif not self.gone.done():
            # During the TLS handshake asyncio does not report the end.
            self.gone.set_result(None)

    def _close(self) -> None:
        self.closing = True
        self._transport.close()
        timer = self._loop.call_later(self._timing.close, self._transport.abort)
        self.gone.add_done_callback(lambda _gone: timer.cancel())

    # ------------------------------------------------------------------ asyncio.Protocol

    def connection_made(self, transport: Any) -> None:
        """See the base class."""
        self._transport = transport
        if self.closing:  # it was aborted during the TLS handshake
            transport.abort()
            return
        transport.set_write_buffer_limits(high=_HIGH_WATER)
        raw = transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        """See the base class."""
        self.heard = self._loop.time()
        self._pinged = False
        self._reader.feed(data)
        self._pump()

    def pause_writing(self) -> None:
        """See the base class."""
        if self._writable is None:
            self._writable = self._loop.create_future()
            self._full_since = self._loop.time()
            if self._reads_readers_alone:
                self._hold(_Hold.UNREAD)

    def resume_writing(self) -> None:
        """See the base class."""
        waiting, self._writable = self._writable, None
        if waiting is not None and not waiting.done():
            waiting.set_result(None)
        self._release(_Hold.UNREAD)
        if self.on_writable is not None:
            self.on_writable()

    def connection_lost(self, error: Exception | None) -> None:
        """See the base class."""
        self.closing = True
        self._out.clear()
        self._give_turn()
        if self._large is not None:
            self._large.forget(self._whose, self._my_turn)
        if error is not None:
            _log.debug("a connection broke: %s", error)
        if not self.gone.done():
            self.gone.set_result(None)
        self.on_writable = None
        self.resume_writing()


class _Hold(Enum):
    """Why a connection is not read."""

    RECEIVER = "the receiver is busy"
    UNREAD = "the other end does not read"
    TURN = "other large frames are being received"
    LOOP = "other tasks of the loop run first"


_OWN = frozenset({Kind.PING, Kind.PONG, Kind.GOAWAY})
