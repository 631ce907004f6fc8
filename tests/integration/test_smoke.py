"""Smoke tests with real processes: a cluster forms, serves, and survives its leader.

They belong to ``make test`` and wait for conditions only, however busy the machine is. The other
files of this folder belong to ``make test-all``.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from braft_testing.faults import Options, run
from braft_testing.processes import PATIENCE, ProcessCluster

pytestmark = [pytest.mark.integration, pytest.mark.smoke]


@pytest.mark.parametrize("transport", ["grpc", "tcp"])
def test_a_cluster_forms_serves_and_survives_its_leader(tmp_path: Path, transport: str) -> None:
    with ProcessCluster(3, tmp_path, transport=transport) as cluster:
        cluster.start()
        cluster.wait_ready()
        clients = [cluster.client(index, timeout=PATIENCE) for index in range(3)]
        for index, client in enumerate(clients):
            cluster.wait_for(
                lambda client=client, index=index: client.kv_put("m", str(index), index),  # type: ignore[misc]
                what=f"node {index} takes a write",
            )
            for reader in clients:
                assert reader.kv_get("m", str(index)) == index
        leader = cluster.leader()
        cluster.kill(leader)
        survivors = [client for index, client in enumerate(clients) if index != leader]
        cluster.wait_for(lambda: survivors[0].kv_put("m", "after", leader), what="writes go on")
        expected = {"0": 0, "1": 1, "2": 2, "after": leader}
        for client in survivors:
            assert client.kv_list("m") == expected
        cluster.start(leader)
        cluster.wait_ready()
        assert clients[leader].kv_list("m") == expected
        assert len({client.status()["clusterID"] for client in clients}) == 1


def test_a_fault_is_made_healed_and_judged(tmp_path: Path) -> None:
    report = run(
        Options(
            seed=1,
            directory=tmp_path,
            seconds=600.0,
            faults=1,
            kinds=["kill leader"],
            loopback=True,
            hold=(0.1, 0.2),
            deadline=120.0,
        )
    )
    assert report.passed, [*report.problems, *map(str, report.violations), *report.undecided]
    assert [entry.fault.kind for entry in report.entries] == ["kill leader"]
    assert report.checked["nodes hold the same state"] == 3
