"""Processes of members that die, freeze, flap and return, and what the autopilot does.

``tests/unit/cluster/test_autopilot.py`` tests each rule by itself.
"""

from __future__ import annotations

import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import httpx
import pytest

from braft_core.client import Client
from braft_testing.processes import ProcessCluster, wait_for

pytestmark = pytest.mark.integration

#: Seconds without contact after which a member of these clusters is dead.
DEAD_AFTER = 5.0
QUICK = {"leader_steady": "1s", "dead_after": f"{DEAD_AFTER:g}s"}


@lru_cache(maxsize=16)
def asking(cluster: ProcessCluster, *indexes: int) -> Client:
    """Return one client for all polls of these nodes: each new client would open a connection."""
    return cluster.client(*indexes)


def voters(cluster: ProcessCluster) -> set[str]:
    """Return the addresses of the voters, as one of the running nodes reports them."""
    return voters_of(asking(cluster, *cluster.awake))


def voters_of(client: Client) -> set[str]:
    """Return the addresses of the voters, as one of the client's nodes reports them."""
    return {m.address for m in client.members() if m.suffrage == "Voter"}


def autopilot(cluster: ProcessCluster) -> dict[str, Any]:
    """Wait for the autopilot's state: a node that finds no leader does not show it."""
    return cluster.wait_for(
        lambda: dict(asking(cluster, *cluster.awake).status()["autopilot"]),
        what="the leader tells",
    )


def everybody(cluster: ProcessCluster) -> set[str]:
    return {node.address for node in cluster.nodes}


def test_a_dead_member_is_removed_and_its_return_is_unremarkable(tmp_path: Path) -> None:
    with ProcessCluster(3, tmp_path, **QUICK) as cluster:
        cluster.start()
        cluster.wait_ready()
        leader = cluster.leader()
        gone = (leader + 1) % 3
        cluster.client(leader).kv_put("m", "before", 1)
        cluster.kill(gone)
        left = everybody(cluster) - {cluster.nodes[gone].address}
        cluster.wait_for(lambda: voters(cluster) == left, what="the dead member is removed")
        (row,) = cluster.wait_for(lambda: autopilot(cluster)["removed"], what="it is remembered")
        assert row["address"] == cluster.nodes[gone].address
        assert "silent for" in row["reason"]
        # Both remaining voters are up, so writes go on.
        cluster.client(leader).kv_put("m", "meanwhile", 2)
        cluster.start(gone)
        cluster.wait_for(lambda: voters(cluster) == everybody(cluster), what="it is a voter again")
        cluster.wait_ready()
        assert cluster.client(gone).kv_get("m", "meanwhile") == 2
        cluster.wait_for(lambda: not autopilot(cluster)["removed"], what="it is no more missed")


@pytest.mark.slow
@pytest.mark.parametrize(("transport", "first"), [("grpc", "without"), ("tcp", "with")])
def test_a_rolling_change_of_tls_removes_nobody(
    tmp_path: Path, certificate: tuple[Path, Path], transport: str, first: str
) -> None:
    """One step, in both directions, takes longer than ``dead_after``."""
    if transport == "tcp":
        pytest.importorskip("braft_tcp")
    cert, key = certificate
    tls = {"tls_ca": cert, "tls_cert": cert, "tls_key": key}
    before, after = (tls, {}) if first == "with" else ({}, tls)
    # Longer than a process takes to start, however busy the machine is.
    rules = {**QUICK, "dead_after": "20s"}
    with ProcessCluster(3, tmp_path, transport=transport, **rules) as cluster:
        cluster.start(**before)
        cluster.wait_ready()
        leader = cluster.leader()
        changed = (leader + 1) % 3
        cluster.stop(changed)
        cluster.start(changed, **after)
        asked = asking(cluster, *(index for index in range(3) if index != changed))

        def decision() -> dict[str, Any]:
            found = dict(asked.status()["autopilot"])
            return found if found.get("verdict") == "not understood" else {}

        found = wait_for(decision, 90, what="the leader finds a member that speaks otherwise")
        assert min(found["silent"].values()) >= 20
        assert cluster.nodes[changed].address in found["reason"]
        assert not found["removed"]
        assert voters_of(asked) == everybody(cluster)
        cluster.stop(changed)
        cluster.start(changed, **before)
        cluster.wait_ready()
        assert voters(cluster) == everybody(cluster)


