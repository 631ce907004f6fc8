"""Processes die, freeze and return under load: no acknowledged write is lost, no read is stale."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest

from braft_core import Node
from braft_core.client import Client
from braft_core.errors import BraftError, NoLeader, OutcomeUnknown
from braft_testing.load import Load
from braft_testing.processes import HOST, ProcessCluster, free_ports

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("failover")]

WRITERS = 4
#: Seconds within which writes go on under another leader on a busy machine. Benchmarks measure
#: the pause on an idle one.
SOON = 15.0


@contextmanager
def load(cluster: ProcessCluster, *indexes: int) -> Iterator[Load]:
    """Run writers over HTTP, each of which prefers another node."""
    map_name = secrets.token_hex(4)
    order = list(indexes) or [node.index for node in cluster.nodes]
    puts: list[Callable[[str, int], object]] = []
    for number in range(WRITERS):
        turn = number % len(order)
        client = cluster.client(*(order[turn:] + order[:turn]), timeout=3.0)
        puts.append(partial(client.kv_put, map_name))
    with Load(puts, map_name) as running:
        yield running


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessCluster]:
    """Start three nodes for all tests of this file, because starting them takes the most time."""
    with ProcessCluster(3, tmp_path_factory.mktemp("three")) as cluster:
        yield cluster


@pytest.fixture
def three(shared: ProcessCluster) -> ProcessCluster:
    """Restore three serving nodes, whatever the previous test did to them."""
    shared.resume(*(index for index in shared.running if index not in shared.awake))
    for node in shared.nodes:
        if node.index not in shared.running:
            shared.start(node.index)
    shared.wait_ready()
    return shared


def test_kill_the_leader_under_load_twice(three: ProcessCluster) -> None:
    with load(three) as writers:
        for _ in range(2):
            writers.more(100)
            leader = three.leader()
            killed = time.monotonic()
            three.kill(leader)
            writers.more(100)
            assert writers.gap_after(killed) < SOON
            three.start(leader)
            three.wait_ready(leader)
    writers.check(three.client().kv_list(writers.map_name))
    for index in three.awake:  # a node that came back has caught up
        client = three.client(index)
        three.wait_for(partial(_holds, client, writers))
        writers.check(client.kv_list(writers.map_name))


def _holds(client: Client, writers: Load) -> bool:
    return client.kv_list(writers.map_name, "stale").keys() >= writers.acknowledged.keys()


def test_kill_the_leader_under_a_writer_in_another_process(tmp_path: Path) -> None:
    """The writers are threads that call a node of this process, which forwards to the leader."""
    with ProcessCluster(2, tmp_path) as cluster:
        raft, discovery, http = free_ports(3)
        contacts = [node.address for node in cluster.nodes] + [f"{HOST}:{raft}"]
        cluster.start(discovery=f"static:{','.join(contacts)}")
        with Node(
            ip=HOST,
            rport=raft,
            dport=discovery,
            hport=http,
            discovery=f"static:{','.join(contacts)}",
            data_dir=str(tmp_path / "own"),
        ) as node:
            node.wait_ready(40)

            def led_elsewhere() -> list[int]:
                """Return the leading process; transfer again, as a slow successor times out."""
                if node.is_leader:
                    node.transfer_leadership()
                return [n.index for n in cluster.nodes if n.address == (node.leader or ("", ""))[1]]

            (leader,) = cluster.wait_for(led_elsewhere, what="a process leads")
            puts = [
                (lambda key, value: node.kv.put("load", key, value, timeout=20))
                for _ in range(WRITERS)
            ]
            with Load(list(puts)) as writers:
                writers.more(200)
                killed = time.monotonic()
                cluster.kill(leader)
                writers.more(200)
                assert writers.gap_after(killed) < SOON
            writers.check(node.kv.list(writers.map_name))
            assert len(writers.unknown) <= WRITERS * 2, "only what was under way is not known"


def test_power_cycle_of_all_nodes_under_load(three: ProcessCluster) -> None:
    with load(three) as writers:
        writers.more(200)
        three.kill(0, 1, 2)
        three.start()
        three.wait_ready()
        writers.more(50)
    for index in three.awake:
        writers.check(three.client(index).kv_list(writers.map_name))


def test_a_frozen_leader_is_replaced_and_serves_nothing_stale_when_it_wakes(
    three: ProcessCluster,
) -> None:
    leader = three.leader()
    others = [index for index in three.awake if index != leader]
    three.client(leader).kv_put("m", "k", "old")
    url = f"{three.nodes[leader].url}/v1/kv/m/k"
    # An open connection, so that the read is the first input of the resumed node.
    with httpx.Client(trust_env=False, timeout=40) as http:
        assert http.get(url).json() == "old"
        three.pause(leader)
        frozen = time.monotonic()
        three.wait_for(lambda: three.leader() != leader, what="another leader")
        rest = three.client(*others)
        three.wait_for(lambda: rest.kv_put("m", "k", "new"), what="writes go on")
        assert time.monotonic() - frozen < SOON
        answers: list[object] = []

        def read() -> None:
            answers.extend(http.get(url).json() for _ in range(5))

        reader = threading.Thread(target=read)
        reader.start()  # waits in the frozen node's socket
        time.sleep(0.1)
        three.resume(leader)
        reader.join(40)
    assert answers == ["new"] * 5
    client, address = three.client(leader), three.nodes[leader].address
    three.wait_for(lambda: (led_by := client.leader()) is not None and led_by.address != address)
    assert three.client(leader).kv_put("m", "k", "newest")
    assert rest.kv_get("m", "k") == "newest"


def test_a_frozen_follower_is_not_missed_and_catches_up(three: ProcessCluster) -> None:
    for _ in range(3):  # a suspended machine loses its leader as well
        leader = three.leader()
        follower = next(index for index in three.awake if index != leader)
        three.pause(follower)
        with load(three, *three.awake) as writers:
            writers.more(200)
        is_kept = three.leader() == leader
        three.resume(follower)
        writers.check(three.client(follower, timeout=20).kv_list(writers.map_name))
        if is_kept:
            return
    pytest.fail("a frozen follower costs the leader its office")


@pytest.mark.parametrize("how", ["kill", "pause"])
def test_without_a_majority_requests_end_by_their_deadline_and_readyz_names_the_missing(
    three: ProcessCluster, how: str
) -> None:
    left = three.leader()
    gone = [index for index in three.awake if index != left]
    client, hasty = three.client(left), three.client(left, timeout=1.0)
    client.kv_put("m", "k", 1)
    # Wait until this node itself has the value: it may have lost the leadership meanwhile.
    three.wait_for(lambda: client.kv_get("m", "k", "stale") == 1, what="it has the value itself")
    getattr(three, how)(*gone)
    for _ in range(4):
        began = time.monotonic()
        with pytest.raises((NoLeader, OutcomeUnknown)):
            hasty.kv_put("m", "k", 2)
        with pytest.raises((NoLeader, BraftError)):
            hasty.kv_get("m", "k")
        assert time.monotonic() - began < 20.0

    def missing() -> bool:
        ready, why = client.ready()
        named = all(three.nodes[index].address in why for index in gone)
        return not ready and named and "tolerates 1" in why

    def all_in_trouble() -> bool:
        return all(node.get("error") for node in client.status()["nodes"])

    three.wait_for(missing, what="/readyz names the missing")
    assert client.kv_get("m", "k", "stale") == 1
    three.wait_for(all_in_trouble, what="/raft says of each what is wrong")
    assert len(client.status()["nodes"]) == 3
    if how == "kill":
        three.start(*gone)
    else:
        three.resume(*gone)
    three.wait_ready()
    assert three.client(left).kv_get("m", "k") in (1, 2)
    three.client(left).kv_put("m", "k", 3)


def test_a_client_of_all_nodes_never_needs_to_know_who_leads(three: ProcessCluster) -> None:
    client = three.client()
    three.kill(leader := three.leader())
    client.kv_put("m", "k", leader)
    assert client.kv_get("m", "k") == leader
