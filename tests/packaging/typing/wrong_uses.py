"""Wrong uses of the public types: mypy and pyright report each line marked ``# wrong``."""

from __future__ import annotations

from typing import Literal

from braft_core import Node, StateMachineService, command, query
from braft_core.abc import CommandContext
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
    def add(self, amount: int) -> int:
        """Add to it."""
        self.value += amount
        return self.value

    @command
    def note(self, context: CommandContext, text: str) -> int:
        """Return the index."""
        return context.index

    @query
    def get(self) -> int:
        """Return it."""
        return self.value


def calls(node: Node) -> None:
    """Call commands and queries."""
    counter = node.service(Counter)
    counter.ad(5)  # wrong
    counter.add("x")  # wrong
    counter.add()  # wrong
    counter.add(5, 6)  # wrong
    counter.add(amont=5)  # wrong
    counter.add(5, timeout=3)  # wrong
    counter.note(5)  # wrong
    counter.get(1)  # wrong
    counter.add.with_options(timeout="3s")  # wrong
    counter.get.with_options(consistency="linearisable")  # wrong
    text: str = counter.add(5)  # wrong
    node.service("counter")  # wrong
    node.kv.get("m", "k", consistency="linearisable")  # wrong
    node.query("counter", "get", consistency="eventual")  # wrong
    print(text)


async def async_calls(node: Node) -> None:
    """Call them asynchronously."""
    counter = node.service(Counter)
    await counter.add.acall("x")  # wrong
    await counter.add(5)  # wrong
    text: str = await counter.get.acall()  # wrong
    print(text)


def settings() -> None:
    """Make nodes."""
    Node(discovry="x")  # wrong
    Node(rport="15000")  # wrong
    Node(tls="maybe")  # wrong
    Node(log="loud")  # wrong
    Node(request_timeout=None, expect="three")  # wrong
    Node(plugins=[LabOptions(pauze=1)])  # wrong
    Node(plugins=[LabOptions(pause=[])])  # wrong


def state(node: Node) -> None:
    """Look at a node."""
    print(node.leader.id)  # wrong
    print(node.members()[0]["id"])  # wrong
    print(node.members()[0].sufrage)  # wrong
    suffrage: Literal["voter"] = node.members()[0].suffrage  # wrong
    print(suffrage)
    node.take_snapshot().id = "x"  # wrong
    node.http_address.rpartition(":")  # wrong


def remote(client: Client) -> None:
    """Ask a cluster from another process."""
    print(client.leader().id)  # wrong
    print(client.members()[0]["id"])  # wrong
    print(client.take_snapshot()["index"])  # wrong
    print(client.download_snapshot("a", "b").index)  # wrong
    client.kv_get("m", "k", consistency="linearisable")  # wrong