def test_who_was_dead_once_can_be_removed_for_good(tmp_path: Path) -> None:
    with ProcessCluster(3, tmp_path, **QUICK) as cluster:
        cluster.start()
        cluster.wait_ready()
        leader = cluster.leader()
        gone = (leader + 1) % 3
        left = everybody(cluster) - {cluster.nodes[gone].address}
        cluster.kill(gone)
        cluster.wait_for(lambda: voters(cluster) == left, what="the dead member is removed")
        cluster.start(gone)
        # Ask the others: the restarted node begins with the configuration it had when it died.
        client = cluster.client(*(index for index in range(3) if index != gone))
        cluster.wait_for(lambda: voters_of(client) == everybody(cluster), what="a voter again")
        members = {member.address: member.id for member in client.members()}
        client.remove_member(members[cluster.nodes[gone].address])

        def knows() -> bool:
            """Check that the removed node reports its removal and what to do."""
            answer = httpx.get(f"{cluster.nodes[gone].url}/raft", trust_env=False, timeout=40)
            return "start it with an empty data directory" in answer.text

        cluster.wait_for(knows, what="it is told that it is out")
        assert {member.address for member in client.members()} == left


def test_dry_run_shows_its_decision_and_removes_nobody(tmp_path: Path) -> None:
    with ProcessCluster(3, tmp_path, **QUICK, autopilot="dry-run") as cluster:
        cluster.start()
        cluster.wait_ready()
        gone = (cluster.leader() + 1) % 3
        cluster.kill(gone)

        def would_remove() -> dict[str, Any]:
            found = autopilot(cluster)
            return found if found["verdict"] == "remove" else {}

        report = cluster.wait_for(would_remove, what="it would")
        assert cluster.nodes[gone].address in report["reason"]
        assert report["mode"] == "dry-run"
        cluster.wait_for(lambda: autopilot(cluster)["since"] > 2, what="it has not for two seconds")
        assert voters(cluster) == everybody(cluster)


def test_a_flapping_member_stays(tmp_path: Path) -> None:
    with ProcessCluster(3, tmp_path, leader_steady="0", dead_after="15s") as cluster:
        cluster.start()
        cluster.wait_ready()
        flapping = (cluster.leader() + 1) % 3
        for _ in range(3):
            cluster.pause(flapping)
            cluster.wait_for(
                lambda: autopilot(cluster)["verdict"] == "silent", what="its silence is seen"
            )
            cluster.resume(flapping)
            cluster.wait_for(
                lambda: autopilot(cluster)["verdict"] == "healthy", what="its return is seen"
            )
        assert voters(cluster) == everybody(cluster)
        assert autopilot(cluster)["removed"] == []


def test_an_outage_of_all_removes_nobody(tmp_path: Path) -> None:
    with ProcessCluster(3, tmp_path, **QUICK) as cluster:
        cluster.start()
        cluster.wait_ready()
        cluster.client(0).kv_put("m", "k", 1)
        cluster.pause(0, 1, 2)
        began = time.monotonic()
        cluster.wait_for(
            lambda: time.monotonic() - began > 2 * DEAD_AFTER, what="longer than a death takes"
        )
        cluster.resume(0, 1, 2)
        cluster.wait_ready()
        assert voters(cluster) == everybody(cluster)
        cluster.wait_for(lambda: autopilot(cluster)["verdict"] == "healthy", what="all is well")
        assert autopilot(cluster)["removed"] == []
        assert cluster.client(1).kv_get("m", "k") == 1


def test_with_two_of_four_gone_nobody_is_removed(tmp_path: Path) -> None:
    with ProcessCluster(4, tmp_path, **QUICK) as cluster:
        cluster.start()
        cluster.wait_ready()
        leader = cluster.leader()
        gone = [index for index in range(4) if index != leader][:2]
        cluster.kill(*gone)
        left = cluster.awake

        def nobody_leads() -> bool:
            return not any(asking(cluster, index).ready()[0] for index in left)

        cluster.wait_for(nobody_leads, what="two of four are no majority")
        began = time.monotonic()
        cluster.wait_for(
            lambda: time.monotonic() - began > 2 * DEAD_AFTER, what="longer than a death takes"
        )
        cluster.start(*gone)
        cluster.wait_ready()
        assert voters(cluster) == everybody(cluster)
