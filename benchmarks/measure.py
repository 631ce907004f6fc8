"""The measurements of a peer, each on a new cluster."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.failover import Failover
from benchmarks.machine import data_folder, resident_bytes
from benchmarks.peers import Peer
from benchmarks.workload import Load, Sample

__all__ = ["LOADS", "STAGES", "Plan", "Results", "measure"]

#: All measured loads.
LOADS = [
    *(Load(operation, n) for operation in ("put", "get") for n in (1, 64, 1024)),
    *(Load("get", n, on="follower") for n in (64, 1024)),
]
_FILL_OUTSTANDING = 1024


@dataclass(frozen=True, slots=True)
class Plan:
    """The size of the measurements."""

    runs: int
    seconds: float
    warmup: float
    failovers: int
    freezes: int
    memory_entries: int
    #: Of :data:`STAGES`, those to measure.
    stages: tuple[str, ...]


@dataclass(slots=True)
class Results:
    """All measurements of one peer."""

    description: dict[str, Any]
    samples: dict[Load, list[Sample]] = field(default_factory=dict)
    failovers: Failover = field(default_factory=Failover)
    freezes: Failover = field(default_factory=lambda: Failover(freeze=True))
    leader_bytes: list[int] = field(default_factory=list)
    follower_bytes: list[int] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def median(self, load: Load, figure: str) -> float | None:
        """Return the median over the runs of ``rate``, ``p50_ms`` or ``p99_ms``, or ``None``."""
        samples = self.samples.get(load, [])
        return statistics.median(getattr(s, figure) for s in samples) if samples else None


@contextmanager
def _cluster(peer: type[Peer], parent: Path) -> Iterator[Peer]:
    """Start a new cluster in a temporary folder, which is kept if something failed."""
    with data_folder(parent) as folder:
        cluster = peer(folder)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()


def _throughput(peer: type[Peer], plan: Plan, folder: Path, results: Results) -> None:
    with _cluster(peer, folder) as cluster:
        for load in LOADS:
            sample = cluster.load(load, plan.seconds, plan.warmup)
            results.samples.setdefault(load, []).append(sample)


def _memory(peer: type[Peer], plan: Plan, folder: Path, results: Results) -> None:
    with _cluster(peer, folder) as cluster:
        cluster.fill(plan.memory_entries, _FILL_OUTSTANDING)
        leader, follower = cluster.pids()
        results.leader_bytes.append(resident_bytes(leader))
        results.follower_bytes.append(resident_bytes(follower))


def _fail_over(peer: type[Peer], plan: Plan, folder: Path, results: Results) -> None:
    with _cluster(peer, folder) as cluster:
        results.failovers.measure(cluster)


def _freeze(peer: type[Peer], plan: Plan, folder: Path, results: Results) -> None:
    with _cluster(peer, folder) as cluster:
        results.freezes.measure(cluster)


_Stage = Callable[[type[Peer], Plan, Path, Results], None]

#: The measurements: how often, and by which function.
STAGES: dict[str, tuple[Callable[[Plan], int], _Stage]] = {
    "throughput": (lambda plan: plan.runs, _throughput),
    "memory": (lambda plan: plan.runs if plan.memory_entries else 0, _memory),
    "failover": (lambda plan: plan.failovers, _fail_over),
    "freeze": (lambda plan: plan.freezes, _freeze),
}


def measure(
    peers: list[type[Peer]], plan: Plan, folder: Path, progress: Callable[[str], None]
) -> dict[str, Results]:
    """Measure all peers in turn, so that changes of the machine affect all alike.

    A failed measurement is recorded in the peer's errors, and the others continue.
    """
    results = {peer.name: Results(peer.describe()) for peer in peers}
    available = [peer for peer in peers if "unavailable" not in results[peer.name].description]
    for stage in plan.stages:
        rounds, function = STAGES[stage]
        for number in range(1, rounds(plan) + 1):
            for peer in available:
                progress(f"{stage} {number}/{rounds(plan)}: {peer.name}")
                try:
                    function(peer, plan, folder, results[peer.name])
                except Exception as error:  # noqa: BLE001 - reported; the other peers still count
                    note = f"{stage} {number}: {type(error).__name__}: {error}"
                    results[peer.name].errors.append(note)
                    progress(f"  {peer.name}: {note}")
    return results
