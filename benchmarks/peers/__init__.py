"""One module for each system that is measured, behind one interface: :class:`Peer`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Protocol

from benchmarks.workload import Load, Sample

__all__ = ["VALUE_BYTES", "Peer"]

#: Size of every value that is written.
VALUE_BYTES = 128


class Peer(Protocol):
    """A cluster of three nodes on loopback, each a process of its own."""

    name: ClassVar[str]

    @classmethod
    def describe(cls) -> dict[str, Any]:
        """Version and settings that matter; ``unavailable`` with a reason if it cannot run here."""

    def __init__(self, folder: Path) -> None:
        """Remember the (empty) folder for data and logs."""

    def start(self) -> None:
        """Start three nodes and return once they have a leader and take writes."""

    def load(self, load: Load, seconds: float, warmup: float) -> Sample:
        """Run ``put`` or ``get`` against the leader or a follower."""

    def fill(self, entries: int, outstanding: int) -> None:
        """Commit exactly that many entries."""

    def pids(self) -> tuple[int, int]:
        """The leader's process and a follower's, whose memory is measured."""

    def fail_over(self, *, freeze: bool = False) -> float:
        """Kill the leader (SIGKILL); seconds until a survivor has committed a new write.

        ``freeze``: stop it with SIGSTOP instead, and kill it afterwards.
        """

    def stop(self) -> None:
        """End every process it started."""
