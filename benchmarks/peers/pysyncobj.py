"""PySyncObj, the pure-Python Raft library in use: in-process proposals on its leader, journal on.

Its journal is a memory-mapped file which it never syncs, so what it calls written survives a killed
process and not a power cut. That cannot be switched on; its figures are without an fsync.

``appendEntriesUseBatch`` is off: with it on (its default) a proposal waits for the next heartbeat,
and it was slower here at 1, at 64 and at 1,024 outstanding alike.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.child import Child
from benchmarks.peers.cluster import Cluster
from benchmarks.workload import Load, Sample
from braft_core.local_nodes import free_ports

__all__ = ["PySyncObj"]


class PySyncObj:
    """Three nodes with a journal and a dump file, and batching off; all else is default."""

    name: ClassVar[str] = "PySyncObj"

    @classmethod
    def describe(cls) -> dict[str, Any]:
        """Version and settings."""
        if importlib.util.find_spec("pysyncobj") is None:
            return {"unavailable": "pysyncobj is not installed"}
        return {
            "version": importlib.metadata.version("pysyncobj"),
            "durability": "memory-mapped journal, never synced (no such option)",
            "client": "in the leader's process, callbacks",
            "reads": "replicated through the log: it has no other linearizable read",
            "appendEntriesUseBatch": False,
        }

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._cluster = Cluster({})

    def start(self) -> None:
        """Start three nodes and wait for a leader."""
        addresses = [f"127.0.0.1:{port}" for port in free_ports(3)]
        for number, address in enumerate(addresses):
            data = self._folder / f"node{number}"
            data.mkdir()
            command = [sys.executable, "-m", "benchmarks.peers.pysyncobj_node"]
            command += ["--address", address, "--data", str(data)]
            command += ["--others", ",".join(a for a in addresses if a != address)]
            self._cluster.children[address] = Child(command, data / "log")
        self._cluster.wait()

    def load(self, load: Load, seconds: float, warmup: float) -> Sample:
        """Run the load inside the node."""
        return self._cluster.load(load, seconds, warmup)

    def fill(self, entries: int, outstanding: int) -> None:
        """Commit that many entries."""
        self._cluster.fill(entries, outstanding)

    def pids(self) -> tuple[int, int]:
        """The leader's process and a follower's."""
        return self._cluster.pids()

    def fail_over(self, *, freeze: bool = False) -> float:
        """Kill or freeze the leader and time the next commit."""
        return self._cluster.fail_over(freeze=freeze)

    def stop(self) -> None:
        """End the nodes."""
        self._cluster.stop()
