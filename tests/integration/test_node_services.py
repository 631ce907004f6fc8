"""A user's own service, the distribute service and observers, on running nodes."""

from __future__ import annotations

import threading
from collections import Counter as Tally
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import pytest

from braft_core import Node
from braft_core.abc import CommandContext
from braft_core.errors import BraftError, CommandFailed, ConfigError, Rejected, UnknownService
from braft_core.services.service import StateMachineService, command, query
from braft_testing.processes import PATIENCE, wait_for

pytestmark = pytest.mark.integration


class MakeNodes(Protocol):
    def __call__(self, count: int, *, start: bool = True, **settings: Any) -> list[Node]: ...


LeaderOf = Callable[[list[Node]], Node]


class Counter(StateMachineService):
    name = "counter"

    def __init__(self) -> None:
        self.value = 0

    @command
    def add(self, amount: int) -> int:
        self.value += amount
        return self.value

    @command
    def where(self, context: CommandContext) -> int:
        return context.index

    @command
    def divide(self, by: int) -> int:
        self.value //= by
        return self.value

    @command
    def give(self) -> object:
        return object()  # cannot be encoded

    @command
    def nest(self, depth: int) -> object:
        return [] if depth == 1 else [self.nest(depth - 1)]

    @command
    def refuse_deeply(self) -> None:
        raise Rejected("too deep", facts=self.nest(127))

    @query
    def total(self) -> int:
        return self.value

    @query
    def fail(self) -> int:
        raise LookupError("no such thing")

    def dump(self) -> int:
        return self.value

    def load(self, value: int) -> None:
        self.value = value


# --------------------------------------------------------------------------------------------
# A service that the program defines


def _stale(counter: Counter) -> int:
    return counter.total.with_options(consistency="stale")()


def test_a_service_class_is_replicated_by_every_node(make_nodes: MakeNodes) -> None:
    nodes = make_nodes(3, services=["kv", Counter])
    counters = [node.service(Counter) for node in nodes]
    assert [counter.add(1) for counter in counters] == [1, 2, 3]
    assert [counter.total() for counter in counters] == [3, 3, 3]
    wait_for(lambda: {_stale(c) for c in counters} == {3})
    indexes = [counter.where() for counter in counters]
    assert indexes == sorted(indexes)


def test_a_service_instance_serves_the_node_it_was_given_to(make_nodes: MakeNodes) -> None:
    own = Counter()
    (node,) = make_nodes(1, services=[own])
    node.service(Counter).add(4)
    assert own.value == 4
    assert node.kv.put("m", "k", 1), "the services of the settings are there as well"


async def _many(node: Node) -> int:
    handle = node.service(Counter)
    for _ in range(5):
        await handle.add.acall(2)
    return await handle.total.acall()


def test_handles_have_async_methods(make_nodes: MakeNodes) -> None:
    import asyncio

    (node,) = make_nodes(1, services=[Counter])
    assert asyncio.run(_many(node)) == 10


def test_what_a_command_raises_is_its_answer_and_the_node_lives_on(make_nodes: MakeNodes) -> None:
    nodes = make_nodes(3, services=["kv", Counter])
    for node in nodes:
        counter = node.service(Counter)
        with pytest.raises(CommandFailed, match="zero") as failed:
            counter.divide(0)
        assert failed.value.data["type"] == "ZeroDivisionError"
        assert (failed.value.data["service"], failed.value.data["command"]) == ("counter", "divide")
        with pytest.raises(CommandFailed, match=r"TypeError|type") as typed:
            counter.add("one")  # type: ignore[arg-type]
        assert typed.value.data["type"] == "TypeError"
        with pytest.raises(CommandFailed, match=r"argument"):
            counter.add()  # type: ignore[call-arg]
        with pytest.raises(CommandFailed):
            counter.give()
        with pytest.raises(CommandFailed, match="no such thing") as read:
            counter.fail()
        assert read.value.data["type"] == "LookupError"
        counter.add(1)
    assert [node.service(Counter).total() for node in nodes] == [3, 3, 3]


def test_the_deepest_answer_reaches_a_caller_on_every_node(make_nodes: MakeNodes) -> None:
    """It used to fail all commands forwarded together with it as "outcome unknown"."""
    for node in make_nodes(3, services=[Counter]):
        counter = node.service(Counter)
        answer: Any = counter.nest(128)
        for _ in range(127):
            (answer,) = answer
        assert answer == []
        with pytest.raises(Rejected, match="too deep"):
            counter.refuse_deeply()


def test_a_value_that_no_serializer_takes_is_refused_before_it_is_sent(
    make_nodes: MakeNodes,
) -> None:
    (node,) = make_nodes(1)
    before = node.details()["lastIndex"]
    for value in (object(), {1}, 1 + 2j, {"a": object()}):
        with pytest.raises(TypeError, match="not a plain value"):
            node.kv.put("m", "k", value)
    assert node.details()["lastIndex"] == before
    assert node.kv.put("m", "k", 1)


def test_one_name_twice_is_refused_by_name(make_nodes: MakeNodes) -> None:
    (node,) = make_nodes(1, start=False, services=["kv", Counter, Counter()])
    with pytest.raises(ConfigError, match="counter"):
        node.start()


def test_only_the_services_that_were_chosen_are_there(make_nodes: MakeNodes) -> None:
    (node,) = make_nodes(1, services=["kv"])
    with pytest.raises(UnknownService, match="distribute"):
        node.distribute.set(["a"])
    with pytest.raises(BraftError, match="distribute"):
        node.distribute.on_change(print)
    assert node.kv.put("m", "k", 1)


