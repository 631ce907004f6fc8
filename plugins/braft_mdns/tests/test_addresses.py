"""Nodes whose host gets its address late, changes it, or loses its interface for a while."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from braft_core.client import Client
from braft_core.errors import BraftError
from braft_testing.faults import Ability, Cluster, Namespace, Network, Place, survey
from braft_testing.faults.machine import tool
from braft_testing.processes import PATIENCE, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.optional]

PORTS = (15000, 15001, 15002)
ELSEWHERE = "10.77.0.200"


@pytest.fixture
def network() -> Iterator[Network]:
    missing = survey()
    if Ability.NETWORK in missing:
        pytest.skip(f"{Ability.NETWORK.value}: {missing[Ability.NETWORK]}")
    with Network() as made:
        yield made


@pytest.fixture
def cluster(network: Network, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Start three nodes; the test's parameter is ``BRAFT_EXPECT``, default 3."""
    expect = getattr(request, "param", 3)
    with ExitStack() as stack:
        places = []
        for index in range(3):
            namespace = network.add(f"node{index}")
            folder = tmp_path / f"node-{index}"
            places.append(Place(index, namespace.address, PORTS, folder, namespace))
        stack.enter_context(network.add("clients").inside())
        yield stack.enter_context(Cluster(places, 3, discovery="mdns", expect=expect, ip=None))


def namespace_of(cluster: Cluster, index: int) -> Namespace:
    namespace = cluster.places[index].namespace
    assert namespace is not None
    return namespace


def address(namespace: Namespace, what: str, ip: str) -> None:
    tool("ip", "-n", namespace.name, "address", what, f"{ip}/24", "dev", "eth0")


def addresses(client: Client) -> set[str]:
    """Return the addresses of the voters, with "" while the cluster is not healthy."""
    try:
        return {m.address if m.suffrage == "Voter" else "" for m in client.members()}
    except BraftError:
        return {""}


def works(first: Client, second: Client) -> bool:
    """Check that one node reads what another one wrote."""
    try:
        first.kv_put("m", "k", 1)
        second.kv_put("m", "k", 2)
        return bool(first.kv_get("m", "k") == 2)
    except BraftError:
        return False


def after(condition: Callable[[], bool], what: str) -> None:
    began = time.monotonic()
    wait_for(condition, 60, what)
    print(f"{what} after {time.monotonic() - began:.1f} s")


@pytest.mark.parametrize("leads", [True, False], ids=["the leader", "a follower"])
def test_a_member_whose_address_changes_is_soon_back(cluster: Cluster, leads: bool) -> None:
    cluster.start(0, 1, 2)
    cluster.wait_serving(60)
    leader = cluster.leader()
    assert leader is not None
    moving = leader if leads else (leader + 1) % 3
    other = (moving + 1) % 3
    before = {cluster.places[index].address for index in range(3)}
    at = namespace_of(cluster, moving)
    address(at, "delete", at.address)
    address(at, "add", ELSEWHERE)
    expected = before - {cluster.places[moving].address} | {f"{ELSEWHERE}:15000"}
    with Client([f"http://{ELSEWHERE}:15002"], timeout=5) as moved:
        staying = cluster.client(other, PATIENCE)
        after(lambda: addresses(staying) == expected, "the configuration has the new address")
        after(lambda: works(moved, staying), "both serve")
        assert moved.members() == staying.members()


@pytest.mark.parametrize("cluster", [3, None], ids=["expected", "alone at first"], indirect=True)
def test_a_node_that_starts_before_its_host_has_an_address_joins_once_it_has(
    cluster: Cluster,
) -> None:
    late = namespace_of(cluster, 2)
    address(late, "delete", late.address)
    cluster.start(0, 1, 2)
    log = cluster.places[2].log
    wait_for(lambda: log.exists() and "announced on mDNS" in log.read_text(), 60, "it has started")
    address(late, "add", late.address)
    expected = {place.address for place in cluster.places}
    after(lambda: addresses(cluster.client(0)) == expected, "all are voters")
    cluster.wait_serving(60)
    assert works(cluster.client(2, PATIENCE), cluster.client(0, PATIENCE))


def test_a_recreated_interface_is_announced_on(cluster: Cluster, network: Network) -> None:
    """Recreate the interface with the same address; multicast sockets are on the old one."""
    cluster.start(0)
    log = cluster.places[0].log
    wait_for(lambda: log.exists() and "announced on mDNS" in log.read_text(), 60, "it has started")
    at = namespace_of(cluster, 0)
    tool("ip", "-n", at.name, "link", "delete", "eth0")
    network.reconnect(at)
    cluster.start(1, 2)
    after(lambda: cluster.leader() is not None, "the cluster is bootstrapped")
    cluster.wait_serving(60)
