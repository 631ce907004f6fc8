"""Bounds inbound calls: how many run, and when their requests are read.

A unary method of grpc.aio reads the whole request before its handler runs, for any caller. The
methods here are served as client streams, which look the same on the wire. So a call is accepted or
refused by its metadata and connection, before any byte of its request is read.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, NoReturn

import grpc
import grpc.aio

from braft_core.abc import TransportTiming
from braft_core.errors import DecodeError
from braft_core.transport.address_quota import AddressQuota
from braft_core.transport.grpc.authenticated_context import signed

__all__ = ["CALLS", "READERS", "Admit", "BoundedCalls", "host_of", "within_quota"]

#: Returns the context to serve a call with, or ends the call.
Admit = Callable[[Any], Awaitable[Any]]
#: Answers a request.
Serve = Callable[[bytes, Any], Awaitable[bytes]]

#: Requests of one address that are read at a time. Each may have the maximum size.
READERS: Final = 4
#: Limits of running calls: of one address, and of all.
CALLS: Final = (512, 4096)


class BoundedCalls:
    """Makes the handlers of unary calls. Used on the loop only."""

    def __init__(self, timing: TransportTiming) -> None:
        self._timing = timing
        self._calls = AddressQuota(*CALLS)
        #: By address and whether the method takes large requests.
        self._read_slots: dict[tuple[str, bool], _ReadSlots] = {}

    def method(self, admit: Admit, serve: Serve, limit: int | None = None) -> Any:
        """Return the handler of one method.

        :param admit: sees the call before anything of its request is read.
        :param limit: largest request in bytes, where the transport's own limit is too large.
        """

        async def answered(context: Any) -> bytes:
            context = await admit(context)
            async with within_quota(self._calls, context, "calls"):
                try:
                    data = await self.read(context, limit)
                except DecodeError as error:
                    await _abort(context, "INVALID_ARGUMENT", str(error))
                if data is grpc.aio.EOF:
                    await _abort(context, "INVALID_ARGUMENT", "the call has no request")
                return signed(context, await serve(data, context))

        async def guarded(_requests: Any, context: Any) -> bytes:
            try:
                return await answered(context)
            except grpc.aio.AbortError as error:
                # The context keeps the error, whose traceback would keep the request in memory
                # until the next garbage collection.
                error.__context__ = error.__cause__ = None
                raise error.with_traceback(None) from None

        return grpc.stream_unary_rpc_method_handler(guarded)

    async def read(self, context: Any, limit: int | None = None) -> Any:
        """Return the next message of an admitted call, or ``EOF``. Ends a call that stalls.

        :param limit: see :meth:`method`.
        """
        timing = self._timing
        patience = timing.request_timeout if limit is None else timing.small_request_timeout
        async with self._mac(host_of(context.peer()), limit is None):
            try:
                async with asyncio.timeout(patience):
                    data = await context.read()
            except TimeoutError:
                reason = f"no request came for {patience:g} s"
                await _abort(context, "DEADLINE_EXCEEDED", reason)
        if data is not grpc.aio.EOF and limit is not None and len(data) > limit:
            reason = f"a request of {len(data)} bytes; at most {limit} are accepted here"
            await _abort(context, "RESOURCE_EXHAUSTED", reason)
        return data

    @contextlib.asynccontextmanager
    async def _mac(self, host: str, large: bool) -> AsyncIterator[None]:
        slots = self._read_slots.setdefault((host, large), _ReadSlots())
        slots.users += 1
        try:
            async with slots.semaphore:
                yield
        finally:
            slots.users -= 1
            if not slots.users:
                self._read_slots.pop((host, large), None)


class _ReadSlots:
    """The calls of one address that read their request, or wait to read it."""

    def __init__(self) -> None:
        self.semaphore = asyncio.Semaphore(READERS)
        self.users = 0


@contextlib.asynccontextmanager
async def within_quota(quota: AddressQuota, context: Any, what: str) -> AsyncIterator[None]:
    """Count the call against a quota, or end it. ``what`` names the calls in the error."""
    host = host_of(context.peer())
    if not quota.acquire(host):
        few = quota.each if quota.in_use(host) >= quota.each else quota.total
        whose = "of one address" if few == quota.each else "in all"
        await _abort(context, "RESOURCE_EXHAUSTED", f"too many {what}: at most {few} {whose}")
    try:
        yield
    finally:
        quota.release(host)


async def _abort(context: Any, status: str, reason: str) -> NoReturn:
    await context.abort(grpc.StatusCode[status], reason)
    raise AssertionError("unreachable: abort raises")


def host_of(peer: str) -> str:
    """Return the host of a peer as gRPC names it, without the port of ``ipv4:1.2.3.4:5``."""
    return peer.rpartition(":")[0] if peer.startswith("ip") else peer
