"""One braft node that obeys :mod:`benchmarks.child` requests: ``python -m benchmarks.node_main``.

The load runs in the node's own process, as in an application that embeds braft: tasks of an asyncio
loop on the main thread await ``node.kv.aput`` and ``aget``, while the node runs on its threads.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import Any

from benchmarks import workload
from benchmarks.child import serve
from benchmarks.peers import VALUE_BYTES
from braft_core import Node

__all__ = ["main"]

_MAP = "bench"


class Handlers:
    """The requests."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._value = bytes(VALUE_BYTES)
        self._runner = asyncio.Runner()

    def status(self) -> dict[str, Any]:
        """Whether it is ready, and the address of the leader as it believes."""
        ready, _ = self._node.ready()
        return {"ready": ready, "leader": self._node.leader[1]}

    async def _put(self, number: int) -> None:
        await self._node.kv.aput(_MAP, workload.key_of(number), self._value)

    async def _get(self, number: int) -> None:
        await self._node.kv.aget(_MAP, workload.key_of(number))

    def load(
        self, operation: str, outstanding: int, seconds: float, warmup: float
    ) -> dict[str, Any]:
        """See :func:`benchmarks.workload.drive`."""
        operate = {"put": self._put, "get": self._get}[operation]
        driving = workload.drive(operate, outstanding, seconds, warmup)
        return self._runner.run(driving).as_json()

    def fill(self, entries: int, outstanding: int) -> None:
        """See :func:`benchmarks.workload.fill`."""
        self._runner.run(workload.fill(self._put, entries, outstanding))

    def first_success(self, period: float, limit: float) -> int:
        """See :func:`benchmarks.workload.first_success`."""
        return self._runner.run(workload.first_success(self._put, period, limit))


def main() -> None:
    """Start the node and obey."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--ports", type=int, nargs=3, required=True, help="Raft, discovery, HTTP")
    parser.add_argument("--peers", required=True, help="Raft addresses of all three")
    args = parser.parse_args()
    node = Node(
        ip="127.0.0.1",
        rport=args.ports[0],
        dport=args.ports[1],
        hport=args.ports[2],
        data_dir=args.data,
        discovery=f"static:{args.peers}",
        expect=3,
        log="warning",
    )
    with node:
        handlers = Handlers(node)
        names = ("status", "load", "fill", "first_success")
        serve({name: getattr(handlers, name) for name in names})


if __name__ == "__main__":
    main()
