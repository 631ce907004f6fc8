"""Stale reads say how old they may be, and a node that is cut off knows that it ages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from braft_core import Node
from braft_core.errors import InvalidRequest, TooStale
from braft_core.testing.processes import ProcessCluster, wait_for

pytestmark = pytest.mark.integration

TIMEOUT = 0.5


def test_every_node_says_how_old_its_state_may_be(
    make_nodes: Callable[..., list[Node]], leader_of: Callable[[list[Node]], Node]
) -> None:
    nodes = make_nodes(3, election_timeout=TIMEOUT)
    leader = leader_of(nodes)
    revision = leader.kv.put("m", "k", 1)
    for node in nodes:
        wait_for(lambda node=node: node.staleness < 3 * TIMEOUT)  # type: ignore[misc]
        wait_for(lambda node=node: node.kv.get_stale("m", "k").revision == revision)  # type: ignore[misc]
        found = node.kv.get_stale("m", "k", max_staleness=30)
        assert (found.value, found.revision) == (1, revision)
        assert TIMEOUT < found.staleness < 30
        with pytest.raises(TooStale, match="is too old: up to") as caught:
            node.kv.get_stale("m", "k", max_staleness=TIMEOUT)
        assert caught.value.data["staleness"] > TIMEOUT
    missing = leader.kv.get_stale("m", "other")
    assert (missing.value, missing.revision) == (None, 0)
    with pytest.raises(InvalidRequest, match="max_staleness=1 with consistency 'linearizable'"):
        leader.query("kv", "get", "m", "k", max_staleness=1)


def staleness(cluster: ProcessCluster, index: int, **params: Any) -> httpx.Response:
    url = cluster.nodes[index].url + "/v1/kv/m/k"
    query = {"consistency": "stale", **params}
    return httpx.get(url, params=query, trust_env=False, timeout=20)


def test_a_follower_without_a_leader_ages(tmp_path: Path) -> None:
    with ProcessCluster(3, tmp_path, election_timeout="500ms") as cluster:
        cluster.start()
        cluster.wait_ready()
        cluster.client(0).kv_put("m", "k", 1)
        leader = cluster.leader()
        follower, other = (index for index in range(3) if index != leader)
        fresh = cluster.wait_for(lambda: staleness(cluster, follower).is_success)
        assert fresh
        cluster.pause(leader, other)

        def aged() -> bool:
            return float(staleness(cluster, follower).headers["braft-staleness"]) > 3

        cluster.wait_for(aged, what="it knows that it ages")
        refused = staleness(cluster, follower, max_staleness=2)
        assert refused.status_code == 503
        assert refused.json()["code"] == "too_stale"
        assert staleness(cluster, follower).json() == 1
        cluster.resume(leader, other)
        cluster.wait_for(
            lambda: staleness(cluster, follower, max_staleness=2).is_success,
            what="it is young again",
        )
