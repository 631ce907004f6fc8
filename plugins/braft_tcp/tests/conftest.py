"""Nodes on the loop."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial

import pytest

from braft_tcp import TcpTransport
from braft_testing.transport import PATIENCE, PATIENT_TIMING, Node, listening_node

Started = Callable[..., AbstractAsyncContextManager[Node]]


@pytest.fixture
def started() -> Started:
    """Return ``started(id, **options)``, a context manager that runs a node on a free port."""
    return partial(listening_node, TcpTransport, rpc_timeout=PATIENCE, timing=PATIENT_TIMING)
