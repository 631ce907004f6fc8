"""Function calls of a put: the figures do not depend on the machine."""

from __future__ import annotations

from typing import Any

import pytest

calls: Any = pytest.importorskip("benchmarks.calls", reason="only in the tree")


def test_calls_of_a_put_with_many_outstanding() -> None:
    """The client and the state machine act for each put; loop and writer share their work."""
    with calls.SimulatedCluster.running() as cluster:
        found = cluster.calls(128, 64)
    assert {"client", "leader loop", "leader applier", "follower applier"} <= set(found)
    each = {thread: figure.python for thread, figure in found.items()}
    # What this tree needs, and a tenth. A change that needs more has to say why.
    assert each["client"] < 29
    assert each["leader applier"] < 21
    assert each["leader loop"] < 10
