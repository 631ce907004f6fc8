"""Bootstrap with processes: late starts, foreign nodes, conflicting settings, new members."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from braft_core.abc import StorageOptions
from braft_core.client import Client
from braft_core.storage.sqlite import SQLiteStorage
from braft_testing.processes import HOST, ProcessCluster, free_base_port, wait_for

pytestmark = pytest.mark.integration


def ids(cluster: ProcessCluster) -> set[str]:
    """Return the cluster ids of the running nodes."""
    return {cluster.client(index).status()["clusterID"] for index in cluster.awake}


def serves(cluster: ProcessCluster) -> None:
    """Write to each running node, and read each write from all of them."""
    for writer in cluster.awake:
        cluster.client(writer).kv_put("serves", str(writer), writer)
        for reader in cluster.awake:
            assert cluster.client(reader).kv_get("serves", str(writer)) == writer


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_three_started_together_in_any_order_are_one_cluster(
    tmp_path: Path, order: Sequence[int]
) -> None:
    with ProcessCluster(3, tmp_path) as cluster:
        cluster.start(*order)
        cluster.wait_ready()
        assert len(ids(cluster)) == 1
        serves(cluster)


@pytest.mark.parametrize(
    "stagger", [3.0, pytest.param(20.0, marks=pytest.mark.slow)], ids=lambda s: f"{s:g}s"
)
def test_late_starters_found_the_same_cluster(tmp_path: Path, stagger: float) -> None:
    with ProcessCluster(3, tmp_path) as cluster:
        for index in range(3):
            cluster.start(index)
            end = time.monotonic() + stagger
            if index < 2:
                cluster.wait_for(
                    lambda: f"{index + 1} of 3 nodes are here" in cluster.why_not_ready(0)  # noqa: B023
                )
                client, missing = cluster.client(index), cluster.nodes[2].address
                cluster.wait_for(lambda: missing in cluster.why_not_ready(index))  # noqa: B023
                # Fewer nodes than ``expect`` never bootstrap.
                while time.monotonic() < end:
                    ready, why = client.ready()
                    assert not ready
                    assert missing in why
                    time.sleep(0.05)
        cluster.wait_ready()
        assert len(ids(cluster)) == 1
        serves(cluster)


@pytest.mark.parametrize("listed", ["rport", "dport"])
def test_the_three_terminals_of_the_readme(tmp_path: Path, listed: str) -> None:
    """Run the commands of the README: each with a port and the list of the three nodes."""
    bases = [free_base_port() for _ in range(3)]
    contacts = ",".join(f"{HOST}:{base + (listed == 'dport')}" for base in bases)
    command = [str(Path(sys.executable).with_name("braft"))]
    with ProcessCluster(3, tmp_path, command=command) as cluster:
        for index, base in enumerate(bases):
            cluster.start(
                index,
                discovery=contacts,
                restart_min="10s",
                leader_steady="10s",
                rport=base,
                ip=None,
                dport=None,
                hport=None,
                data_dir=None,
            )
        clients = [Client([f"http://{HOST}:{base + 2}"], timeout=20) for base in bases]
        try:
            for client in clients:
                wait_for(lambda: client.ready()[0], 40)  # noqa: B023
            for writer, reader in itertools.permutations(range(3), 2):
                clients[writer].kv_put("m", "k", [writer, reader])
                assert clients[reader].kv_get("m", "k") == [writer, reader]
            # A node that takes longer than a second to answer is listed without its ports.
            view = wait_for(lambda: _complete(clients[0].status()), what="all tell their ports")
            assert view["nodeNum"] == 3
            assert {node["raftPort"] for node in view["nodes"]} == set(bases)
            assert {n["discoveryPort"] for n in view["nodes"]} == {b + 1 for b in bases}
            assert {n["httpPort"] for n in view["nodes"]} == {b + 2 for b in bases}
        finally:
            for client in clients:
                client.close()
        assert (cluster.nodes[0].directory / "braft-data" / str(bases[0])).is_dir()


def _complete(view: dict[str, Any]) -> dict[str, Any]:
    """Return the view once every member has answered, else an empty one."""
    return view if all(node["pid"] for node in view["nodes"]) else {}


def test_differing_expectations_hold_and_say_why_until_they_agree(tmp_path: Path) -> None:
    with ProcessCluster(3, tmp_path) as cluster:
        cluster.start(0, 1, expect=3)
        cluster.start(2, expect=2)

        def says(index: int, *words: str) -> bool:
            why = cluster.why_not_ready(index)
            return all(word in why for word in ("expect differs", *words))

        cluster.wait_for(lambda: says(0, "expects 2"))
        cluster.wait_for(lambda: says(1))
        cluster.wait_for(lambda: says(2, "expects 3"))

        def viewed() -> bool:
            """Read the view again and again: one late answer makes it call a node silent."""
            view = cluster.client(0).status()
            assert view["clusterID"] == ""
            told = (view["waiting"], view["nodes"][0]["error"])
            return all("expect differs" in sentence for sentence in told)

        cluster.wait_for(viewed)
        cluster.restart(2, expect=3)
        cluster.wait_ready()
        assert len(ids(cluster)) == 1


def test_a_node_of_another_cluster_name_is_not_mixed_in(tmp_path: Path) -> None:
    with ProcessCluster(3, tmp_path) as cluster:
        cluster.start(0, 1, expect=2)
        cluster.start(2, expect=1, cluster_name="other")
        cluster.wait_ready()
        assert len(ids(cluster)) == 2
        for client in (cluster.client(0), cluster.client(2)):
            client.kv_put("m", "k", client.status()["clusterID"])
        mine, other = cluster.client(0).kv_get("m", "k"), cluster.client(2).kv_get("m", "k")
        assert mine == cluster.client(1).kv_get("m", "k") != other
        assert len(cluster.client(0).members()) == 2
        assert len(cluster.client(2).members()) == 1


def test_a_fourth_becomes_a_learner_then_a_voter_and_counts(tmp_path: Path) -> None:
    with ProcessCluster(3, tmp_path) as cluster:
        cluster.start()
        cluster.wait_ready()
        for number in range(50):
            cluster.client(0).kv_put("m", str(number), number)
        fourth = cluster.add_node()
        cluster.start(fourth)
        address = cluster.nodes[fourth].address

        def seen() -> list[str]:
            """Return its suffrages as node 0 logged them: polling might miss the first one."""
            log = cluster.nodes[0].log.read_text()
            return list(dict.fromkeys(re.findall(rf" at {re.escape(address)} \((\w+)\)", log)))

        cluster.wait_for(lambda: "Voter" in seen(), what="the fourth is a voter")
        assert seen() == ["Nonvoter", "Voter"]
        cluster.wait_ready(fourth)
        assert len(cluster.client(fourth).kv_list("m")) == 50
        cluster.kill(*[i for i in (0, 1, 2) if i != cluster.leader()][:1])
        cluster.client(fourth).kv_put("m", "k", "three of four")
        assert len(ids(cluster)) == 1


def test_a_member_that_lost_its_data_is_refused_with_advice(tmp_path: Path) -> None:
    with ProcessCluster(3, tmp_path) as cluster:
        cluster.start()
        cluster.wait_ready()
        victim = next(index for index in cluster.awake if index != cluster.leader())
        client = cluster.client(*(index for index in range(3) if index != victim))
        client.kv_put("m", "k", 1)
        cluster.kill(victim)
        data = cluster.nodes[victim].data
        server_id = _forget_all_but_the_id(data, data.with_name("old"))
        cluster.start(victim)
        words = ("has lost its data", f"braft members remove {server_id}")

        def refused() -> bool:
            why = cluster.why_not_ready(victim)
            return all(word in why for word in words)

        cluster.wait_for(refused, what="it is refused")
        assert client.kv_put("m", "k", 2)

        # Do what the message says: the node rejoins as a new one and becomes a voter.
        cluster.kill(victim)
        os.rename(data, data.with_name("wiped"))
        client.remove_member(server_id)
        cluster.start(victim)
        cluster.wait_ready(victim)
        assert cluster.client(victim).kv_get("m", "k") == 2
        cluster.wait_for(
            lambda: [m.suffrage for m in client.members()] == ["Voter"] * 3, what="three voters"
        )


def _forget_all_but_the_id(data: Path, old: Path) -> str:
    """Make a store at ``data`` that holds the same server id and nothing else; return the id."""
    os.rename(data, old)
    ids = []
    for path, wanted in ((old, None), (data, "server_id")):
        store = SQLiteStorage(StorageOptions(path))
        store.open()
        if wanted is None:
            ids.append(store.get_meta("server_id"))
        else:
            store.set_meta({wanted: ids[0]})
        store.close()
    assert ids[0] is not None
    return ids[0].decode()


def test_all_members_come_back_at_new_addresses_at_once(tmp_path: Path) -> None:
    """Roll out with the same data and new ports; nodes find each other by the static list alone."""
    with ProcessCluster(3, tmp_path) as cluster:
        cluster.start()
        cluster.wait_ready()
        cluster.client(0).kv_put("m", "k", 1)
        for index in range(3):
            assert cluster.stop(index) == 0
            cluster.move(index)
        cluster.start()
        cluster.wait_ready()
        client = cluster.client(0)
        assert client.kv_get("m", "k") == 1
        client.kv_put("m", "k", 2)
        addresses = {node.address for node in cluster.nodes}
        wait_for(lambda: {m.address for m in client.members()} == addresses)


@pytest.mark.smoke
def test_the_whole_start_from_the_command_line(tmp_path: Path) -> None:
    """Start nodes by ``braft run --option`` and query them by the command line."""
    with ProcessCluster(1, tmp_path) as cluster:
        cluster.start()
        cluster.wait_ready()
        environment = cluster.environment(0)
        braft = str(Path(sys.executable).with_name("braft"))

        def ask(*words: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [braft, *words], env=environment, capture_output=True, text=True, timeout=60
            )

        assert ask("kv", "put", "m", "k", "v").returncode == 0
        got = ask("kv", "get", "m", "k")
        assert (got.returncode, got.stdout.strip()) == (0, "v")
        assert ask("kv", "get", "m", "nothing").returncode == 1
