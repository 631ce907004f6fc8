"""Leases held by real processes that are killed and stopped."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from braft_testing.processes import ProcessCluster, wait_for

pytestmark = pytest.mark.integration

#: A node that holds a lease as soon as there is a file ``hold`` beside its data. It writes the ids
#: of all leases of the cluster into the file ``leases``, again and again.
PROGRAM = """
import json, os, threading, time
from pathlib import Path
from braft_core import BraftError, Node

folder = Path(os.environ["BRAFT_DATA_DIR"]).parent

def write(name, value):
    (folder / f"{name}.new").write_text(json.dumps(value))
    (folder / f"{name}.new").rename(folder / name)

def report(node):
    while True:
        try:
            write("leases", node.query("store", "leases"))
        except BraftError:
            pass
        time.sleep(0.1)

with Node() as node:
    node.wait_ready(120)
    threading.Thread(target=report, args=[node], daemon=True).start()
    while not (folder / "hold").exists():
        time.sleep(0.05)
    lease = node.lease(5).grant()
    node.store.put("owner", str(os.getpid()), lease=lease)
    write("held", lease.id)
    lease.lost.wait()
    write("lost", lease.id)
    while True:
        time.sleep(1)
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """Write the program."""
    path = tmp_path / "holder.py"
    path.write_text(PROGRAM)
    return path


def hold(cluster: ProcessCluster, index: int) -> int:
    """Let a node hold a lease; return its id."""
    folder = cluster.nodes[index].directory
    (folder / "hold").touch()
    wait_for(lambda: (folder / "held").exists(), what="the node holds a lease")
    return int(json.loads((folder / "held").read_text()))


def test_leases_of_killed_and_stopped_processes_end(tmp_path: Path, program: Path) -> None:
    command = [sys.executable, str(program)]
    with ProcessCluster(3, tmp_path, command=command) as cluster:
        cluster.start()
        cluster.wait_ready()
        leader = cluster.leader()
        killed, stopped = (index for index in cluster.running if index != leader)

        def leases() -> list[int]:
            file = cluster.nodes[leader].directory / "leases"
            found: list[int] = json.loads(file.read_text()) if file.exists() else []
            return found

        first = hold(cluster, stopped)
        lost = cluster.nodes[stopped].directory / "lost"
        wait_for(lambda: first in leases(), what="the cluster knows the lease")
        cluster.pause(stopped)
        wait_for(lambda: first not in leases(), what="the lease of the stopped process ends")
        assert not lost.exists()
        cluster.resume(stopped)
        wait_for(lost.exists, what="the process that goes on learns that its lease is lost")

        second = hold(cluster, killed)
        wait_for(lambda: second in leases(), what="the cluster knows the lease")
        cluster.kill(killed)
        wait_for(lambda: second not in leases(), what="the lease of the killed process ends")
