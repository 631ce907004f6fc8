"""The standard gRPC services health and reflection, with limits.

The servicers of the packages ``grpc_health`` and ``grpc_reflection`` have no limits, and a caller
that reads nothing would keep the health service from stopping.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any, Final

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from braft_core.proto import POOL, ProtobufError
from braft_core.transport.address_quota import AddressQuota
from braft_core.transport.grpc.bounded_calls import Admit, BoundedCalls, within_quota
from braft_core.transport.size_limits import MAX_CONTROL

__all__ = ["REFLECTIONS", "WATCHERS", "Health", "Reflection"]

#: Limits of health watchers: of one address, and of all.
WATCHERS: Final = (16, 128)
#: Limits of reflection streams: of one address, and of all.
REFLECTIONS: Final = (4, 16)
#: Seconds of silence after which a reflection stream ends.
_IDLE: Final = 60.0

_Status = health_pb2.HealthCheckResponse


async def _everybody(context: Any) -> Any:
    """Admit every caller."""
    return context


class Health:
    """``grpc.health.v1.Health``: all services are serving until the node stops. Loop only.

    No token is needed: load balancers and kubelets have none.
    """

    def __init__(self, bounded: BoundedCalls, services: Iterable[str]) -> None:
        self._bounded = bounded
        self._services = frozenset(services) | {""}
        self._serving = True
        self._stopped = asyncio.Event()
        self._watchers = AddressQuota(*WATCHERS)

    def handlers(self) -> grpc.GenericRpcHandler:
        """Return the handlers to register."""
        methods = {
            "Check": self._bounded.method(_everybody, self._check, MAX_CONTROL),
            "List": self._bounded.method(_everybody, self._list, MAX_CONTROL),
            "Watch": grpc.stream_stream_rpc_method_handler(self._watch),
        }
        return grpc.method_handlers_generic_handler(health.SERVICE_NAME, methods)

    def stop(self) -> None:
        """Report NOT_SERVING from now on."""
        self._serving = False
        self._stopped.set()

    async def _check(self, data: bytes, context: Any) -> bytes:
        name = await self._named(data, context)
        if name not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"there is no service {name!r:.80}")
        return self._answer(name)

    async def _list(self, _data: bytes, _context: Any) -> bytes:
        answer = health_pb2.HealthListResponse()
        for name in self._services:
            answer.statuses[name].status = self._status(name)
        encoded: bytes = answer.SerializeToString()
        return encoded

    async def _watch(self, _requests: Any, context: Any) -> None:
        async with within_quota(self._watchers, context, "watchers"):
            data = await self._bounded.read(context, MAX_CONTROL)
            name = await self._named(b"" if data is grpc.aio.EOF else data, context)
            await context.write(self._answer(name))
            if self._serving:
                await self._stopped.wait()
                await context.write(self._answer(name))

    async def _named(self, data: bytes, context: Any) -> str:
        try:
            name: str = health_pb2.HealthCheckRequest.FromString(data).service
        except ProtobufError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"not a request: {error}")
            raise
        return name

    def _answer(self, name: str) -> bytes:
        encoded: bytes = _Status(status=self._status(name)).SerializeToString()
        return encoded

    def _status(self, name: str) -> int:
        if name not in self._services:
            unknown: int = _Status.SERVICE_UNKNOWN
            return unknown
        status: int = _Status.SERVING if self._serving else _Status.NOT_SERVING
        return status


class Reflection:
    """Server reflection over our own descriptor pool. Loop only."""

    def __init__(self, services: Iterable[str], admit: Admit) -> None:
        """:param admit: ends an unauthorized call."""
        self._admit = admit
        for module in (health_pb2, reflection_pb2):
            POOL.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
        names = (*services, health.SERVICE_NAME, reflection.SERVICE_NAME)
        self._servicer = reflection.aio.ReflectionServicer(names, pool=POOL)
        self._streams = AddressQuota(*REFLECTIONS)

    def handlers(self) -> grpc.GenericRpcHandler:
        """Return the handlers to register."""
        methods = {"ServerReflectionInfo": grpc.stream_stream_rpc_method_handler(self._info)}
        return grpc.method_handlers_generic_handler(reflection.SERVICE_NAME, methods)

    async def _info(self, _requests: Any, context: Any) -> None:
        await self._admit(context)
        async with within_quota(self._streams, context, "streams of reflection"):
            async for answer in self._servicer.ServerReflectionInfo(_requests_of(context), context):
                await context.write(answer.SerializeToString())


async def _requests_of(context: Any) -> AsyncIterator[Any]:
    while True:
        try:
            async with asyncio.timeout(_IDLE):
                data = await context.read()
        except TimeoutError:
            return
        if data is grpc.aio.EOF:
            return
        if len(data) > MAX_CONTROL:
            reason = f"a request of {len(data)} bytes; at most {MAX_CONTROL} are accepted here"
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, reason)
        try:
            request = reflection_pb2.ServerReflectionRequest.FromString(data)
        except ProtobufError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"not a request: {error}")
        yield request