def test_a_slow_command_delays_no_heartbeat(make_nodes: MakeNodes, leader_of: LeaderOf) -> None:
    begun, gate = threading.Event(), threading.Event()

    class Slow(Counter):
        name = "slow"

        @command
        def wait(self) -> bool:
            begun.set()
            return gate.wait(60)

    nodes = make_nodes(3, services=[Slow], election_timeout=3)
    leader = leader_of(nodes)
    changes: list[str | None] = []
    leader.on_leader_change(lambda name, _: changes.append(name))
    answers: list[bool] = []
    caller = threading.Thread(
        target=lambda: answers.append(leader.execute("slow", "wait", timeout=60))
    )
    caller.start()
    assert begun.wait(PATIENCE)
    with pytest.raises(BraftError):
        leader.execute("slow", "total", timeout=5)  # more than an election timeout and its jitter
    gate.set()
    caller.join(40)
    assert answers == [True]
    assert set(changes) <= {leader.server_id}, "told late of the first election at most"
    assert leader.is_leader


# --------------------------------------------------------------------------------------------
# distribute


def _shares(nodes: list[Node]) -> Tally[str]:
    return Tally(nodes[0].distribute.assignment().values())


def test_items_spread_evenly_move_when_a_node_dies_and_come_back_with_it(
    make_nodes: MakeNodes, leader_of: LeaderOf
) -> None:
    nodes = make_nodes(3)
    told: dict[str, list[Mapping[str, Any]]] = {node.server_id: [] for node in nodes}
    for node in nodes:
        node.distribute.on_change(told[node.server_id].append)
    items = {f"item-{n}": {"n": n} for n in range(9)}
    nodes[1].distribute.set(items)
    wait_for(lambda: sorted(_shares(nodes).values()) == [3, 3, 3], what="an even spread")
    wait_for(lambda: all(len(log[-1]) == 3 for log in told.values() if log) and all(told.values()))
    before = nodes[0].distribute.assignment()
    for node in nodes:
        own = {item: items[item] for item, owner in before.items() if owner == node.server_id}
        assert told[node.server_id][-1] == own

    victim = next(node for node in nodes if node is not leader_of(nodes))
    gone, settings = victim.server_id, victim.settings
    victim.stop()
    left = [node for node in nodes if node is not victim]
    wait_for(lambda: gone not in _shares(left) and len(_shares(left)) == 2, what="items move")
    after = left[0].distribute.assignment()
    assert sorted(Tally(after.values()).values()) == [4, 5]
    assert all(after[item] == owner for item, owner in before.items() if owner != gone), "sticky"
    wait_for(lambda: sorted(len(told[node.server_id][-1]) for node in left) == [4, 5])

    with Node(settings=settings) as again:
        log: list[Mapping[str, Any]] = []
        again.distribute.on_change(log.append)
        wait_for(lambda: sorted(_shares(left).values()) == [3, 3, 3], what="items come back")
        wait_for(lambda: bool(log) and len(log[-1]) == 3)
        assert again.server_id == gone


def test_a_distribution_callback_may_use_the_node_and_may_fail(make_nodes: MakeNodes) -> None:
    (node,) = make_nodes(1)
    seen: list[Mapping[str, Any]] = []

    def work(share: Mapping[str, Any]) -> None:
        node.kv.put("work", "share", sorted(share))
        seen.append(share)
        raise RuntimeError("its own bug")

    end = node.distribute.on_change(work)
    node.distribute.set(["a", "b"])
    wait_for(lambda: seen and sorted(seen[-1]) == ["a", "b"])
    assert node.kv.get("work", "share") == ["a", "b"]
    end()
    known = len(seen)
    node.distribute.set(["c"])
    assert node.distribute.assignment() == {"c": node.server_id}
    node.barrier()
    assert len(seen) == known


# --------------------------------------------------------------------------------------------
# Observer hooks of plugins

OBSERVER = """
from braft_core.plugin import hookimpl

SEEN = []

@hookimpl
def braft_on_started(node):
    SEEN.append(("started", node.server_id))

@hookimpl
def braft_on_stopping(node):
    SEEN.append(("stopping", node.server_id))

@hookimpl
def braft_on_leader_changed(node, leader, term):
    SEEN.append(("leader", node.server_id, leader))

@hookimpl
def braft_on_member_joined(node, server):
    SEEN.append(("joined", node.server_id, server.id))
    raise RuntimeError("an observer's bug")

@hookimpl
def braft_on_member_left(node, server):
    SEEN.append(("left", node.server_id, server.id))
"""


def test_observers_are_called_in_the_order_of_a_nodes_life(
    make_nodes: MakeNodes,
    leader_of: LeaderOf,
    install_plugin: Callable[[str, str], Path],
) -> None:
    install_plugin("watcher_of_lives", OBSERVER)
    nodes = make_nodes(3)
    import watcher_of_lives  # type: ignore[import-not-found]

    seen: list[tuple[str, ...]] = watcher_of_lives.SEEN
    ids = {node.server_id for node in nodes}
    leader = leader_of(nodes)
    wait_for(lambda: {("joined", a, b) for a in ids for b in ids} <= set(seen), what="joined")
    wait_for(lambda: {("leader", a, leader.server_id) for a in ids} <= set(seen), what="leader")
    gone = next(node for node in nodes if node is not leader)
    gone_id = gone.server_id
    gone.stop()
    leader.remove_member(gone_id)
    wait_for(lambda: {("left", a, gone_id) for a in ids - {gone_id}} <= set(seen), what="left")
    own = [event[0] for event in seen if event[1] == gone_id]
    assert own[0] == "started"
    # "stopping" is reported when the stop begins; the leader may still change until its end.
    assert [event for event in own if event != "leader"][-1] == "stopping"
    assert own.count("started") == own.count("stopping") == 1
