"""The handlers of :mod:`braft_core.http2.calls` behind grpcio's asyncio server.

For those who want that server for gRPC in place of ours: it costs more, serves no JSON, and is
older. Imported only by them, since grpcio takes long to import.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import grpc

from braft_core.http2.calls import Metadata, Method, Peer
from braft_core.http2.status import CallFailed

__all__ = ["generic_handler"]

_CODES = {code.value[0]: code for code in grpc.StatusCode}


class _Call:
    """One call, as its handler sees it."""

    def __init__(self, context: Any) -> None:
        self._context = context

    @property
    def metadata(self) -> Metadata:
        pairs = self._context.invocation_metadata() or ()
        return tuple(
            (name.encode(), value if isinstance(value, bytes) else value.encode("latin-1"))
            for name, value in pairs
        )

    @property
    def peer(self) -> Peer:
        """Who calls; grpcio knows less of a certificate than the standard library."""
        names = self._context.auth_context().get("x509_common_name", ())
        subject = tuple((("commonName", name.decode("utf-8", "replace")),) for name in names)
        certificate: Mapping[str, Any] | None = {"subject": subject} if subject else None
        return Peer(self._context.peer(), certificate)

    def time_remaining(self) -> float | None:
        left = self._context.time_remaining()
        return None if left is None else max(0.0, float(left))

    def cancelled(self) -> bool:
        return bool(self._context.cancelled())


async def _abort(context: Any, failure: CallFailed) -> None:
    await context.abort(_CODES[int(failure.status)], failure.message)


def _single(method: Method) -> Callable[[Any, Any], Awaitable[bytes]]:
    async def serve(request: Any, context: Any) -> bytes:
        try:
            answer = method.handler(request, _Call(context))
            answer = await answer if inspect.isawaitable(answer) else answer
        except CallFailed as failure:
            await _abort(context, failure)
            raise
        if not isinstance(answer, bytes):
            raise TypeError(f"the handler returned {type(answer).__name__}, not bytes")
        return answer

    return serve


def _streamed(method: Method) -> Callable[[Any, Any], AsyncIterator[bytes]]:
    async def serve(request: Any, context: Any) -> AsyncIterator[bytes]:
        try:
            async for answer in method.handler(request, _Call(context)):
                yield answer
        except CallFailed as failure:
            await _abort(context, failure)

    return serve


def _make(method: Method) -> grpc.RpcMethodHandler:
    makers = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }
    serve = (_streamed if method.streams_answers else _single)(method)
    return makers[method.streams_requests, method.streams_answers](serve)


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpcio has no types
    def __init__(self, methods: Mapping[str, Method]) -> None:
        self._handlers = {path: _make(method) for path, method in methods.items()}

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler | None:
        return self._handlers.get(handler_call_details.method)


def generic_handler(methods: Mapping[str, Method]) -> grpc.GenericRpcHandler:
    """Return what ``grpc.aio.Server.add_generic_rpc_handlers`` takes, for methods by path."""
    return _Handlers(methods)
