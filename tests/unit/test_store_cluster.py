"""The store in a cluster: equal on all members, after a snapshot and after a kill too."""

from __future__ import annotations

from typing import Any

from braft_core import Node
from braft_core.cluster.timing import ClusterTiming
from braft_core.runtime.timing import Timing
from braft_core.store import Get, Key, Put
from braft_testing.memory_cluster import MemoryCluster
from braft_testing.processes import PATIENCE

#: Members exchange their digests with probes.
TIMING = Timing(cluster=ClusterTiming(probe_interval=0.05))


def state(node: Node) -> Any:
    return node.query("store", "hash", consistency="stale", timeout=PATIENCE)


def fill(node: Node, begin: int, end: int) -> None:
    for number in range(begin, end):
        node.store.put(f"k/{number:04d}", b"%d" % number, timeout=PATIENCE)
        node.store.put("latest", b"%d" % number, timeout=PATIENCE)


def test_the_members_hold_the_same_store_after_a_snapshot_and_a_kill() -> None:
    # A follower that was away longer than the log's tail gets a snapshot.
    cluster = MemoryCluster(3, snapshot_entries=50, snapshot_trailing=5, timing=TIMING)
    with cluster:
        cluster.wait_ready()
        leader = cluster.leader()
        away, other = cluster.followers_of(leader)
        fill(cluster.node(other), 0, 20)
        cluster.kill(away)
        fill(cluster.node(other), 20, 120)
        node = cluster.node(leader)
        assert node.store.delete(prefix="k/003", timeout=PATIENCE) == 10
        node.store.compact(150, timeout=PATIENCE)
        node.take_snapshot(timeout=PATIENCE)
        fill(node, 120, 130)
        cluster.start(away)
        cluster.wait_ready()
        late = cluster.node(away)
        assert late.store.count("k/", timeout=PATIENCE) == 120
        assert [entry.key for entry in late.store.scan("k/01", page=7, timeout=PATIENCE)] == [
            b"k/%04d" % number for number in range(100, 130)
        ]
        cluster.kill(cluster.leader())
        done = late.store.txn(
            [Key("latest").value == b"129"],
            [Put("latest", b"end"), Get("k/0000")],
            timeout=PATIENCE,
        )
        assert done.succeeded
        cluster.start(*{0, 1, 2} - set(cluster.running))
        cluster.wait_ready()
        cluster.wait_for(lambda: len({tuple(state(node)) for node in cluster.nodes}) == 1)


def test_the_members_compare_digests_of_the_store() -> None:
    with MemoryCluster(2, digest_interval=0.1, timing=TIMING) as cluster:
        cluster.wait_ready()
        fill(cluster.node(0), 0, 20)

        def digests() -> list[dict[int, str]]:
            return [
                {each["index"]: each["services"].get("store", "") for each in shown}
                for shown in (node.details()["stateDigests"] for node in cluster.nodes)
            ]

        def compared() -> bool:
            one, two = digests()
            return any(one[index] for index in one.keys() & two.keys())

        cluster.wait_for(compared)
        one, two = digests()
        assert all(one[index] == two[index] for index in one.keys() & two.keys())
