"""A node of its own cluster, for the recipes of one module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from braft_core import Node
from braft_testing.processes import PATIENCE, wait_for


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    """Return a node that serves."""
    options = {"discovery": "none", "data_dir": ":memory:", "ip": "127.0.0.1", "rport": 0}
    with Node(http=False, request_timeout=PATIENCE, **options) as node:  # type: ignore[arg-type]
        node.wait_ready(PATIENCE)
        yield node


@pytest.fixture(autouse=True)
def _leaves_nothing(request: pytest.FixtureRequest) -> Iterator[None]:
    """Check that a test with a node leaves no key and no lease, soon after its end."""
    yield
    if "node" in request.fixturenames:
        node: Node = request.getfixturevalue("node")
        wait_for(lambda: _is_empty(node), PATIENCE, "no key and no lease is left")


def _is_empty(node: Node) -> bool:
    left = {
        entry.key
        for entry in node.store.scan("_braft/")
        # The term that was claimed last; up to which token a rendezvous has released all.
        if entry.key != b"_braft/leadership" and not entry.key.endswith(b"/released")
    }
    return not left and node.store.leases.ids() == []
