"""The way to the inside of a node, for the project's own tests of it.

What lies there is private and changes without notice. Tests of applications use the public API.
"""

from __future__ import annotations

from typing import NamedTuple

from braft_core.node import Node
from braft_core.runtime.lifecycle import NodeThreads
from braft_core.runtime.platform import RunningLoop
from braft_core.runtime.server import Server
from braft_core.runtime.timing import Timing

__all__ = ["Internals", "internals", "with_timing"]


class Internals(NamedTuple):
    """The parts of a running node."""

    #: Starts and stops the node; has its components and its failure.
    threads: NodeThreads
    #: Everything that lives on the loop. Touch it there: ``loop.run(...)``.
    server: Server
    #: The thread of the loop.
    loop: RunningLoop


def internals(node: Node) -> Internals:
    """Return the parts of a node. They stay valid after its stop.

    :raises Stopped: the node is not running.
    """
    threads = node._running()
    return Internals(threads, threads._server, threads._loop)


def with_timing(node: Node, timing: Timing) -> Node:
    """Give a node that is not started other intervals and timeouts; return the node."""
    node._timing = timing
    return node
