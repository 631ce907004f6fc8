"""Nodes on the loop, and callers that are not one of ours."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from braft_core.abc import TransportOptions
from braft_core.testing.transport import Node, RecordingHandler
from braft_tcp import TcpTransport

Started = Callable[..., AbstractAsyncContextManager[Node]]


@pytest.fixture
def started() -> Started:
    """``async with started("b", **transport_options) as node``: a node on a free port."""

    @asynccontextmanager
    async def start(
        server_id: str = "b", cluster_id: str = "cl", **options: Any
    ) -> AsyncIterator[Node]:
        options.setdefault("listen", ("127.0.0.1:0",))
        transport = TcpTransport(TransportOptions(**options))
        handler = RecordingHandler(server_id, "", cluster_id)
        await transport.start(handler)
        handler.identity.address = transport.listening[0]
        try:
            yield Node(transport, handler)
        finally:
            await transport.stop()

    return start
