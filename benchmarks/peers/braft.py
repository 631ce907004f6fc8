"""braft from this tree: three nodes with default settings, durable, the client in the leader."""

from __future__ import annotations

import importlib.util
import sys
import tomllib
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.child import Child
from benchmarks.peers import free_ports
from benchmarks.peers.cluster import Cluster
from benchmarks.workload import Sample

__all__ = ["Braft"]

_PROJECT = Path(__file__).parents[2] / "pyproject.toml"


class Braft:
    """Three nodes that find each other by a static list."""

    name: ClassVar[str] = "braft"

    @classmethod
    def describe(cls) -> dict[str, Any]:
        """Version and settings."""
        missing = [
            m for m in ("braft_core.node", "braft_static") if not importlib.util.find_spec(m)
        ]
        if missing:
            return {"unavailable": f"{' and '.join(missing)} cannot be imported"}
        return {
            "version": tomllib.loads(_PROJECT.read_text())["project"]["version"],
            "durability": "SQLite, write-ahead log, synchronous=FULL: an fsync for every batch",
            "client": "in the leader's process: tasks of an asyncio loop",
            "reads": "linearizable (read index), served by the leader",
        }

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._cluster = Cluster({})

    def start(self) -> None:
        """Start three nodes and wait for a leader."""
        ports = free_ports(9)
        addresses = [f"127.0.0.1:{port}" for port in ports[:3]]
        for number, address in enumerate(addresses):
            data = self._folder / f"node{number}"
            command = [sys.executable, "-m", "benchmarks.node_main", "--data", str(data)]
            command += ["--peers", ",".join(addresses), "--ports"]
            command += [str(port) for port in ports[number::3]]
            self._cluster.children[address] = Child(command, self._folder / f"node{number}.log")
        self._cluster.wait()

    def load(self, operation: str, outstanding: int, seconds: float, warmup: float) -> Sample:
        """Run the load inside the leader."""
        return self._cluster.load(operation, outstanding, seconds, warmup)

    def fill(self, entries: int, outstanding: int) -> None:
        """Commit that many entries."""
        self._cluster.fill(entries, outstanding)

    def leader_pid(self) -> int:
        """The leader's process."""
        return self._cluster.leader().pid

    def fail_over(self) -> float:
        """Kill the leader and time the next commit."""
        return self._cluster.fail_over()

    def stop(self) -> None:
        """End the nodes."""
        self._cluster.stop()
