"""PySyncObj, a pure-Python Raft library: proposals in the leader's process, journal on.

Its journal is a memory-mapped file that it never syncs: a write survives a killed process, but not
a power failure. There is no option to sync, so its figures are without an fsync.

``appendEntriesUseBatch`` is off: with it on (the default) a proposal waits for the next heartbeat,
and was slower here with 1, 64 and 1,024 outstanding proposals.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.child import Child
from benchmarks.peers.cluster import Cluster
from braft_core.local_nodes import free_ports

__all__ = ["PySyncObj"]


class PySyncObj(Cluster):
    """Three nodes with a journal and a dump file, batching off, and defaults otherwise."""

    name: ClassVar[str] = "PySyncObj"

    @classmethod
    def describe(cls) -> dict[str, Any]:
        """Return version and settings."""
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
        super().__init__({})
        self._folder = folder

    def start(self) -> None:
        """Start three nodes and wait for a leader."""
        addresses = [f"127.0.0.1:{port}" for port in free_ports(3)]
        for number, address in enumerate(addresses):
            data = self._folder / f"node{number}"
            data.mkdir()
            command = [sys.executable, "-m", "benchmarks.peers.pysyncobj_node"]
            command += ["--address", address, "--data", str(data)]
            command += ["--others", ",".join(a for a in addresses if a != address)]
            self.children[address] = Child(command, data / "log")
        self.wait()
