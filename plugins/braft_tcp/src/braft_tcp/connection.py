"""One TCP connection that carries frames: coalesced writes, bounded buffers, orderly ends.

Owns the socket's protocol; what frames mean is their receiver's affair. Used on the loop only.
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

#: Bytes that wait for the kernel before the sender is told to hold on.
_HIGH_WATER = 1 << 20
#: Bytes that are collected for one write within one turn of the loop.
_COALESCE = 256 << 10
#: Pings, pongs and goodbyes within ``ping_after`` seconds. A peer sends two.
_OWN_FRAMES = 16
#: Frames that one connection has taken care of within one turn of the loop.
_FRAMES_AT_ONCE = 128


class Connection(asyncio.Protocol):
    """Frames in both directions.

    :param receive: takes kind, request id and body of each frame but pings, pongs and goodbyes. A
        ``DecodeError`` it raises ends the connection.
    :param garbage: told why the other end's bytes could not be read.
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
        #: Why nothing is read, if so.
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
        #: Resolved when the connection is over, with its last words.
        self.gone: asyncio.Future[None] = self._loop.create_future()
        #: Either end said goodbye, or we cut a stranger off: the end says nothing about health.
        self.orderly = False
        self.closing = False
        #: When the other end was last heard, by the loop's clock.
        self.heard = self._loop.time()
        #: Called when writing is possible again.
        self.on_writable: Callable[[], None] | None = None

    # ------------------------------------------------------------------ sending

    @property
    def certificate(self) -> bytes | None:
        """What the other end has shown, DER; ``None``: there is no TLS."""
        tls = self._transport.get_extra_info("ssl_object")
        return (tls.getpeercert(binary_form=True) or b"") if tls is not None else None

    @property
    def full(self) -> bool:
        """Whether more would only wait in memory."""
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

    def drop_what_is_held(self) -> None:
        """End the connection when the other host takes nothing for some seconds."""
        raw = self._transport.get_extra_info("socket")
        option: int | None = getattr(socket, "TCP_USER_TIMEOUT", None)
        if raw is not None and option is not None:
            raw.setsockopt(socket.IPPROTO_TCP, option, int(self._timing.unacknowledged * 1000))

    async def drain(self) -> None:
        """Wait until more may be sent, or the connection is over."""
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

    def listens_to_readers_alone(self) -> None:
        """Read nothing while the other end does not take what it is sent.

        For one end of a connection: two that wait for each other would wait for good.
        """
        self._reads_readers_alone = True

    def share(self, large: LargeFrames, whose: Hashable) -> None:
        """Wait for a turn with large frames, among those that ``whose`` names too."""
        self._large, self._whose = large, whose

    @property
    def held(self) -> bool:
        """Whether nothing is read because the receiver has enough to do."""
        return _Hold.RECEIVER in self._holds

    def hold(self) -> None:
        """Read nothing more, so that the other end has to wait."""
        self._hold(_Hold.RECEIVER)

    def release(self) -> None:
        """Read again, beginning with what was received already."""
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
            # Who was not listened to has not been silent.
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
        # Many small frames: others have their turn of the loop first.
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
        """TLSProbe after a silent connection: ask, and cut it if there is no answer."""
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
        """End it in order: what was sent is delivered, if that is possible soon."""
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
            # TLS is not there yet. If it never is, nobody tells us.
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
        if self.closing:  # it was given up while TLS was on its way
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

    RECEIVER = "the receiver has enough to do"
    UNREAD = "the other end does not take what it is sent"
    TURN = "other large frames are being received"
    LOOP = "others have their turn of the loop"


_OWN = frozenset({Kind.PING, Kind.PONG, Kind.GOAWAY})
