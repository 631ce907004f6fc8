"""braft from this tree: three nodes with default settings, durable, the client in the leader."""

from __future__ import annotations

import importlib.util
import tomllib
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.nodes import BraftNodes
from benchmarks.workload import Load, Sample

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
            "reads": "linearizable (read index), served by the node that is asked",
        }

    def __init__(self, folder: Path) -> None:
        self._cluster = BraftNodes(folder)

    def start(self) -> None:
        """Start three nodes and wait for a leader."""
        self._cluster.start()

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
