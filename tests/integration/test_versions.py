"""A member that lacks a service, used by the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from braft_core.client import Client
from braft_core.errors import BraftError
from braft_testing.processes import ProcessCluster

pytestmark = pytest.mark.integration


def braft(*args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "braft_core", *args]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("transport", ["grpc", "tcp"])
def test_a_leader_without_a_service_does_not_make_the_others_differ(
    transport: str, tmp_path: Path
) -> None:
    with ProcessCluster(3, tmp_path, transport=transport, autopilot="off") as cluster:
        cluster.start(0, 1)
        cluster.start(2, services="distribute")
        cluster.wait_ready()
        poor = cluster.nodes[2]
        cluster.wait_for(lambda: make_leader(cluster, 2), what="node 2 leads")
        put = braft("kv", "put", "m", "k", "1", "--url", cluster.nodes[0].url, cwd=tmp_path)
        assert put.returncode == 1
        assert poor.address in put.stderr
        assert "lacks service 'kv'" in put.stderr
        for index in (0, 1):
            url = cluster.nodes[index].url
            read = braft("kv", "get", "m", "k", "--url", url, "--json", cwd=tmp_path)
            assert read.returncode == 1, read.stdout
        report = braft("doctor", "--url", cluster.nodes[0].url, "--json", cwd=tmp_path)
        findings = json.loads(report.stdout)["findings"]
        assert any("lacks service 'kv'" in finding["message"] for finding in findings)
        cluster.restart(2)
        cluster.wait_ready()
        cluster.wait_for(lambda: cluster.client().kv_put("m", "k", 2), what="kv is there again")
        for node in cluster.nodes:
            assert cluster.client(node.index).kv_get("m", "k") == 2


def make_leader(cluster: ProcessCluster, index: int) -> bool:
    """Request a transfer; return whether the node leads."""
    if cluster.leader() != index:
        client: Client = cluster.client()
        members = {m.address: m.id for m in client.members()}
        try:
            client.transfer_leadership(members[cluster.nodes[index].address])
        except BraftError:
            return False
    return cluster.leader() == index
