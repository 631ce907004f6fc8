"""Processes of clusters that grow and shrink, and of nodes of other clusters."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest

from braft_core import Node
from braft_core.client import Client
from braft_core.runtime.timing import Timing
from braft_testing.internals import with_timing
from braft_testing.processes import HOST, ProcessCluster, free_ports

pytestmark = pytest.mark.integration


def voters(client: Client) -> set[str]:
    return {member.address for member in client.members() if member.suffrage == "Voter"}


def addresses(cluster: ProcessCluster, *indexes: int) -> set[str]:
    return {cluster.nodes[index].address for index in indexes}


@contextmanager
def writing(client: Client) -> Iterator[list[int]]:
    """Run one writer, any error of which fails the test; yield what was acknowledged."""
    acknowledged: list[int] = []
    over, trouble = threading.Event(), list[BaseException]()

    def write() -> None:
        number = 0
        try:
            while not over.is_set():
                client.kv_put("load", str(number), number)
                acknowledged.append(number)
                number += 1
        except BaseException as error:  # noqa: BLE001 - it is raised below
            trouble.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield acknowledged
    finally:
        over.set()
        thread.join(60)
    if trouble:
        raise trouble[0]


def test_three_become_five_and_three_again_under_load(tmp_path: Path) -> None:
    with ProcessCluster(3, tmp_path, autopilot="off") as cluster:
        cluster.start()
        cluster.wait_ready()
        # Through the nodes that stay, with no retries but the client's own.
        client = cluster.client(0, 1, timeout=20)
        with writing(client) as acknowledged:
            for index in (cluster.add_node(), cluster.add_node()):
                cluster.start(index)
                cluster.wait_for(
                    lambda index=index: addresses(cluster, index) <= voters(client),  # type: ignore[misc]
                    what=f"node {index} is a voter",
                )
            cluster.wait_for(lambda: len(voters(client)) == 5, what="five voters")
            for gone in (2, 3):
                member = next(
                    m for m in client.members() if m.address == cluster.nodes[gone].address
                )
                client.remove_member(member.id)
                cluster.wait_for(
                    lambda gone=gone: "was removed from cluster" in cluster.why_not_ready(gone),  # type: ignore[misc]
                    what="it knows",
                )
                assert cluster.stop(gone) == 0
            seen = len(acknowledged)
            cluster.wait_for(lambda: len(acknowledged) > seen, what="writes go on")
        cluster.wait_for(
            lambda: voters(client) == addresses(cluster, 0, 1, 4), what="three voters again"
        )
        found = cluster.client(4).kv_list("load")
        assert set(found.values()) >= set(acknowledged)


def test_down_to_one_by_leaving_and_up_again(tmp_path: Path) -> None:
    with ProcessCluster(3, tmp_path, autopilot="off") as cluster:
        cluster.start()
        cluster.wait_ready()
        last = cluster.leader()
        client = cluster.client(last, timeout=20)
        client.kv_put("m", "k", 3)
        leaving = [index for index in range(3) if index != last]
        for index in leaving:
            address = cluster.nodes[index].address
            client.remove_member(next(m.id for m in client.members() if m.address == address))
            assert cluster.stop(index) == 0
        assert voters(client) == addresses(cluster, last)
        client.kv_put("m", "k", 1)
        assert client.kv_get("m", "k") == 1
        # The last member cannot be removed, and a new server may join.
        refused = httpx.delete(
            f"{cluster.nodes[last].url}/v1/members/{client.members()[0].id}",
            trust_env=False,
            timeout=20,
        )
        assert refused.status_code == 422
        assert "the last voter" in refused.text
        for index in leaving:
            shutil.rmtree(cluster.nodes[index].data)
            cluster.start(index)
        cluster.wait_for(
            lambda: voters(client) == addresses(cluster, 0, 1, 2), what="three voters again"
        )
        assert cluster.client(leaving[0]).kv_get("m", "k") == 1


def test_a_node_that_forgets_leaves_when_it_stops(tmp_path: Path) -> None:
    """The node runs in this process, where the test can extend its timeout for leaving."""
    with ProcessCluster(3, tmp_path, autopilot="off") as cluster:
        cluster.start()
        cluster.wait_ready()
        raft, discovery, http = free_ports(3)
        contacts = ",".join(node.address for node in cluster.nodes)
        fourth = Node(
            ip=HOST,
            rport=raft,
            dport=discovery,
            hport=http,
            discovery=f"static:{contacts}",
            data_dir=":memory:",
        )
        with_timing(fourth, Timing(hand_over=30.0, server_stop=60.0))
        client = cluster.client(0)
        with fourth:
            cluster.wait_for(lambda: len(voters(client)) == 4, what="it is a voter")
        cluster.wait_for(lambda: voters(client) == addresses(cluster, 0, 1, 2), what="it has left")


def test_two_nodes_with_one_id_found_nothing_and_say_why(tmp_path: Path) -> None:
    """A copied data directory is the commonest cause of a duplicate server id."""
    with ProcessCluster(3, tmp_path) as cluster:
        cluster.start(0)
        cluster.wait_for(
            lambda: "nodes are here" in cluster.why_not_ready(0), what="it has made its id"
        )
        cluster.kill(0)
        shutil.copytree(cluster.nodes[0].data, cluster.nodes[1].data)
        cluster.start()

        words = ["ids must differ", *(cluster.nodes[copy].address for copy in (0, 1))]

        def says_why(index: int) -> bool:
            why = cluster.why_not_ready(index)
            return all(word in why for word in words)

        for index in range(3):
            cluster.wait_for(partial(says_why, index), what=f"node {index} says why")
        cluster.kill(1)
        shutil.rmtree(cluster.nodes[1].data)
        cluster.start(1)
        cluster.wait_ready()


def test_clusters_that_meet_keep_their_data_and_name_each_other(tmp_path: Path) -> None:
    with ProcessCluster(2, tmp_path, autopilot="off") as cluster:
        own = {i: f"static:{cluster.nodes[i].address}" for i in (0, 1)}
        for index in (0, 1):
            cluster.start(index, discovery=own[index], expect=1)
        cluster.wait_ready()
        for index in (0, 1):
            cluster.client(index).kv_put("m", "k", index)
        cluster.stop(1)
        both = f"static:{cluster.nodes[0].address},{cluster.nodes[1].address}"
        cluster.start(1, discovery=both, expect=1)
        cluster.wait_ready()

        def rivals() -> list[str]:
            (node,) = cluster.client(1).status()["nodes"]
            return [rival["address"] for rival in node["foreign"]]

        cluster.wait_for(
            lambda: rivals() == [cluster.nodes[0].address], what="it has seen the other"
        )
        assert [cluster.client(index).kv_get("m", "k") for index in (0, 1)] == [0, 1]
        assert cluster.client(0).status()["clusterID"] != cluster.client(1).status()["clusterID"]


def test_without_a_leader_for_restart_min_a_node_searches_and_says_so(tmp_path: Path) -> None:
    with ProcessCluster(3, tmp_path, restart_min="3s", autopilot="off") as cluster:
        cluster.start()
        cluster.wait_ready()
        cluster.kill(1, 2)
        cluster.wait_for(lambda: "2 of 3 voters do not answer" in cluster.why_not_ready(0))
        cluster.wait_for(lambda: "searching discovery" in cluster.why_not_ready(0))
        said = "searching discovery for their new addresses"
        cluster.wait_for(
            lambda: said in cluster.nodes[0].log.read_text(), what="the log says so, too"
        )
        cluster.start(1)
        cluster.wait_ready()
