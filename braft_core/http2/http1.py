"""One HTTP/1.1 connection (RFC 9112): requests in order, one at a time."""

from __future__ import annotations

import asyncio
import email.utils
import http
import logging
from collections.abc import AsyncIterator
from typing import Any, Final

from braft_core.half_close import half_close
from braft_core.http2.calls import HttpRequest, HttpResponse, Peer
from braft_core.http2.host import Host
from braft_core.http2.http1_parts import ChunkedBody, Refused, RequestHead, parse_head

__all__ = ["Http1Connection"]

_logger = logging.getLogger(__name__)

_END: Final = b"\r\n\r\n"
_TEXT: Final = "text/plain; charset=utf-8"
_NO_BODY: Final = (204, 304)
_PHRASES: Final = {status.value: status.phrase for status in http.HTTPStatus}
#: Octets of further requests that are read while one is served.
_MAX_AHEAD: Final = 65_536
#: Heads and bodies that are handled before other connections have their turn.
_MAX_STEPS: Final = 64
#: Seconds for which a client may read the reason of an end.
_LINGER: Final = 2.0


class Http1Connection:
    """The state of one connection. Belongs to the loop of its transport.

    Args:
        transport: Takes what is sent; is paused and closed.
        host: What connections share.
        peer: Who is at the other end, for handlers.
    """

    def __init__(self, transport: asyncio.Transport, host: Host, peer: Peer) -> None:
        self.host: Final = host
        self.peer: Final = peer
        self.closed = False
        self._transport = transport
        self._buffer = bytearray()
        self._head: RequestHead | None = None
        self._chunked: ChunkedBody | None = None
        self._held = 0
        #: The handler that runs, or the answer that is being sent.
        self._work: asyncio.Future[Any] | None = None
        self._paused = False
        self._writable: asyncio.Future[None] | None = None
        #: No request is served after the current one.
        self._last = False
        #: When the wait began for what is missing: a request, a head or a body.
        self._since = host.now
        self._progress = 0
        self._progressed = host.now
        self._written = 0
        self._closing_since: float | None = None

    # ------------------------------------------------------------------ requests

    def receive(self, data: bytes) -> None:
        """Handle what arrived; never raises for what a peer sends."""
        if self.closed:
            return
        if not self._buffer and self._head is None and data:
            self._since = self.host.now
        self._buffer += data
        try:
            for _ in range(_MAX_STEPS):
                if not (self._is_free() and self._advance()):
                    break
            else:
                self._transport.pause_reading()
                self.host.loop.call_soon(self._next)
        except Refused as refusal:
            self._refuse(refusal)
        if self._work is not None and len(self._buffer) > _MAX_AHEAD:
            self._transport.pause_reading()

    def _is_free(self) -> bool:
        """Return True if the next request may be read."""
        return not (self.closed or self._work or self._paused)

    def _refuse(self, refusal: Refused) -> None:
        self._last = True
        if refusal.status:
            body = f"{refusal}\n".encode()
            self._respond(None, HttpResponse(refusal.status, body, _TEXT))
        else:
            self._close()

    def _advance(self) -> bool:
        """Read a head or a body and serve what is complete; return False if more must arrive."""
        if self._head is None:
            return self._read_head()
        limits, head = self.host.limits, self._head
        if self._chunked is not None:
            self._chunked.feed(self._buffer)
            self._hold(len(self._chunked.body) + len(self._buffer))
            if not self._chunked.complete:
                return False
            body = bytes(self._chunked.body)
        else:
            size = head.length or 0
            if size > limits.max_message:
                raise Refused(413, f"the body is larger than {limits.max_message} bytes")
            self._hold(len(self._buffer))
            if len(self._buffer) < size:
                return False
            body = bytes(memoryview(self._buffer)[:size])
            del self._buffer[:size]
        self._hold(0)
        self._head = self._chunked = None
        self._since = self.host.now
        self._serve(head, body)
        return True

    def _read_head(self) -> bool:
        buffer, limits = self._buffer, self.host.limits
        if buffer[:2] == b"\r\n":  # some clients send a line end behind a body
            del buffer[:2]
        end = buffer.find(_END, 0, limits.max_header_block + len(_END))
        if end < 0:
            if len(buffer) > limits.max_header_block:
                raise Refused(431, f"the head is larger than {limits.max_header_block} bytes")
            return False
        head = parse_head(bytes(memoryview(buffer)[:end]), limits.max_header_fields)
        del buffer[: end + len(_END)]
        self._head = head
        self._since = self.host.now
        if head.length is None:
            self._chunked = ChunkedBody(limits.max_message, limits.max_header_block)
        elif head.length > limits.max_message:
            raise Refused(413, f"the body is larger than {limits.max_message} bytes")
        if head.expects_continue and head.length != 0 and not buffer:
            self._write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return True

    def _hold(self, size: int) -> None:
        """Count the octets of a body that wait here."""
        self.host.buffered += size - self._held
        self._held = size
        if self.host.buffered > self.host.limits.max_buffered_total and size:
            raise Refused(503, "too many requests are under way")

    def _serve(self, head: RequestHead, body: bytes) -> None:
        request = HttpRequest(head.method, head.path, head.query, head.headers, body, self.peer)
        self._last = self._last or not head.keep_alive
        try:
            result = self.host.application.http(request)
            if isinstance(result, HttpResponse):
                self._respond(head, result)
                return
            work = asyncio.ensure_future(result, loop=self.host.loop)
        except Exception as error:  # noqa: BLE001 - whatever a handler raises is the answer
            self._failed(head, error)
            return
        self._work = work
        work.add_done_callback(lambda done: self._settled(head, done))

    def _settled(self, head: RequestHead, work: asyncio.Future[Any]) -> None:
        self._work = None
        if work.cancelled():
            self._close()
        elif (error := work.exception()) is not None:
            self._failed(head, error)
        elif self.closed:
            return
        elif isinstance(result := work.result(), HttpResponse):
            self._respond(head, result)
        else:
            name = type(result).__name__
            self._failed(head, TypeError(f"the handler returned {name}, not HttpResponse"))
        self._next()

    def _failed(self, head: RequestHead, error: BaseException) -> None:
        _logger.error("an HTTP handler failed", exc_info=error)
        self._respond(head, HttpResponse(500, b"internal error\n", _TEXT))

    def _next(self) -> None:
        """Go on with what arrived meanwhile."""
        if self._is_free():
            self._transport.resume_reading()
            self.receive(b"")

    # ------------------------------------------------------------------ answers

    def _respond(self, head: RequestHead | None, response: HttpResponse) -> None:
        body = response.body
        streamed = not isinstance(body, bytes)
        chunks = streamed and (head is None or head.chunks)
        if streamed and not chunks:
            self._last = True  # only the end of the connection is the end of the body
        lines = [f"HTTP/1.1 {response.status} {_PHRASES.get(response.status, '')}".encode()]
        lines.append(b"date: " + email.utils.formatdate(usegmt=True).encode())
        if response.content_type:
            lines.append(b"content-type: " + response.content_type.encode("latin-1"))
        lines += (b"%b: %b" % pair for pair in response.headers)
        if isinstance(body, bytes):
            if response.status not in _NO_BODY:
                lines.append(b"content-length: %d" % len(body))
        elif chunks:
            lines.append(b"transfer-encoding: chunked")
        if self._last:
            lines.append(b"connection: close")
        elif head is not None and not head.chunks:
            lines.append(b"connection: keep-alive")
        start = b"\r\n".join(lines) + _END
        silent = (head is not None and head.method == "HEAD") or response.status in _NO_BODY
        if isinstance(body, bytes):
            self._write(start if silent else start + body)
            self._answered()
            return
        self._write(start)
        if silent:
            body, chunks = _nothing(body), False
        self._work = self.host.create_task(self._send_parts(body, chunks=chunks))
        self._work.add_done_callback(self._sent)

    async def _send_parts(self, parts: AsyncIterator[bytes], *, chunks: bool) -> None:
        try:
            async for part in parts:
                if part:
                    self._write(b"%x\r\n%b\r\n" % (len(part), part) if chunks else part)
                while self._paused:
                    self._writable = self.host.loop.create_future()
                    await self._writable
        finally:
            if (close := getattr(parts, "aclose", None)) is not None:
                await close()
        if chunks:
            self._write(b"0\r\n\r\n")

    def _sent(self, work: asyncio.Future[None]) -> None:
        self._work = None
        if work.cancelled():
            self._close()
        elif (error := work.exception()) is not None:
            _logger.error("an HTTP handler failed", exc_info=error)
            self._close()  # the missing end of the body tells the client
        else:
            self._answered()
        self._next()

    def _answered(self) -> None:
        self._since = self.host.now
        if self._last:
            self._close(linger=True)

    def _write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._written += len(data)
            self._transport.write(data)

    # ------------------------------------------------------------------ the socket, and the end

    def pause_writing(self) -> None:
        """Stop reading: the peer does not read what it asked for."""
        self._paused = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on with the answer, or with the next request."""
        self._paused = False
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self.host.loop.call_soon(self._next)

    def is_idle(self) -> bool:
        """Return True if no request is under way."""
        return self._work is None and self._head is None

    def sweep(self) -> None:
        """Enforce the limits of time; to be called about once a second."""
        now, limits = self.host.now, self.host.limits
        if self._closing_since is not None:
            if now - self._closing_since >= _LINGER:
                self._transport.abort()
            return
        progress = self._written - self._transport.get_write_buffer_size()
        if progress != self._progress or not self._paused:
            self._progress, self._progressed = progress, now
        if now - self._progressed >= limits.stall_timeout:
            self._transport.abort()
        elif self._work is None and not self._paused:
            self._sweep_request(now - self._since)

    def _sweep_request(self, waited: float) -> None:
        limits = self.host.limits
        if self._head is None and not self._buffer:
            if waited >= limits.idle_timeout:
                self._close()
            return
        limit = limits.preface_timeout if self._head is None else limits.request_timeout
        if waited >= limit:
            self._last = True
            text = b"the request did not arrive in time\n"
            self._respond(None, HttpResponse(408, text, _TEXT))

    def drain(self) -> None:
        """Begin the graceful end: finish the request under way."""
        self._last = True
        if self.is_idle() and not self._buffer:
            self._close()

    def shutdown(self) -> None:
        """End at once; the handler is cancelled."""
        self._close()

    def lost(self) -> None:
        """Note that the transport is gone: nobody waits for an answer."""
        self.closed = True
        self.host.buffered -= self._held
        self._held = 0
        self._buffer.clear()
        if self._work is not None:
            self._work.cancel()

    def _close(self, *, linger: bool = False) -> None:
        if self.closed:
            return
        self.lost()
        self._closing_since = self.host.loop.time()
        # Data that nobody reads would make the kernel discard what the peer did not read yet.
        if not linger:
            self._transport.close()
        elif half_close(self._transport):
            self._transport.resume_reading()


async def _nothing(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Close an iterator whose parts nobody wants to have, and yield none."""
    if (close := getattr(parts, "aclose", None)) is not None:
        await close()
    none: tuple[bytes, ...] = ()
    for part in none:
        yield part
