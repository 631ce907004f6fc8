"""A stream that is a gRPC call: messages in their framing, and the four shapes of handlers."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, Final

from braft_core.http2.calls import Call
from braft_core.http2.status import Status
from braft_core.http2.streams import Stream

__all__ = ["RpcStream"]

#: Of a message: whether it is compressed, and its length.
_PREFIX_SIZE: Final = 5
#: What a message that waits for its handler counts beside its octets: about what an object takes.
_MESSAGE_COST: Final = 64


class Requests:
    """The messages of a caller, for the handler of a stream: an iterator."""

    def __init__(self, stream: RpcStream) -> None:
        self._stream = stream
        self._messages: deque[bytes] = deque()
        self._ended = False
        self._waiter: asyncio.Future[None] | None = None

    def put(self, message: bytes) -> None:
        """Add a message."""
        self._messages.append(message)
        self._wake()

    def end(self) -> None:
        """Note that no more messages come."""
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while not self._messages:
            if self._ended:
                raise StopAsyncIteration
            self._waiter = self._stream.connection.host.loop.create_future()
            await self._waiter
        message = self._messages.popleft()
        size = len(message) + _PREFIX_SIZE
        self._stream.connection.taken(self._stream, size, held=size + _MESSAGE_COST)
        return message


class RpcStream(Stream):
    """A gRPC call."""

    _buffer: bytearray | None = None
    _requests: Requests | None = None
    _has_message = False

    def begin(self) -> None:
        """Refuse the call, or start a handler that takes a stream of messages."""
        head = self.head
        if head.refusal is not None:
            self.fail(*head.refusal)
            return
        if head.timeout is not None:
            self.deadline = self.connection.host.loop.time() + head.timeout
        if head.method is not None and head.method.streams_requests:
            self._requests = Requests(self)
            self.start(self._task(self._requests))

    def is_whole(self, data: bytes) -> bool:
        """Return True if ``data`` is all of a unary request: one message, not compressed."""
        return (
            self._buffer is None
            and self._requests is None
            and self.head.content_length is None
            and len(data) >= _PREFIX_SIZE
            and data[0] == 0
            and int.from_bytes(data[1:5], "big") == len(data) - _PREFIX_SIZE
        )

    def receive(self, data: bytes) -> None:
        """Take messages and parts of messages."""
        if self._buffer is None:
            self._buffer = bytearray()
        buffer = self._buffer
        buffer += data
        self.connection.hold(self, len(data))
        while len(buffer) >= _PREFIX_SIZE and not self.closed:
            size = int.from_bytes(buffer[1:_PREFIX_SIZE], "big")
            if not self._acceptable(buffer[0], size):
                return
            if len(buffer) < _PREFIX_SIZE + size:
                return
            message = bytes(memoryview(buffer)[_PREFIX_SIZE : _PREFIX_SIZE + size])
            del buffer[: _PREFIX_SIZE + size]
            self._message(message)

    def _acceptable(self, compressed: int, size: int) -> bool:
        limit = self.connection.host.limits.max_message
        if compressed == 1:
            self.fail(Status.UNIMPLEMENTED, "compressed messages are not supported")
        elif compressed:
            self.fail(Status.INTERNAL, f"a message has the flag {compressed}, not 0 or 1")
        elif size > limit:
            text = f"a message of {size} bytes is larger than {limit}"
            self.fail(Status.RESOURCE_EXHAUSTED, text)
        elif self._has_message and self._requests is None:
            self.fail(Status.INTERNAL, "more than one message in a call that takes one")
        else:
            return True
        return False

    def _message(self, message: bytes) -> None:
        if self._requests is not None:
            self.connection.hold(self, _MESSAGE_COST)
            self._requests.put(message)
            return
        # A unary request is handed on when it is complete; until then it counts.
        self._has_message = True
        self._whole = message

    def receive_end(self) -> None:
        """Call the handler of a unary request, or end the iterator of the messages."""
        if self.closed:
            return
        if self._buffer:
            self.fail(Status.INTERNAL, "the request ends within a message")
        elif self._requests is not None:
            self._requests.end()
        elif not self._has_message:
            self.fail(Status.INTERNAL, "the request has no message")
        else:
            self.connection.invoke(self, self._whole)

    def expects_more(self) -> bool:
        """Return True if the rest of the request should arrive soon."""
        return not self.remote_closed and self._requests is None

    def invoke(self, message: bytes) -> None:
        """Call the handler of one message."""
        method = self.head.method
        if method is None or self.closed:
            return
        if self.deadline is not None and self.deadline <= self.connection.host.loop.time():
            self.fail(Status.DEADLINE_EXCEEDED, "the deadline passed before the call was served")
            return
        if method.streams_answers:
            self.start(self._task(message))
            return
        try:
            result = method.handler(message, self)
        except Exception as error:  # noqa: BLE001 - whatever a handler raises is the answer
            self.raised(error)
            return
        if type(result) is bytes:
            self.connection.sender.answer(self, result)
        else:
            self._await(result)

    def deliver(self, result: Any) -> None:
        """Send the answer of a call that has one."""
        if not isinstance(result, bytes):
            raise TypeError(f"the handler returned {type(result).__name__}, not bytes")
        self.connection.sender.answer(self, result)

    def fail(self, status: Status, message: str) -> None:
        """End the call with an error."""
        if not self.closed and not self.tail:
            self.connection.sender.end(self, status, message)

    def _task(self, argument: bytes | Requests) -> asyncio.Task[bytes | None]:
        return self.connection.host.create_task(self._serve(argument))

    async def _serve(self, argument: bytes | Requests) -> bytes | None:
        """Run a handler that streams; return the answer if it is a single one."""
        method = self.head.method
        call: Call = self
        if method is None:
            return None
        if not method.streams_answers:
            answer: bytes = await method.handler(argument, call)
            return answer
        answers = method.handler(argument, call)
        sender = self.connection.sender
        try:
            async for message in answers:
                if self.closed:
                    return None
                sender.message(self, message)
                if sender.must_wait(self):
                    await sender.writable(self)
        finally:
            if (close := getattr(answers, "aclose", None)) is not None:
                await close()
        if not self.closed:
            sender.end(self)
        return None
