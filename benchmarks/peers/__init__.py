"""One module per measured system, with the interface :class:`Peer`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Protocol

from benchmarks.workload import Load, Sample

__all__ = ["VALUE_BYTES", "Peer"]

#: Size of every written value, bytes.
VALUE_BYTES = 128


class Peer(Protocol):
    """A cluster of three nodes on loopback, each in a separate process."""

    name: ClassVar[str]

    @classmethod
    def describe(cls) -> dict[str, Any]:
        """Return version and relevant settings; ``unavailable`` with a reason if it cannot run."""

    def __init__(self, folder: Path) -> None:
        """Remember the (empty) folder for data and logs."""

    def start(self) -> None:
        """Start three nodes; return once they have a leader and accept writes."""

    def load(self, load: Load, seconds: float, warmup: float) -> Sample:
        """Run ``put`` or ``get`` against the leader or a follower."""

    def fill(self, entries: int, outstanding: int) -> None:
        """Commit exactly that many entries."""

    def pids(self) -> tuple[int, int]:
        """Return the process ids of the leader and of a follower, to measure their memory."""

    def fail_over(self, *, freeze: bool = False) -> float:
        """Kill the leader (SIGKILL); return seconds until a survivor committed a new write.

        ``freeze``: stop it with SIGSTOP instead, and kill it afterwards.
        """

    def stop(self) -> None:
        """Kill every process that was started."""
