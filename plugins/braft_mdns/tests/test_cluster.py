"""Three nodes with only ``mdns`` set, each in a network namespace on one bridge."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from braft_core.errors import BraftError
from braft_testing.faults import Ability, Cluster, Network, Place, survey
from braft_testing.processes import PATIENCE, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.optional]

PORTS = (15000, 15001, 15002)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    missing = survey()
    if Ability.NETWORK in missing:
        pytest.skip(f"{Ability.NETWORK.value}: {missing[Ability.NETWORK]}")
    with ExitStack() as stack:
        network = stack.enter_context(Network())
        places = []
        for index in range(4):
            namespace = network.add(f"node{index}")
            folder = tmp_path / f"node-{index}"
            places.append(Place(index, namespace.address, PORTS, folder, namespace))
        stack.enter_context(network.add("clients").inside())
        # As for an ordinary user, BRAFT_EXPECT and the address are not set.
        yield stack.enter_context(Cluster(places, 3, discovery="mdns", expect=None, ip=None))


def members(cluster: Cluster) -> int:
    """Return the number of voters of the cluster, 0 while there are several clusters or none."""
    try:
        ids = {cluster.client(index).status()["clusterID"] for index in cluster.running}
        voters = [m for m in cluster.client(0).members() if m.suffrage == "Voter"]
    except BraftError:
        return 0
    return len(voters) if len(ids) == 1 else 0


def test_three_find_each_other_a_fourth_joins_and_one_is_killed(cluster: Cluster) -> None:
    began = time.monotonic()
    cluster.start(0, 1, 2)
    cluster.wait_answering(60)
    answering = time.monotonic()
    cluster.wait_serving(60)
    serving = time.monotonic()
    print(
        f"processes answer after {answering - began:.1f} s, serve {serving - answering:.1f} later"
    )
    wait_for(lambda: members(cluster) == 3, 60, "the three are one cluster of voters")
    cluster.client(0, PATIENCE).kv_put("m", "k", 1)
    cluster.start(3)
    wait_for(lambda: members(cluster) == 4, 60, "the fourth has joined")
    assert cluster.client(3, PATIENCE).kv_get("m", "k") == 1
    cluster.kill(1)
    cluster.wait_serving(60, [0, 2, 3])
    assert cluster.client(2, PATIENCE).kv_get("m", "k") == 1
