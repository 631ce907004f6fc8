"""Which measurements are made of a peer, each on a cluster that was started for it alone."""

from __future__ import annotations

import shutil
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.failover import Failover
from benchmarks.machine import resident_bytes
from benchmarks.peers import Peer
from benchmarks.workload import Sample

__all__ = ["LOADS", "Plan", "Results", "measure"]

#: Operation and how many are outstanding.
LOADS = [(operation, n) for operation in ("put", "get") for n in (1, 64, 1024)]
_FILL_OUTSTANDING = 1024


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    runs: int
    seconds: float
    warmup: float
    failovers: int
    memory_entries: int


@dataclass(slots=True)
class Results:
    """Everything that was measured of one peer."""

    description: dict[str, Any]
    samples: dict[tuple[str, int], list[Sample]] = field(default_factory=dict)
    failovers: Failover = field(default_factory=Failover)
    leader_bytes: list[int] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def median(self, operation: str, outstanding: int, figure: str) -> float | None:
        """Median over the runs of ``rate``, ``p50_ms`` or ``p99_ms``; ``None`` if there is none."""
        samples = self.samples.get((operation, outstanding), [])
        return statistics.median(getattr(s, figure) for s in samples) if samples else None

    def median_bytes(self) -> float | None:
        """Median of the leader's resident memory."""
        return statistics.median(self.leader_bytes) if self.leader_bytes else None


@contextmanager
def _cluster(peer: type[Peer], parent: Path) -> Iterator[Peer]:
    """A fresh cluster in a folder that vanishes, unless something failed: then the logs stay."""
    folder = Path(tempfile.mkdtemp(dir=parent, prefix="data-"))
    cluster = peer(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
    shutil.rmtree(folder)


def _throughput(peer: type[Peer], plan: Plan, folder: Path, results: Results) -> None:
    with _cluster(peer, folder) as cluster:
        for operation, outstanding in LOADS:
            sample = cluster.load(operation, outstanding, plan.seconds, plan.warmup)
            results.samples.setdefault((operation, outstanding), []).append(sample)


def _memory(peer: type[Peer], plan: Plan, folder: Path, results: Results) -> None:
    with _cluster(peer, folder) as cluster:
        cluster.fill(plan.memory_entries, _FILL_OUTSTANDING)
        results.leader_bytes.append(resident_bytes(cluster.leader_pid()))


def _fail_over(peer: type[Peer], plan: Plan, folder: Path, results: Results) -> None:
    with _cluster(peer, folder) as cluster:
        results.failovers.measure(cluster)


def measure(
    peers: list[type[Peer]], plan: Plan, folder: Path, progress: Callable[[str], None]
) -> dict[str, Results]:
    """Measure all peers, alternating between them so that the machine's moods hit all alike.

    A measurement that fails is noted among the peer's errors, and the others go on.
    """
    results = {peer.name: Results(peer.describe()) for peer in peers}
    available = [peer for peer in peers if "unavailable" not in results[peer.name].description]
    stages = [
        ("throughput", plan.runs, _throughput),
        ("memory", plan.runs if plan.memory_entries else 0, _memory),
        ("failover", plan.failovers, _fail_over),
    ]
    for stage, rounds, function in stages:
        for number in range(1, rounds + 1):
            for peer in available:
                progress(f"{stage} {number}/{rounds}: {peer.name}")
                try:
                    function(peer, plan, folder, results[peer.name])
                except Exception as error:  # noqa: BLE001 - reported; the other peers still count
                    note = f"{stage} {number}: {type(error).__name__}: {error}"
                    results[peer.name].errors.append(note)
                    progress(f"  {peer.name}: {note}")
    return results
