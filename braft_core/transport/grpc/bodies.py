"""The requests of single calls: read after the call is admitted, a few of one address at a time.

A unary method of grpc.aio has its request in memory before its handler runs, whoever sent it. The
methods here are served as if the client streamed, which looks the same on the wire: the caller is
judged by its metadata and its connection, and a refused call ends without a byte of its request
being read.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import grpc
import grpc.aio

__all__ = ["Bodies", "host_of"]

#: Ends the call of a context that is not admitted; returns if it is.
Admit = Callable[[Any], Awaitable[object]]
#: Answers a request.
Serve = Callable[[bytes, Any], Awaitable[bytes]]

#: Requests of one address that are read at a time. Each may be as large as the largest message.
READERS: Final = 8
#: Seconds that a request may take to arrive once its call is admitted.
PATIENCE: Final = 30.0


class Bodies:
    """Makes the handlers of single calls. Used on the loop only."""

    def __init__(self) -> None:
        self._addresses: dict[str, _Address] = {}

    def method(self, admit: Admit, serve: Serve, limit: int | None = None) -> Any:
        """Return the handler of one method.

        :param admit: sees the call before anything of its request is read.
        :param limit: largest request in bytes, where the transport's own limit is too large.
        """

        async def guarded(_requests: Any, context: Any) -> bytes:
            await admit(context)
            data = await self.read(context)
            if data is grpc.aio.EOF:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the call has no request")
            if limit is not None and len(data) > limit:
                await context.abort(
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                    f"a request of {len(data)} bytes; at most {limit} are accepted here",
                )
            return await serve(data, context)

        return grpc.stream_unary_rpc_method_handler(guarded)

    async def read(self, context: Any) -> Any:
        """Return the next message of an admitted call, or ``EOF``. Ends a call that stalls."""
        async with self._turn(host_of(context.peer())):
            try:
                async with asyncio.timeout(PATIENCE):
                    return await context.read()
            except TimeoutError:
                await context.abort(
                    grpc.StatusCode.DEADLINE_EXCEEDED, f"no request came for {PATIENCE:g} s"
                )

    @contextlib.asynccontextmanager
    async def _turn(self, host: str) -> AsyncIterator[None]:
        address = self._addresses.setdefault(host, _Address())
        address.calls += 1
        try:
            async with address.turns:
                yield
        finally:
            address.calls -= 1
            if not address.calls:
                self._addresses.pop(host, None)


class _Address:
    """The calls of one address whose requests are read, or wait for their turn."""

    def __init__(self) -> None:
        self.turns = asyncio.Semaphore(READERS)
        self.calls = 0


def host_of(peer: str) -> str:
    """Return the address without its port, of a peer as gRPC names it: ``ipv4:1.2.3.4:5``."""
    return peer.rpartition(":")[0] if peer.startswith("ip") else peer
