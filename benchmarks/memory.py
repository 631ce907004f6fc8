"""``python -m benchmarks.memory``: the memory of a node as its log grows.

Three durable nodes, 128-byte values over 1,000 keys: the state stays small, so what grows is
memory per entry. Memory is read after 100,000 and after 1,000,000 entries, and again after each
node has taken a snapshot, which compacts its log. Target: at most 150 MiB then, on every node.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import data_folder, resident_bytes
from benchmarks.nodes import BraftNodes
from benchmarks.resident import MemoryWatch
from benchmarks.study import Study, options

__all__ = ["Reading", "main", "readings"]

_OUTSTANDING = 1024
#: Entries per batch; memory is not measured within a batch.
_SLICE = 100_000
_PATIENCE = 600.0
#: The allocator returns freed memory a moment later.
_SETTLE = 1.0
_TARGET = 150 << 20


@dataclass(frozen=True, slots=True)
class Reading:
    """Resident bytes of each node; the leader includes the load's client."""

    entries: int
    leader: int
    followers: list[int]
    #: The leader's peak while these entries were written.
    leader_peak: int | None
    leader_compacted: int
    followers_compacted: list[int]

    @property
    def most(self) -> int:
        """Resident bytes of the largest node after compaction."""
        return max(self.leader_compacted, *self.followers_compacted)


class _Run:
    def __init__(self, nodes: BraftNodes, watch: MemoryWatch) -> None:
        address = nodes.wait()
        self._leader = nodes.children[address]
        self._followers = [child for name, child in nodes.children.items() if name != address]
        self._watch = watch
        self._entries = 0
        watch.follow({"leader": self._leader.pid})

    def to(self, entries: int) -> Reading:
        """Write up to that many entries, then read the memory."""
        begin = time.monotonic()
        while self._entries < entries:
            count = min(_SLICE, entries - self._entries)
            self._leader.ask("fill", timeout=_PATIENCE, entries=count, outstanding=_OUTSTANDING)
            self._entries += count
        time.sleep(_SETTLE)
        peak = self._watch.peak("leader", begin, time.monotonic())
        leader, followers = self._resident()
        for child in (self._leader, *self._followers):
            child.ask("take_snapshot", timeout=_PATIENCE)
        time.sleep(_SETTLE)
        return Reading(entries, leader, followers, peak, *self._resident())

    def _resident(self) -> tuple[int, list[int]]:
        sizes = [resident_bytes(child.pid) for child in self._followers]
        return resident_bytes(self._leader.pid), sizes


def readings(folder: Path, goals: list[int], study: Study) -> list[Reading]:
    """Measure one cluster at each of these numbers of entries."""
    nodes = BraftNodes(folder)
    try:
        nodes.start()
        with MemoryWatch() as watch:
            run = _Run(nodes, watch)
            found = []
            for goal in sorted(goals):
                study.say(f"{goal:,} entries")
                found.append(run.to(goal))
            return found
    finally:
        nodes.stop()


def _arguments() -> argparse.Namespace:
    parser = options("memory", "What a node keeps in memory as the log gets long.")
    parser.add_argument("--entries", type=int, nargs="+", default=[100_000, 1_000_000])
    args = parser.parse_args()
    if args.quick:
        args.entries = [2_000, 10_000]
    return args


def _row(reading: Reading) -> list[str]:
    sizes = [
        reading.leader,
        reading.leader_peak or 0,
        max(reading.followers),
        reading.leader_compacted,
        max(reading.followers_compacted),
    ]
    return [f"{reading.entries:,}", *(f"{size / 2**20:,.0f}" for size in sizes)]


def main() -> int:
    """Measure, print and save. Exit code 1: a node uses more than the target."""
    args = _arguments()
    study = Study("memory", args)
    with data_folder(study.output) as folder:
        found = readings(folder, args.entries, study)
    head = ["entries", "leader", "... its peak", "follower", "leader, compacted", "follower, comp."]
    study.table("resident memory, MiB", head, [_row(reading) for reading in found])
    figures: list[dict[str, Any]] = [asdict(reading) for reading in found]
    study.save({"readings": figures})
    most = max(reading.most for reading in found)
    return study.verdict(
        most <= _TARGET,
        f"the largest node keeps {most / 2**20:.0f} MiB after compaction "
        f"(target: at most {_TARGET >> 20})",
    )


if __name__ == "__main__":
    sys.exit(main())
