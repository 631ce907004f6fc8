"""Nodes detect and report differing states, and those in the minority refuse reads."""

from __future__ import annotations

import logging
from collections import deque
from typing import Any, ClassVar

import pytest

from braft_core import Node, StateMachineService, command, query
from braft_core.cluster.timing import ClusterTiming
from braft_core.errors import NotReady
from braft_core.runtime.timing import Timing
from braft_core.storage.memory import MemoryDisk
from braft_testing.memory_cluster import MemoryCluster
from braft_testing.processes import PATIENCE


class Biased(StateMachineService):
    """A non-deterministic service: each instance adds its own error."""

    name = "biased"
    #: Errors of the next instances.
    biases: ClassVar[deque[int]] = deque()

    def __init__(self) -> None:
        self.total = 0
        self.bias = self.biases.popleft() if self.biases else 0

    @command
    def add(self, amount: int) -> None:
        self.total += amount + self.bias

    @query
    def value(self) -> int:
        return self.total

    def dump(self) -> Any:
        return self.total

    def load(self, value: Any) -> None:
        self.total = value


#: Members exchange their digests with probes.
QUICK_PROBES = Timing(cluster=ClusterTiming(probe_interval=0.05))


def biased(*biases: int, later: tuple[int, ...] = (), **settings: Any) -> MemoryCluster:
    """Start a cluster of nodes with these errors; ``later`` has those of restarted nodes."""
    Biased.biases = deque([*biases, *later])
    settings = {"digest_interval": 0.1, **settings}
    return MemoryCluster(len(biases), services=[Biased, "kv"], timing=QUICK_PROBES, **settings)


def digests(node: Node, service: str) -> dict[int, str]:
    """Return the digests by index that `GET /raft` shows of this node."""
    shown = node.details()["stateDigests"]
    return {each["index"]: each["services"].get(service, "") for each in shown}


def at_equal_indexes(cluster: MemoryCluster, service: str) -> list[str]:
    """Return the digests of all nodes at the newest index that all have."""
    known = [digests(node, service) for node in cluster.nodes]
    common = set.intersection(*(set(each) for each in known))
    return [each[max(common)] for each in known] if common else []


def note(cluster: MemoryCluster, node: Node, part: str) -> str:
    """Return the node's message about the states, once it contains this part."""

    def said() -> str:
        sentence = node.notes().get("state", "")
        return sentence if part in sentence else ""

    return cluster.wait_for(said, what=f"{node.address} says {part!r}")


def value(node: Node, **how: Any) -> int:
    found: int = node.query("biased", "value", timeout=PATIENCE, **how)
    return found


def test_equal_states_have_equal_digests_and_nobody_complains() -> None:
    with biased(0, 0, 0) as cluster:
        cluster.node(0).execute("biased", "add", 5, timeout=PATIENCE)
        cluster.node(1).kv.put("m", "k", {"a": [1, 2], "b": None}, timeout=PATIENCE)
        found = cluster.wait_for(lambda: at_equal_indexes(cluster, "kv"))
        assert len(set(found)) == 1
        assert len(set(cluster.wait_for(lambda: at_equal_indexes(cluster, "biased")))) == 1
        assert len(set(cluster.wait_for(lambda: at_equal_indexes(cluster, "$sessions")))) == 1
        assert all("state" not in node.notes() for node in cluster.nodes)
        assert all(node.ready()[0] for node in cluster.nodes)


def test_the_minority_is_named_everywhere_and_serves_no_reads(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with biased(0, 0, 1) as cluster, caplog.at_level(logging.ERROR):
        odd = cluster.node(2)
        if cluster.leader() != 2:
            cluster.node(cluster.leader()).transfer_leadership(odd.server_id, timeout=PATIENCE)
        cluster.node(0).execute("biased", "add", 5, timeout=PATIENCE)
        cluster.wait_for(lambda: not odd.ready()[0], what="the odd one refuses")
        cluster.wait_for(lambda: cluster.leader((0, 1)) in (0, 1), what="another one leads")
        for node in cluster.nodes:
            said = note(cluster, node, "diverged")
            assert said.startswith("the states of biased differ at entry"), said
            assert f"at {odd.address} diverged from the majority" in said
        for consistency in ("linearizable", "lease", "stale"):
            with pytest.raises(NotReady, match="not that of the majority"):
                odd.query("biased", "value", consistency=consistency, timeout=PATIENCE)
        with pytest.raises(NotReady, match="no snapshot can be taken"):
            odd.take_snapshot()
        assert "'biased' is not that of the majority" in odd.ready()[1]
        assert [value(node) for node in (cluster.node(0), cluster.node(1))] == [5, 5]
        # It still takes commands: the leader answers them.
        assert odd.kv.put("m", "k", 1, timeout=PATIENCE) > 0
    lines = [r.getMessage() for r in caplog.records if "states of biased differ" in r.getMessage()]
    assert all(lines.count(line) <= 3 for line in lines), "each node logs each difference once"


def test_a_restart_does_not_make_a_diverged_node_serve() -> None:
    with biased(0, 0, 1, later=(1,)) as cluster:
        cluster.node(0).execute("biased", "add", 5, timeout=PATIENCE)
        cluster.wait_for(lambda: not cluster.node(2).ready()[0])
        cluster.restart(2)
        cluster.wait_for(
            lambda: "not that of the majority" in cluster.node(2).ready()[1], what="refuses again"
        )


def test_a_node_that_joins_again_with_an_empty_directory_serves() -> None:
    with biased(0, 0, 1) as cluster:
        cluster.node(0).execute("biased", "add", 5, timeout=PATIENCE)
        cluster.wait_for(lambda: not cluster.node(2).ready()[0])
        former = cluster.node(2).server_id
        cluster.kill(2)
        cluster._disks[2] = MemoryDisk()
        cluster.wait_for(lambda: cluster.leader((0, 1)) in (0, 1))
        cluster.node(0).remove_member(former, timeout=PATIENCE)
        cluster.start(2)
        cluster.wait_ready()
        cluster.node(0).execute("biased", "add", 1, timeout=PATIENCE)
        assert [value(node) for node in cluster.nodes] == [6, 6, 6]
        cluster.wait_for(lambda: not any("state" in node.notes() for node in cluster.nodes))


def test_without_a_majority_all_say_so_and_all_go_on() -> None:
    with biased(0, 1) as cluster:
        cluster.node(0).execute("biased", "add", 5, timeout=PATIENCE)
        for node in cluster.nodes:
            note(cluster, node, "no majority of the voters agrees")
            assert node.ready()[0]
            assert value(node) in (5, 6)


def test_a_node_where_it_is_off_has_no_digests() -> None:
    with biased(0, digest_interval=0) as cluster:
        cluster.node(0).kv.put("m", "k", 1, timeout=PATIENCE)
        assert cluster.node(0).details()["stateDigests"] == []
