"""Typed commands through whole clusters, and a cluster that changes its serializer."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import decimal
import itertools
import sqlite3
import uuid
from pathlib import Path
from typing import Any, Protocol

import pytest

from braft_core import Node, StateMachineService, command, command_type, query
from braft_core.abc import CommandContext
from braft_core.errors import InvalidArgument, NotApplied
from braft_core.raft import EntryType
from braft_core.storage import sqlite_log
from braft_testing.processes import ProcessCluster, wait_for

pytestmark = pytest.mark.integration


class MakeNodes(Protocol):
    def __call__(self, count: int, *, start: bool = True, **settings: Any) -> list[Node]: ...


@command_type("tests.line")
@dataclasses.dataclass(frozen=True)
class Line:
    item: str
    price: decimal.Decimal


@command_type("tests.place-order")
@dataclasses.dataclass(frozen=True)
class PlaceOrder:
    order: uuid.UUID
    lines: tuple[Line, ...]
    at: datetime.datetime
    tags: frozenset[str] = frozenset()


class Orders(StateMachineService):
    """Keeps the orders it was given, and returns their sum."""

    name = "orders"

    def __init__(self) -> None:
        self.orders: dict[uuid.UUID, PlaceOrder] = {}

    @command(PlaceOrder)
    def place(self, context: CommandContext, order: PlaceOrder) -> decimal.Decimal:
        if order.order in self.orders:
            raise InvalidArgument(f"order {order.order} exists")
        self.orders[order.order] = order
        return sum((line.price for line in order.lines), decimal.Decimal(0))

    @query
    def get(self, order: uuid.UUID) -> PlaceOrder | None:
        return self.orders.get(order)

    def dump(self) -> Any:
        return self.orders

    def load(self, value: Any) -> None:
        self.orders = value


ORDER = PlaceOrder(
    uuid.UUID(int=7),
    (Line("tea", decimal.Decimal("1.10")), Line("milk", decimal.Decimal("0.90"))),
    datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.UTC),
    frozenset({"b", "a"}),
)


@pytest.mark.parametrize("serializer", ["msgpack", "cbor", "json"])
def test_a_typed_command_through_three_nodes_in_memory(
    make_nodes: MakeNodes, serializer: str
) -> None:
    nodes = make_nodes(3, services=["kv", Orders], data_dir=":memory:", serializer=serializer)
    follower = next(node for node in nodes if not node.is_leader)
    answer = follower.service(Orders).place(ORDER)
    assert (type(answer), answer) == (decimal.Decimal, decimal.Decimal("2.00"))
    for node in nodes:
        found = node.service(Orders).get(ORDER.order)
        assert found is not None
        assert found == ORDER
        assert type(found.lines) is tuple
        assert type(found.tags) is frozenset
    with pytest.raises(InvalidArgument, match="exists"):
        follower.service(Orders).place(ORDER)
    with follower.session() as session:
        other = dataclasses.replace(ORDER, order=uuid.UUID(int=8))
        assert session.service(Orders).place(other) == decimal.Decimal("2.00")


def test_what_is_no_command_type_is_refused_at_the_call(make_nodes: MakeNodes) -> None:
    (node,) = make_nodes(1, services=["kv", Orders])
    with pytest.raises(TypeError, match="not a plain value, and its type is not registered"):
        node.service(Orders).place(object())  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="not a plain value"):
        node.kv.put("m", "k", decimal.Decimal(1))


def test_typed_state_comes_back_from_a_snapshot_and_another_serializer(
    make_nodes: MakeNodes, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {
        "discovery": "",
        "expect": 1,
        "ip": "127.0.0.1",
        "data_dir": str(tmp_path / "kept"),
        "services": ["kv", Orders],
    }
    with Node(serializer="msgpack", **settings) as node:
        node.wait_ready(40)
        node.service(Orders).place(ORDER)
        assert node.take_snapshot().index > 0
        later = dataclasses.replace(ORDER, order=uuid.UUID(int=9))
        node.service(Orders).place(later)
    with Node(serializer="cbor", **settings) as node:
        node.wait_ready(40)
        assert [node.service(Orders).get(each.order) for each in (ORDER, later)] == [ORDER, later]
        with pytest.raises(InvalidArgument, match="exists"):
            node.service(Orders).place(later)


def tags(data: Path) -> set[int]:
    """Return the serializer tags of the commands in a node's log."""
    found: set[int] = set()
    for path in data.rglob("*.db"):
        with contextlib.closing(sqlite3.connect(path)) as db:
            entries = itertools.chain.from_iterable(sqlite_log.read(db, 0))
            found |= {entry.data[1] for entry in entries if entry.type == EntryType.COMMAND}
    return found


def test_a_cluster_changes_its_serializer_by_rolling_restart(tmp_path: Path) -> None:
    with ProcessCluster(3, tmp_path, serializer="msgpack") as cluster:
        cluster.start()
        cluster.wait_ready()
        value = {"n": 1, "b": [True, None, 1.5]}
        cluster.client(0).kv_put("m", "in-snapshot", value)
        for index in range(3):
            cluster.client(index).take_snapshot()
        cluster.client(0).kv_put("m", "msgpack", value)
        for index in range(3):
            assert cluster.stop(index) == 0
            cluster.start(index, serializer="cbor")
            cluster.wait_ready(index)
            cluster.client(index).kv_put("m", f"cbor-{index}", value)
            cluster.client((index + 1) % 3).kv_put("m", f"mixed-{index}", value)
        expected = {"in-snapshot", "msgpack"}
        expected |= {f"{word}-{index}" for word in ("cbor", "mixed") for index in range(3)}
        whole = dict.fromkeys(expected, value)
        assert lists(cluster) == [whole] * 3
        # Restore everything from the disk: a snapshot, then entries of both serializers.
        cluster.kill(0, 1, 2)
        assert tags(cluster.nodes[0].data) == {1, 2}
        cluster.start(serializer="cbor")
        cluster.wait_ready()
        wait_for(lambda: all(each == whole for each in lists(cluster)))


def lists(cluster: ProcessCluster) -> list[dict[str, Any]]:
    """Return the map as each node reads it."""
    return [cluster.client(index).kv_list("m") for index in range(3)]


def stopped(cluster: ProcessCluster) -> str:
    """Return why node 0 stopped applying, "" if it did not (yet)."""
    why = cluster.why_not_ready(0)
    return why if "stopped applying" in why else ""


def test_a_node_without_the_serializer_of_its_log_stops_and_goes_on_with_it(tmp_path: Path) -> None:
    with ProcessCluster(1, tmp_path) as cluster:
        cluster.start(serializer="cbor")
        cluster.wait_ready()
        cluster.client(0).kv_put("m", "k", 1)
        cluster.kill(0)
        cluster.start(plugins_disable="serializers")
        why = cluster.wait_for(
            lambda: stopped(cluster),
            what="the node says that it stopped applying",
        )
        assert "serializer with tag 2, which is not installed; installed: msgpack (tag 1)" in why
        assert "pip install braft-serializers" in why
        assert cluster.running == [0]
        with pytest.raises(NotApplied, match="stopped applying at entry"):
            cluster.client(0, timeout=3.0).kv_get("m", "k")
        cluster.restart(0, serializer="msgpack")
        cluster.wait_ready()
        assert cluster.client(0).kv_get("m", "k") == 1
