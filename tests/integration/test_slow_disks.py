"""Nodes elect a leader and serve although each sync takes longer than the election timeout."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from braft_core.errors import BraftError
from braft_testing.processes import wait_for

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.optional]


def highest_term(cluster: Any) -> int:
    """Return the highest term of the nodes that answer."""
    return max(int(node.get("term", 0)) for node in cluster.client().status()["nodes"])


@pytest.mark.parametrize(
    ("size", "sync", "transport"),
    [(1, 1.5, "grpc"), (1, 2.5, "grpc"), (3, 1.5, "grpc"), (3, 2.5, "grpc"), (3, 2.5, "tcp")],
)
def test_restarted_nodes_elect_a_leader(
    size: int,
    sync: float,
    transport: str,
    interposed: Callable[..., Any],
    record_property: Callable[[str, object], None],
) -> None:
    with interposed(size, transport=transport) as cluster:
        cluster.start()
        cluster.wait_ready()
        cluster.client().kv_put("m", "k", 1)
        before = highest_term(cluster)
        for index in range(size):
            assert cluster.stop(index) == 0
        for interposer in cluster.interposers:
            interposer.slow_syncs(sync)
        cluster.start()
        began = time.monotonic()
        reasons: set[str] = set()

        def leads() -> bool:
            for node in cluster.nodes:
                try:
                    answer = httpx.get(f"{node.url}/readyz", trust_env=False, timeout=20)
                except httpx.HTTPError as error:
                    raise BraftError(str(error)) from error
                reasons.add(answer.json().get("detail", ""))
                reasons.update(answer.json().get("notes", {}).values())
            return any(
                server.leader for index in range(size) for server in cluster.client(index).members()
            )

        wait_for(leads, 60, "a leader")
        record_property("seconds until a leader was known", round(time.monotonic() - began, 1))
        client = cluster.client(timeout=60)
        wait_for(lambda: client.kv_put("m", "k", 2), 120, "a write")
        record_property("seconds until a write", round(time.monotonic() - began, 1))
        assert client.kv_get("m", "k") == 2
        terms = highest_term(cluster) - before
        record_property("terms", terms)
        assert terms < 6
        assert any("the disk is slow: " in reason for reason in reasons), reasons
