"""Nodes on the loop."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial

import pytest

from braft_tcp import TcpTransport, handshake, outbound
from braft_testing.transport import PATIENCE, Node, listening_node

Started = Callable[..., AbstractAsyncContextManager[Node]]


@pytest.fixture(autouse=True)
def patient_tcp(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is sent once arrives, even if the machine stands still for a second then."""
    monkeypatch.setattr(handshake, "_CONNECT", PATIENCE)
    monkeypatch.setattr(handshake, "_WELCOME", PATIENCE)
    monkeypatch.setattr(outbound, "_CONTROL_TIMEOUT", PATIENCE)


@pytest.fixture
def started() -> Started:
    """``async with started("b", **transport_options) as node``: a node on a free port."""
    return partial(listening_node, TcpTransport, rpc_timeout=PATIENCE)
