"""A cluster of three, each with the API: what one node does the others show."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from braft_etcd.backend import member_id
from braft_testing.memory_cluster import MemoryCluster
from braft_testing.processes import wait_for


@pytest.fixture
def cluster() -> Iterator[MemoryCluster]:
    """Return a cluster of three nodes that serve the API."""
    with MemoryCluster(3, plugins={"etcd": {"listen": "127.0.0.1:0"}}) as made:
        yield made


def _clients(cluster: MemoryCluster, client: Any) -> list[Any]:
    """Return a client of each node, in the order of their indexes."""
    nodes = [cluster.node(index) for index in range(3)]

    def all_urls() -> dict[str, str]:
        urls = {row[0]: row[2][0] for row in nodes[0].query("store", "members")}
        return urls if len(urls) == 3 else {}

    found = wait_for(all_urls, what="three URLs")
    return [type(client)(found[node.server_id].rpartition("/")[2]) for node in nodes]


def test_one_cluster_from_each_node(cluster: MemoryCluster, client: Any) -> None:
    clients = _clients(cluster, client)
    ids = {member_id(cluster.node(index).server_id) for index in range(3)}
    clusters = set()
    for number, each in enumerate(clients):
        revision = each.call("KV/Put", key=b"k%d" % number)["header"]["revision"]
        for other in clients:
            found = other.call("KV/Range", key=b"k", range_end=b"l")
            assert (found["count"], found["header"]["revision"]) == (number + 1, revision)
            clusters.add(found["header"]["cluster_id"])
        members = each.call("Cluster/MemberList", linearizable=True)["members"]
        assert {member["ID"] for member in members} == ids
        assert len({member["clientURLs"][0] for member in members}) == 3
    assert len(clusters) == 1
    hashes = {each.call("Maintenance/HashKV", revision=revision)["hash"] for each in clients}
    assert len(hashes) == 1

    leader = clients[0].call("Maintenance/Status")["leader"]
    leading = next(i for i in range(3) if member_id(cluster.node(i).server_id) == leader)
    follower = (leading + 1) % 3
    target = member_id(cluster.node(follower).server_id)
    with pytest.raises(grpc.RpcError) as caught:
        clients[follower].call("Maintenance/MoveLeader", targetID=target)
    error: Any = caught.value
    assert error.details() == "etcdserver: not leader"
    clients[leading].call("Maintenance/MoveLeader", targetID=target)
    wait_for(
        lambda: clients[leading].call("Maintenance/Status")["leader"] == target, what="it leads"
    )
    for each in clients:
        each.close()


def test_a_node_without_a_majority_says_that_there_is_no_leader(
    cluster: MemoryCluster, client: Any
) -> None:
    clients = _clients(cluster, client)
    clients[0].call("KV/Put", key=b"a")
    cluster.stop(1, 2)
    wait_for(lambda: cluster.node(0).leader is None, what="the leader is lost")
    demanded = (("hasleader", "true"),)
    with pytest.raises(grpc.RpcError) as caught:
        clients[0].call("KV/Range", key=b"a", serializable=True, metadata=demanded)
    error: Any = caught.value
    assert error.details() == "etcdserver: no leader"
    assert clients[0].call("KV/Range", key=b"a", serializable=True)["count"] == 1
    for each in clients:
        each.close()
