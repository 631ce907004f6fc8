"""Stale reads report their maximum age, which grows on a node without contact to the leader."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from braft_core import Node
from braft_core.errors import InvalidRequest, TooStale
from braft_testing.processes import ProcessCluster, wait_for

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


@contextmanager
def counting(cluster: ProcessCluster, index: int) -> Iterator[list[float]]:
    """Put 1, 2, 3 … one after the other; yield the times of the acknowledgements."""
    acknowledged: list[float] = []
    stop = threading.Event()

    def count() -> None:
        client = cluster.client(index)
        while not stop.is_set():
            client.kv_put("m", "k", len(acknowledged) + 1)
            acknowledged.append(time.monotonic())

    thread = threading.Thread(target=count, daemon=True)
    thread.start()
    try:
        yield acknowledged
    finally:
        stop.set()
        thread.join(60)


def missing(cluster: ProcessCluster, index: int, acknowledged: list[float]) -> tuple[int, float]:
    """Return how many writes older than its bound a stale read lacks, and the bound."""
    asked = time.monotonic()
    answer = staleness(cluster, index)
    bound = float(answer.headers["braft-staleness"])
    promised = sum(1 for when in list(acknowledged) if when < asked - bound)
    shown = int(answer.json()) if answer.is_success else 0  # nothing was written yet
    return max(0, promised - shown), bound


T = TypeVar("T")


def asked_while_it_stands_still(ask: Callable[[], T], resume: Callable[[], None]) -> list[T]:
    """Return a resumed node's first answers: the requests reach its sockets before it goes on."""
    with ThreadPoolExecutor(16) as pool:
        answers = [pool.submit(ask) for _ in range(16)]
        time.sleep(0.3)  # no event shows that they have arrived
        resume()
        return [answer.result() for answer in answers]


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["grpc", "tcp"])
def test_after_a_pause_the_bound_is_as_long_as_the_pause(transport: str, tmp_path: Path) -> None:
    """Messages that a node (stopped by SIGSTOP) finds in its buffers do not count as recent."""
    with ProcessCluster(3, tmp_path, transport=transport) as cluster:
        cluster.start()
        cluster.wait_ready()
        leader = cluster.leader()
        follower = next(index for index in range(3) if index != leader)
        with counting(cluster, leader) as acknowledged:
            for pause in (2.5, 6.0, 2.5):
                cluster.wait_for(
                    lambda: missing(cluster, follower, acknowledged)[1] < 2.5, what="a young state"
                )
                cluster.pause(follower)
                time.sleep(pause)  # what is tried is that time itself
                for lacks, bound in asked_while_it_stands_still(
                    lambda: missing(cluster, follower, acknowledged),
                    lambda: cluster.resume(follower),
                ):
                    assert not lacks, f"{lacks} writes that are older than {bound} s are missing"
                end = time.monotonic() + 2
                while time.monotonic() < end:
                    lacks, bound = missing(cluster, follower, acknowledged)
                    assert not lacks, f"{lacks} writes that are older than {bound} s are missing"
        assert len(acknowledged) > 100


@pytest.mark.slow
@pytest.mark.optional
def test_after_a_suspend_the_bound_is_as_long_as_the_suspend(
    interposed: Callable[..., Any],
) -> None:
    """``CLOCK_MONOTONIC`` stands still in a suspended machine (tikv#964)."""
    with interposed(3) as cluster:
        cluster.start()
        cluster.wait_ready()
        leader = cluster.leader()
        follower = next(index for index in range(3) if index != leader)
        with counting(cluster, leader) as acknowledged:
            cluster.wait_for(lambda: len(acknowledged) > 10, what="some writes")
            with cluster.suspended(follower) as wake:
                time.sleep(8.0)  # what is tried is that time itself
                for lacks, bound in asked_while_it_stands_still(
                    lambda: missing(cluster, follower, acknowledged), wake
                ):
                    assert not lacks, f"{lacks} writes that are older than {bound} s are missing"
            cluster.wait_for(
                lambda: missing(cluster, follower, acknowledged)[1] < 2.5, what="a young state"
            )


@pytest.mark.slow
@pytest.mark.optional
def test_a_suspended_leader_serves_nothing_by_a_lease_that_has_run_out(
    interposed: Callable[..., Any],
) -> None:
    with interposed(3, lease_reads="on") as cluster:
        cluster.start()
        cluster.wait_ready()
        leader = cluster.leader()
        cluster.client(leader).kv_put("m", "k", 1)
        others = [index for index in range(3) if index != leader]
        writer = cluster.client(*others)

        def write() -> None:
            wait_for(lambda: writer.kv_put("m", "k", 2), 30, "another node leads, and writes")

        url = cluster.nodes[leader].url + "/v1/kv/m/k"

        def read() -> Any:
            params = {"consistency": "lease"}
            return httpx.get(url, params=params, trust_env=False, timeout=30).json()

        with cluster.suspended(leader) as wake:
            write()
            answers = asked_while_it_stands_still(read, wake)
        assert answers == [2] * len(answers)
