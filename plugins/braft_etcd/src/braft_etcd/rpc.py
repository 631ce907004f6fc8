"""Calls of the API: path, messages, handler; and handlers as functions of bytes.

A handler takes and returns messages (:data:`~braft_etcd.wire.Values`) and knows no server. It
raises :class:`~braft_core.http2.CallFailed` or a braft error.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from braft_core.errors import BraftError
from braft_core.http2 import (
    Call,
    CallFailed,
    Method,
    Status,
    bidirectional,
    server_streaming,
    unary,
)
from braft_core.tokens import Role
from braft_etcd.errors import failed
from braft_etcd.wire import Message, Values, WireError, decode, encode
from braft_etcd.wire.messages import message

__all__ = ["Gate", "Rpc", "answer", "method", "rpc"]

UnaryHandler = Callable[[Values, Call], Awaitable[Values]]
StreamHandler = Callable[[AsyncIterator[Values], Call], AsyncIterator[Values]]
Needed = Role | None | Callable[[Values], Role]


class Gate(Protocol):
    """Decides who may call."""

    async def enter(self, call: Call, role: Role | None) -> None:
        """Let a call in.

        :param role: what it needs; None for nothing.
        :raises CallFailed: it is refused.
        """

    def note(self, call: Call, path: str, role: Role | None) -> None:
        """Take note of a call that succeeded, or of a stream that begins."""

    def guard(self, call: Call, answers: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """Return the answers of a stream, which may end early."""


@dataclass(frozen=True)
class Rpc:
    """One call of the API."""

    path: str
    request: Message
    response: Message
    #: One of the two shapes.
    unary: UnaryHandler | None
    stream: StreamHandler | None
    #: What the caller's token must allow; a function if it depends on the request.
    role: Needed
    #: Whether a stream takes one request alone.
    takes_one: bool = False


def rpc(
    path: str,
    handler: UnaryHandler | None = None,
    *,
    role: Needed,
    stream: StreamHandler | None = None,
    request: str = "",
    response: str = "",
    takes_one: bool = False,
) -> Rpc:
    """Return a call whose messages are named as etcd names them.

    :param path: ``Service/Method``, of the package ``etcdserverpb`` unless it names another.
    :param request: the message, if it is not ``<Method>Request``; likewise ``response``.
    """
    name = path.rpartition("/")[2]
    return Rpc(
        path=f"/{path}" if "." in path else f"/etcdserverpb.{path}",
        request=message(request or f"{name}Request"),
        response=message(response or f"{name}Response"),
        unary=handler,
        stream=stream,
        role=role,
        takes_one=takes_one,
    )


def method(call_of: Rpc, gate: Gate) -> Method:
    """Return the call as a handler of bytes."""
    if call_of.unary is not None:
        return unary(_Unary(call_of, gate))
    streamed = _Stream(call_of, gate)
    return server_streaming(streamed.one) if call_of.takes_one else bidirectional(streamed)


async def answer(called: Rpc, gate: Gate, request: Values, call: Call) -> Values:
    """Return the answer to a message of a call that has one.

    :raises CallFailed: it is refused, or failed.
    """
    if called.unary is None:
        raise CallFailed(Status.INTERNAL, f"{called.path} streams")
    role = called.role(request) if callable(called.role) else called.role
    await gate.enter(call, role)
    try:
        found = await called.unary(request, call)
    except BraftError as error:
        raise failed(error) from error
    gate.note(call, called.path, role)
    return found


class _Unary:
    def __init__(self, called: Rpc, gate: Gate) -> None:
        self._rpc = called
        self._gate = gate

    async def __call__(self, data: bytes, call: Call) -> bytes:
        found = await answer(self._rpc, self._gate, read(self._rpc.request, data), call)
        return encode(self._rpc.response, found)


class _Stream:
    def __init__(self, called: Rpc, gate: Gate) -> None:
        self._rpc = called
        self._gate = gate

    async def __call__(self, requests: AsyncIterator[bytes], call: Call) -> AsyncIterator[bytes]:
        answers = stream(self._rpc, self._gate, self._read(requests), call)
        try:
            async for values in answers:
                yield encode(self._rpc.response, values)
        finally:
            await _close(answers)

    def one(self, data: bytes, call: Call) -> AsyncIterator[bytes]:
        """Serve a call that takes one message."""
        return self(_single(data), call)

    async def _read(self, requests: AsyncIterator[bytes]) -> AsyncIterator[Values]:
        async for data in requests:
            yield read(self._rpc.request, data)


async def stream(
    called: Rpc, gate: Gate, requests: AsyncIterator[Values], call: Call
) -> AsyncIterator[Values]:
    """Return the answers to the messages of a call that streams.

    :raises CallFailed: it is refused, or failed.
    """
    if called.stream is None:
        raise CallFailed(Status.INTERNAL, f"{called.path} does not stream")
    if callable(called.role):
        raise CallFailed(Status.INTERNAL, f"{called.path} has no request yet")
    await gate.enter(call, called.role)
    gate.note(call, called.path, called.role)
    answers = gate.guard(call, called.stream(requests, call))
    try:
        async for values in answers:
            yield values
    except BraftError as error:
        raise failed(error) from error
    finally:
        await _close(answers)


async def _single(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def _close(answers: AsyncIterator[Any]) -> None:
    close = getattr(answers, "aclose", None)
    if close is not None:
        await close()


def read(kind: Message, data: bytes) -> Values:
    """Decode a request. :raises CallFailed: it is not that message."""
    try:
        return decode(kind, data)
    except WireError as error:
        raise CallFailed(Status.INVALID_ARGUMENT, f"not a {kind.name}: {error}") from error
