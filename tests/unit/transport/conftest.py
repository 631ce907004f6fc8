"""A node on the loop, and a client that is not braft."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

import grpc
import grpc.aio
import pytest

from braft_core.transport.grpc import GrpcTransport
from braft_testing.transport import PATIENCE, PATIENT_TIMING, Node, listening_node

Started = Callable[..., AbstractAsyncContextManager[Node]]
Stranger = Callable[[str], AbstractAsyncContextManager[grpc.aio.Channel]]


@pytest.fixture
def started() -> Started:
    """Return ``started(id, **options)``, a context manager that runs a gRPC node."""
    return partial(listening_node, GrpcTransport, rpc_timeout=PATIENCE, timing=PATIENT_TIMING)


@pytest.fixture
def stranger() -> Stranger:
    """Return ``stranger(address)``, a context manager that opens a plain gRPC channel."""

    @asynccontextmanager
    async def connect(address: str) -> AsyncIterator[grpc.aio.Channel]:
        async with grpc.aio.insecure_channel(address) as channel:
            yield channel

    return connect
