"""braft from this tree with the transport ``tcp`` of braft-tcp; everything else as in ``braft``."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.peers.braft import Braft

__all__ = ["BraftTcp"]


class BraftTcp(Braft):
    """Three nodes with the transport ``tcp``."""

    name: ClassVar[str] = "braft-tcp"

    @classmethod
    def describe(cls) -> dict[str, Any]:
        """Return version and settings."""
        if not importlib.util.find_spec("braft_tcp"):
            return {"unavailable": "braft_tcp cannot be imported"}
        return {**super().describe(), "transport": "tcp"}

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, {"transport": "tcp"})
