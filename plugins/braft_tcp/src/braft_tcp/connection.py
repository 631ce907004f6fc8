"""One TCP connection that carries frames: coalesced writes, bounded buffers, orderly ends.

Owns the socket's protocol; what frames mean is their receiver's affair. Used on the loop only.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any

from braft_core.errors import DecodeError
from braft_tcp.frames import HEADER, HELLO_LIMIT, FrameReader, Kind
from braft_tcp.sealing import SEAL, Seals

__all__ = ["FAREWELL", "Connection", "Receiver"]

_log = logging.getLogger(__name__)

Receiver = Callable[[int, int, bytes], None]

#: Seconds that an orderly end may take before the connection is cut.
FAREWELL = 0.2
#: Bytes that wait for the kernel before the sender is told to hold on.
_HIGH_WATER = 1 << 20
#: Bytes that are collected for one write within one turn of the loop.
_COALESCE = 256 << 10
#: Seconds of silence after which the other end is asked whether it lives, and is taken for dead.
_PING_AFTER = 10.0
_DEAD_AFTER = 15.0
#: Seconds for which the kernel may hold what the other host does not take, on lanes of Raft. After
#: a cut of the network it would deliver what is of no use any more. gRPC does the same.
_UNTAKEN = 5.0


class Connection(asyncio.Protocol):
    """Frames in both directions.

    :param receive: takes kind, request id and body of each frame but pings, pongs and goodbyes. A
        ``DecodeError`` it raises ends the connection.
    :param garbage: told why the other end's bytes could not be read.
    """

    def __init__(self, receive: Receiver, garbage: Callable[[DecodeError], None]) -> None:
        self.receive = receive
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
        self._held = False
        self._writable: asyncio.Future[None] | None = None
        self._pinged = False
        self._seals: Seals | None = None
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
        if self._seals is not None:
            body = self._seals.close(kind, request_id, body)
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
            raw.setsockopt(socket.IPPROTO_TCP, option, int(_UNTAKEN * 1000))

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
        self._reader.limit = max_message_bytes + (SEAL if self._seals is not None else 0)

    def seal(self, seals: Seals) -> None:
        """Seal everything from now on, in both directions."""
        self._seals = seals

    @property
    def peer(self) -> str:
        """The address of the other end, without its port."""
        name = self._transport.get_extra_info("peername") if self._transport is not None else None
        return str(name[0]) if name else "?"

    @property
    def held(self) -> bool:
        """Whether nothing is read."""
        return self._held

    def hold(self) -> None:
        """Read nothing more, so that the other end has to wait."""
        if not self._held and not self.gone.done():
            self._held = True
            self._transport.pause_reading()

    def release(self) -> None:
        """Read again, beginning with what was received already."""
        if self._held and not self.gone.done():
            self._held = False
            # Who was not listened to has not been silent.
            self.heard = self._loop.time()
            self._transport.resume_reading()
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        try:
            while not (self._held or self.closing):
                frame = self._reader.next()
                if frame is None:
                    return
                kind, request_id, body = frame
                if self._seals is not None:
                    body = self._seals.open(kind, request_id, body)
                if kind in _OWN:
                    self._own(kind)
                else:
                    self.receive(kind, request_id, body)
        except DecodeError as error:
            self._garbage(error)
            self.abort()

    def _own(self, kind: int) -> None:
        if kind == Kind.PING:
            self.send(Kind.PONG, 0, b"")
        elif kind == Kind.GOODBYE:
            self.orderly = True
            self._close()

    def watch(self, now: float) -> None:
        """Look after a silent connection: ask, and cut it if there is no answer."""
        if self._held:
            return
        silent = now - self.heard
        if silent > _DEAD_AFTER:
            self.abort()
        elif silent > _PING_AFTER and not self._pinged:
            self._pinged = True
            self.send(Kind.PING, 0, b"")

    # ------------------------------------------------------------------ the end

    def goodbye(self) -> None:
        """End it in order: what was sent is delivered, if that is possible soon."""
        if not self.closing:
            self.orderly = True
            self.send(Kind.GOODBYE, 0, b"")
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
        timer = self._loop.call_later(FAREWELL, self._transport.abort)
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

    def resume_writing(self) -> None:
        """See the base class."""
        waiting, self._writable = self._writable, None
        if waiting is not None and not waiting.done():
            waiting.set_result(None)
        if self.on_writable is not None:
            self.on_writable()

    def connection_lost(self, error: Exception | None) -> None:
        """See the base class."""
        self.closing = True
        self._out.clear()
        if error is not None:
            _log.debug("a connection broke: %s", error)
        if not self.gone.done():
            self.gone.set_result(None)
        self.on_writable = None
        self.resume_writing()


_OWN = frozenset({Kind.PING, Kind.PONG, Kind.GOODBYE})
