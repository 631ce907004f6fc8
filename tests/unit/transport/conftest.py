"""A node on the loop, and a caller that is not one of ours."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest

from braft_core.abc import TransportOptions
from braft_core.testing.transport import Node, RecordingHandler
from braft_core.transport.grpc import GrpcTransport

Started = Callable[..., AbstractAsyncContextManager[Node]]
Stranger = Callable[[str], AbstractAsyncContextManager[grpc.aio.Channel]]


@pytest.fixture
def started() -> Started:
    """``async with started("b", **transport_options) as node``: a gRPC node on a free port."""

    @asynccontextmanager
    async def start(
        server_id: str = "b", cluster_id: str = "cl", **options: Any
    ) -> AsyncIterator[Node]:
        options.setdefault("listen", ("127.0.0.1:0",))
        transport = GrpcTransport(TransportOptions(**options))
        handler = RecordingHandler(server_id, "", cluster_id)
        await transport.start(handler)
        handler.identity.address = transport.listening[0]
        try:
            yield Node(transport, handler)
        finally:
            await transport.stop()

    return start


@pytest.fixture
def stranger() -> Stranger:
    """``async with stranger(address) as channel``: a plain gRPC channel."""

    @asynccontextmanager
    async def connect(address: str) -> AsyncIterator[grpc.aio.Channel]:
        async with grpc.aio.insecure_channel(address) as channel:
            yield channel

    return connect
