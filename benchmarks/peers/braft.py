"""braft from this tree: three nodes with default settings, durable, the client in the leader."""

from __future__ import annotations

import importlib.util
import tomllib
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.nodes import BraftNodes

__all__ = ["Braft"]

_PROJECT = Path(__file__).parents[2] / "pyproject.toml"


class Braft(BraftNodes):
    """Three nodes with default settings."""

    name: ClassVar[str] = "braft"

    @classmethod
    def describe(cls) -> dict[str, Any]:
        """Return version and settings."""
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
