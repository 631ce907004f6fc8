"""Nodes of different versions in one cluster: their states agree, and they report why they wait.

Two cases: a member without a service leads, and a client uses a command before every member
knows it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from braft_core import Node, StateMachineService, command, query
from braft_core.errors import (
    BraftError,
    NotApplied,
    NotReady,
    NotSupported,
    OutcomeUnknown,
    UnknownCommand,
    UnknownService,
)
from braft_core.raft import EntryType
from braft_core.services.cluster import is_agreement
from braft_core.services.envelope import encode_command
from braft_testing.internals import internals
from braft_testing.memory_cluster import MemoryCluster
from braft_testing.processes import PATIENCE


class Counter(StateMachineService):
    name = "counter"

    def __init__(self) -> None:
        self.total = 0

    @command
    def add(self, amount: int) -> int:
        self.total += amount
        return self.total

    @query
    def value(self) -> int:
        return self.total

    def dump(self) -> Any:
        return self.total

    def load(self, value: Any) -> None:
        self.total = value


class LaterCounter(Counter):
    """The next version of the same service."""

    @command
    def double(self) -> int:
        self.total *= 2
        return self.total


def value(node: Node, **how: Any) -> int:
    found: int = node.query("counter", "value", timeout=PATIENCE, **how)
    return found


def supported(call: Callable[[], int]) -> int:
    """Return the answer, or 0 while the leader still has a member's old declaration."""
    try:
        return call()
    except NotSupported:
        return 0


def leads(cluster: MemoryCluster, index: int) -> bool:
    """Transfer leadership to a node; return whether it leads."""
    if cluster.leader() != index:
        with suppress(BraftError):
            to = cluster.node(index).server_id
            cluster.node(0).transfer_leadership(to, timeout=PATIENCE)
    return cluster.leader() == index


def commands(node: Node) -> int:
    """Return the number of commands in the log of a node, without agreements."""
    driver = internals(node).server.running().driver
    log = driver.core.log
    entries = log.slice(log.first_index, log.last_index + 1)
    return sum(e.type == EntryType.COMMAND and not is_agreement(e.data) for e in entries)


def test_a_service_that_one_member_lacks_is_refused_and_applied_by_nobody() -> None:
    cluster = MemoryCluster(services=["kv"])
    cluster.equip(1, ["distribute"])
    with cluster:
        cluster.wait_for(lambda: leads(cluster, 1))
        with pytest.raises(NotSupported, match="lacks service 'kv'") as refused:
            cluster.node(0).kv.put("m", "k", 1, timeout=PATIENCE)
        assert refused.value.data["member"] == cluster.node(1).server_id
        assert all(cluster.node(i).kv.get("m", "k", consistency="stale") is None for i in (0, 2))
        cluster.equip(1, ["kv"])
        cluster.restart(1)
        cluster.wait_for(lambda: supported(lambda: cluster.node(0).kv.put("m", "k", 1)))
        assert [node.kv.get("m", "k", timeout=PATIENCE) for node in cluster.nodes] == [1, 1, 1]


def test_a_new_command_waits_for_the_last_member_and_then_is_the_same_everywhere() -> None:
    with MemoryCluster(services=[Counter]) as cluster:
        assert cluster.node(0).execute("counter", "add", 5, timeout=PATIENCE) == 5
        for index in (0, 1):
            cluster.equip(index, [LaterCounter])
            cluster.restart(index)
            cluster.wait_ready()
        with pytest.raises(NotSupported, match=r"lacks command counter\.double"):
            cluster.node(0).execute("counter", "double", timeout=PATIENCE)
        with pytest.raises(UnknownCommand):
            cluster.node(2).execute("counter", "double", timeout=PATIENCE)
        assert cluster.node(2).execute("counter", "add", 1, timeout=PATIENCE) == 6
        cluster.equip(2, [LaterCounter])
        cluster.restart(2)
        answer = cluster.wait_for(
            lambda: supported(lambda: cluster.node(0).execute("counter", "double"))
        )
        assert answer == 12
        assert [value(node) for node in cluster.nodes] == [12, 12, 12]


