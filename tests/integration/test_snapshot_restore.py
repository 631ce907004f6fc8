"""Backup and disaster recovery with real nodes: a new cluster holds all saved data."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from braft_core.errors import BraftError
from braft_testing.processes import ProcessCluster

pytestmark = [pytest.mark.integration]

KEYS = 3_000
WRITERS = 6


def braft(cluster: ProcessCluster, *words: object) -> subprocess.CompletedProcess[str]:
    """Run ``braft`` in the environment and directory of node 0."""
    return subprocess.run(
        [sys.executable, "-m", "braft_core", *map(str, words)],
        env=cluster.environment(0),
        cwd=cluster.nodes[0].directory,
        capture_output=True,
        text=True,
        timeout=120,
    )


def done(result: subprocess.CompletedProcess[str]) -> Any:
    """Return the JSON that a command printed; it must have succeeded."""
    assert result.returncode == 0, result.stderr + result.stdout
    return json.loads(result.stdout)


def fill(cluster: ProcessCluster, first: int, last: int) -> dict[str, int]:
    """Write these numbers from several clients at once; return what is then stored."""

    def write(start: int) -> None:
        client = cluster.client(*cluster.awake)
        for number in range(start, last, WRITERS):
            client.kv_put("m", f"k{number}", number)

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(write, range(first, first + WRITERS)))
    return {f"k{number}": number for number in range(first, last)}


def contents(directory: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}


def why(cluster: ProcessCluster, index: int) -> str:
    """Return why that node says it is not ready; "" while it does not answer."""
    try:
        return cluster.client(index).ready()[1]
    except BraftError:
        return ""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[ProcessCluster]:
    # A long timeout, so that a new election means a disturbance and not just a busy machine.
    with ProcessCluster(3, tmp_path, election_timeout="5s") as nodes:
        yield nodes


def test_a_lost_cluster_comes_back_as_a_new_one(cluster: ProcessCluster, tmp_path: Path) -> None:
    cluster.start()
    cluster.wait_ready()
    expected = fill(cluster, 0, KEYS)
    backup = tmp_path / "backup.snap"
    saved = done(
        braft(cluster, "snapshot", "save", backup, "--url", cluster.nodes[1].url, "--json")
    )
    assert saved["bytes"] == backup.stat().st_size
    old_id = cluster.client(0).status()["clusterID"]
    assert saved["clusterID"] == old_id
    cluster.kill(0, 1, 2)
    old = contents(tmp_path)

    # A flipped bit is found, and existing data is not touched.
    flipped = bytearray(backup.read_bytes())
    flipped[len(flipped) // 2] ^= 1
    (tmp_path / "flipped.snap").write_bytes(flipped)
    new_dir = cluster.nodes[0].directory / "restored"
    restore = ("snapshot", "restore", "--yes", "--json", "--data-dir")
    refused = braft(cluster, *restore, new_dir, tmp_path / "flipped.snap")
    assert refused.returncode == 1
    assert re.search(r"flipped\.snap is damaged in the \d+ bytes from byte \d+", refused.stdout)
    refused = braft(cluster, *restore, cluster.nodes[0].data, backup)
    assert refused.returncode == 1
    assert "is not empty" in refused.stdout
    (tmp_path / "flipped.snap").unlink()
    assert contents(tmp_path) == old

    # One node from the backup, and two empty ones at the addresses of the other two.
    made = done(braft(cluster, *restore, new_dir, backup))
    assert made["address"] == cluster.nodes[0].address
    cluster.start(0, data_dir=new_dir)
    cluster.wait_ready(0)
    assert cluster.client(0).kv_list("m") == expected
    for index in (1, 2):
        cluster.start(index, data_dir=cluster.nodes[index].directory / "blank")
    cluster.wait_for(
        lambda: [m.suffrage for m in cluster.client(0).members()] == ["Voter"] * 3,
        what="three voters",
    )
    cluster.wait_ready()
    for index in range(3):
        client = cluster.client(index)
        assert client.status()["clusterID"] == made["clusterID"] != old_id
        assert client.kv_list("m") == expected
        assert client.kv_put("other", "k", index)

    # A node of the old cluster comes back with its old data and the same discovery.
    members, term = cluster.client(0).members(), _terms(cluster)
    stray = cluster.add_node()
    cluster.start(stray, data_dir=cluster.nodes[1].data)
    met = (made["clusterID"], f"belongs to cluster {old_id}")
    cluster.wait_for(
        lambda: all(word in why(cluster, stray) for word in met), what="it says where it is"
    )
    refusal = f"WrongCluster: .* refuses us: this is cluster {made['clusterID']}, not {old_id}"
    cluster.wait_for(
        lambda: re.search(refusal, cluster.nodes[stray].tail(400)), what="the refusal is in its log"
    )
    assert cluster.client(1).kv_put("m", "after", 1)
    assert cluster.client(2).kv_get("m", "after") == 1
    assert (cluster.client(0).members(), _terms(cluster)) == (members, term)
    assert not cluster.client(stray).ready()[0]


def _terms(cluster: ProcessCluster) -> set[int]:
    """Return the terms of the new cluster's three nodes, as each reports its own.

    A node that takes longer than a second to answer another is shown there without a term.
    """
    return {cluster.client(index).status()["nodes"][0]["term"] for index in range(3)}


@pytest.mark.smoke
def test_a_node_with_a_damaged_snapshot_ends_and_names_the_file(tmp_path: Path) -> None:
    with ProcessCluster(1, tmp_path, snapshot_trailing=1) as cluster:
        cluster.start()
        cluster.wait_ready()
        fill(cluster, 0, 50)
        taken = cluster.client(0).take_snapshot()
        cluster.client(0).kv_put("m", "last", 1)
        cluster.kill(0)
        path = cluster.nodes[0].data / "snapshots" / f"{taken.id}.snap"
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        cluster.start(0)
        assert cluster.wait_exit(0) == 1
        said = cluster.nodes[0].tail()
        assert f"snapshot {path} is damaged in the" in said
        assert "let it join as a new one" in said
        assert "Traceback" not in said
