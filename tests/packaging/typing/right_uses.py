"""Correct uses of the public types: mypy and pyright accept them; nothing runs them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, assert_type

from braft_core import Node, StateMachineService, command, query
from braft_core.abc import (
    CommandContext,
    Leader,
    Member,
    NodeAPI,
    Readiness,
    SnapshotInfo,
)
from braft_core.client import Client
from braft_core.plugin.options import PluginOptions


class LabOptions(PluginOptions):
    """Options of a plugin."""

    section = "lab"

    pause: float = 2.0


class Counter(StateMachineService):
    """A counter."""

    name = "counter"

    def __init__(self) -> None:
        self.value = 0

    @command
    def add(self, amount: int, step: int = 1) -> int:
        """Add to it."""
        self.value += amount * step
        return self.value

    @command
    def note(self, context: CommandContext, text: str) -> int:
        """Return the index."""
        return context.index

    @command(name="put-anything")
    def anything(self, value: Any) -> str:
        """Return it as text."""
        return str(value)

    @command
    def twice(self, context: CommandContext) -> int:
        """Call another command."""
        return self.note(context, "twice") + self.add(1)

    @query
    def get(self) -> int:
        """Return it."""
        return self.value

    @query(name="list")
    def items(self, after: str = "") -> list[str]:
        """Return some texts."""
        return [after]


def calls(node: Node) -> None:
    """Call commands and queries."""
    counter = node.service(Counter)
    assert_type(counter.add(5), int)
    assert_type(counter.add(5, 2), int)
    assert_type(counter.add(amount=5, step=2), int)
    assert_type(counter.add.with_options(timeout=3)(5), int)
    assert_type(counter.note("text"), int)
    assert_type(counter.anything({"any": "thing"}), str)
    assert_type(counter.get(), int)
    assert_type(counter.items(after="a"), list[str])
    assert_type(counter.get.with_options(consistency="stale", max_staleness=1)(), int)
    with node.session() as session:
        assert_type(session.service(Counter).add(5), int)
        assert_type(session.id, str | None)


async def async_calls(node: Node) -> None:
    """Call them asynchronously."""
    counter = node.service(Counter)
    assert_type(await counter.add.acall(5), int)
    assert_type(await counter.note.acall("text"), int)
    assert_type(await counter.get.with_options(consistency="lease").acall(), int)
    assert_type(await node.kv.aget_with_revision("m", "k"), tuple[Any, int] | None)
    assert_type(await node.atake_snapshot(), SnapshotInfo)


def settings() -> Iterator[Node]:
    """Make nodes."""
    yield Node()
    yield Node(discovery="mdns", rport=15000, tls="require", autopilot="dry-run", sleep="1s")
    yield Node(services=["kv", Counter], request_timeout=5, log=None)
    yield Node(plugins=[LabOptions(pause=1.5)])
    yield Node(plugins={"lab": {"pause": "1s"}})


def state(node: Node) -> None:
    """Look at a node."""
    assert_type(node.leader, Leader | None)
    assert_type(node.members(), list[Member])
    assert_type(node.ready(), Readiness)
    assert_type(node.snapshots(), list[SnapshotInfo])
    assert_type(node.http_address, str | None)
    ready, reason = node.ready()
    assert_type(ready, bool)
    assert_type(reason, str)
    node.kv.get("m", "k", consistency="stale")


def remote(client: Client) -> None:
    """Ask a cluster from another process."""
    assert_type(client.leader(), Leader | None)
    assert_type(client.members(), list[Member])
    assert_type(client.remove_member("a"), list[Member])
    assert_type(client.transfer_leadership(), Leader)
    assert_type(client.ready(), Readiness)
    assert_type(client.snapshots(), list[SnapshotInfo])
    assert_type(client.take_snapshot(), SnapshotInfo)
    client.kv_get("m", "k", consistency="stale")


def plugin(node: NodeAPI) -> None:
    """Use a node in a plugin."""
    assert_type(node.service(Counter).add(5), int)
    node.kv.put("m", "k", 1)


def main() -> None:
    """Hand a node to a plugin."""
    with Node() as node:
        plugin(node)