def test_a_member_that_comes_back_with_less_stops_applying_until_it_has_it_again() -> None:
    with MemoryCluster(services=[LaterCounter]) as cluster:
        cluster.node(0).execute("counter", "add", 5, timeout=PATIENCE)
        leader = cluster.leader()
        behind = cluster.followers_of(leader)[0]
        cluster.kill(behind)
        cluster.node(leader).execute("counter", "double", timeout=PATIENCE)
        cluster.equip(behind, [Counter])
        cluster.start(behind)
        node = cluster.node(behind)

        def stopped() -> str:
            ready, why = node.ready()
            return why if not ready and "stopped applying at entry" in why else ""

        why = cluster.wait_for(stopped, PATIENCE, "the node stops applying")
        assert "service 'counter' has no command 'double'" in why
        assert node.details()["notes"]["applying"] == why
        assert value(node, consistency="stale") in (0, 5)
        with pytest.raises(NotReady, match="stopped applying"):
            value(node)
        with pytest.raises(NotReady, match="no snapshot can be taken"):
            node.take_snapshot(timeout=PATIENCE)
        assert value(cluster.node(leader)) == 10
        cluster.equip(behind, [LaterCounter])
        cluster.restart(behind)
        assert value(cluster.node(behind)) == 10


def test_a_leader_that_stops_applying_gives_up_its_office() -> None:
    """Only a leader of an older version could append it, so the test bypasses admission."""
    with MemoryCluster(services=[LaterCounter]) as cluster:
        leader = cluster.leader()
        cluster.node(leader).execute("counter", "add", 5, timeout=PATIENCE)
        others = cluster.followers_of(leader)
        cluster.equip(leader, [Counter])
        cluster.restart(leader)
        cluster.wait_for(lambda: cluster.leader(others) in others)
        new = cluster.leader(others)
        internals(cluster.node(new)).server.running().driver.admit = lambda configuration, given: (
            given,
            [],
        )
        assert cluster.node(new).execute("counter", "double", timeout=PATIENCE) == 10
        old = cluster.node(leader)
        cluster.wait_for(lambda: "stopped applying" in old.ready()[1])
        with suppress(NotApplied):  # unless the third node was faster
            cluster.node(new).transfer_leadership(old.server_id, timeout=3)
        assert not old.is_leader
        assert cluster.leader(others) in others
        assert [value(cluster.node(i)) for i in others] == [10, 10]


def test_a_node_that_lost_a_service_starts_serves_nothing_and_says_why() -> None:
    cluster = MemoryCluster(1, services=[LaterCounter])
    with cluster:
        cluster.node(0).execute("counter", "add", 5, timeout=PATIENCE)
        cluster.node(0).take_snapshot(timeout=PATIENCE)
        cluster.equip(0, ["kv", "distribute"])
        cluster.restart(0)
        node = cluster.node(0)
        cluster.wait_for(lambda: "stopped applying at the snapshot" in node.ready()[1])
        assert "there is no service 'counter'" in node.ready()[1]
        with pytest.raises(NotReady):
            node.kv.get("m", "k", consistency="stale", timeout=PATIENCE)
        with pytest.raises((NotApplied, OutcomeUnknown)):
            node.kv.put("m", "k", 1, timeout=1)
        cluster.equip(0, [LaterCounter])
        cluster.restart(0)
        cluster.wait_ready()
        assert value(cluster.node(0)) == 5


def test_a_typing_error_costs_no_log_entry() -> None:
    with MemoryCluster(1, services=[Counter]) as cluster:
        node = cluster.node(0)
        node.execute("counter", "add", 1, timeout=PATIENCE)
        before = commands(node)
        for service, name, error in [
            ("counters", "add", UnknownService),
            ("counter", "ad", UnknownCommand),
        ]:
            with pytest.raises(error):
                node.execute(service, name, 1, timeout=PATIENCE)
        assert commands(node) == before


def test_ready_made_commands_from_outside_are_held_to_the_same_rule() -> None:
    with MemoryCluster(1, services=[Counter]) as cluster:
        node = cluster.node(0)
        threads, server, loop = internals(node)
        serializer = threads.components.serializer
        before = commands(node)
        for data in (
            encode_command(serializer, "counter", "ad", [1]),
            encode_command(serializer, "nobody", "add", [1]),
            encode_command(serializer, "counter", "add", []),
            b"\x09\x01junk",
            b"junk",
        ):
            answer = loop.run(server.handler.on_apply_log(data), PATIENCE)
            assert b"unknown_" in answer or b"invalid_request" in answer or b"command_f" in answer
        assert commands(node) == before
