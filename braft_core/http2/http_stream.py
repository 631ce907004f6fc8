"""A stream that is an HTTP request other than gRPC's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

from braft_core.http2.calls import HttpRequest, HttpResponse
from braft_core.http2.frames import INTERNAL_ERROR
from braft_core.http2.hpack import encode
from braft_core.http2.status import Status
from braft_core.http2.streams import Stream

__all__ = ["HttpStream"]

#: Statuses whose answers have no body (RFC 9110, section 6.4.1).
_NO_BODY: Final = (204, 304)


class HttpStream(Stream):
    """A request that is not gRPC's."""

    _body: bytearray | None = None

    def is_whole(self, data: bytes) -> bool:
        """Return False: nothing tells the length of a body."""
        return False

    def receive(self, data: bytes) -> None:
        """Take a part of the body."""
        limit = self.connection.host.limits.max_message
        if self._body is None:
            self._body = bytearray()
        if len(self._body) + len(data) > limit:
            text = b"the body is larger than %d bytes\n" % limit
            self.deliver(HttpResponse(413, text, "text/plain; charset=utf-8"))
            return
        self._body += data
        self.connection.hold(self, len(data))

    def receive_end(self) -> None:
        """Call the handler."""
        if not self.closed and not self.tail:
            self.connection.invoke(self, bytes(self._body or b""))

    def invoke(self, body: bytes) -> None:
        """Call the handler of a whole request."""
        if self.closed or self.head.request is None:
            return
        connection = self.connection
        method, target = self.head.request
        path, _, query = target.partition("?")
        request = HttpRequest(method, path, query, self.head.metadata, body, connection.peer)
        try:
            result = connection.host.application.http(request)
        except Exception as error:  # noqa: BLE001 - whatever a handler raises is the answer
            self.raised(error)
            return
        if isinstance(result, HttpResponse):
            self.deliver(result)
        else:
            self._await(result)

    def deliver(self, result: Any) -> None:
        """Send a response, or start to send its parts."""
        if not isinstance(result, HttpResponse):
            raise TypeError(f"the handler returned {type(result).__name__}, not HttpResponse")
        sender, body = self.connection.sender, result.body
        fields = [(b":status", b"%d" % result.status)]
        if result.content_type:
            fields.append((b"content-type", result.content_type.encode("latin-1")))
        fields += result.headers
        if isinstance(body, bytes) and result.status not in _NO_BODY:
            fields.append((b"content-length", b"%d" % len(body)))
        sender.head(self, encode(fields))
        is_head = self.head.request is not None and self.head.request[0] == "HEAD"
        if not isinstance(body, bytes):
            self.start(self.connection.host.create_task(self._send_parts(body)))
            return
        if body and not is_head and result.status not in _NO_BODY:
            sender.data(self, body)
        sender.end_data(self)

    async def _send_parts(self, parts: AsyncIterator[bytes]) -> None:
        sender = self.connection.sender
        try:
            async for part in parts:
                if self.closed:
                    return
                if part:
                    sender.data(self, part)
                if sender.must_wait(self):
                    await sender.writable(self)
        finally:
            if (close := getattr(parts, "aclose", None)) is not None:
                await close()
        if not self.closed:
            sender.end_data(self)

    def fail(self, status: Status, message: str) -> None:
        """Answer with an error, or reset the stream if the answer has begun."""
        if self.closed:
            return
        if self.started:
            self.connection.reset(self, INTERNAL_ERROR)
            return
        codes = {
            Status.UNAVAILABLE: 503,
            Status.RESOURCE_EXHAUSTED: 429,
            Status.DEADLINE_EXCEEDED: 408,
        }
        text = f"{message}\n".encode()
        code = codes.get(status, 500)
        self.deliver(HttpResponse(code, text, "text/plain; charset=utf-8"))
