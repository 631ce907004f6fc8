"""The way to the inside of a node, for the project's own tests of it.

What lies there is private and changes without notice. Tests of applications use the public API.
"""

from __future__ import annotations

from braft_core.node import Node
from braft_core.runtime.timing import Timing

__all__ = ["with_timing"]


def with_timing(node: Node, timing: Timing) -> Node:
    """Give a node that is not started other intervals and timeouts; return the node."""
    node._timing = timing
    return node
