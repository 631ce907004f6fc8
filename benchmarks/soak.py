"""``python -m benchmarks.soak --minutes 10``: no election during a long full load.

1,024 puts of 128 bytes are outstanding at the leader of three durable nodes. A leader that is too
busy to send its heartbeats in time, or a follower too busy to see them, causes a new term.
Target: the term at the end is the one at the beginning, and no put failed.
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
from benchmarks.study import Study, options
from benchmarks.workload import Sample

__all__ = ["Observation", "main", "soak"]

_OUTSTANDING = 1024
_WARMUP = 2.0
#: Seconds between two samples; a busy node may answer late.
_PERIOD = 10.0
_PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Observation:
    """The sample at the end of one period."""

    second: float
    sample: Sample
    #: Of each node, the leader first.
    terms: list[int]
    resident: list[int]
    failed: int
    failures: list[str]


class _Run:
    def __init__(self, nodes: BraftNodes) -> None:
        address = nodes.wait()
        self._leader = nodes.children[address]
        others = [child for name, child in nodes.children.items() if name != address]
        self._children = [self._leader, *others]
        self._began = time.monotonic()

    def terms(self) -> list[int]:
        """Return the terms of all nodes, the leader's first."""
        return [int(child.ask("progress", _PATIENCE)["term"]) for child in self._children]

    def begin(self) -> None:
        """Start the load."""
        self._leader.ask("begin_load", operation="put", outstanding=_OUTSTANDING)
        time.sleep(_WARMUP)
        self._began = time.monotonic()

    def observe(self, begin: float, end: float) -> Observation:
        """Sample the period from ``begin`` to ``end``, which is now."""
        reply = self._leader.ask("recorded", _PATIENCE, begin=begin, end=end, forget=True)
        resident = [resident_bytes(child.pid) for child in self._children]
        sample = Sample(**reply["sample"])
        return Observation(
            end - self._began, sample, self.terms(), resident, reply["failed"], reply["failures"]
        )

    def end(self) -> None:
        """Stop the load."""
        self._leader.ask("end_load", timeout=90)


def soak(
    folder: Path, seconds: float, period: float, study: Study
) -> tuple[int, list[Observation]]:
    """Return the term before the load, and the samples during it."""
    nodes = BraftNodes(folder)
    observations: list[Observation] = []
    try:
        nodes.start()
        run = _Run(nodes)
        term = max(run.terms())
        run.begin()
        begin = time.monotonic()
        finish = begin + seconds
        while begin < finish:
            time.sleep(max(0.0, min(period, finish - begin)))
            end = time.monotonic()
            observations.append(run.observe(begin, end))
            study.say(_line(observations[-1]))
            begin = end
        run.end()
        return term, observations
    finally:
        nodes.stop()


def _line(observation: Observation) -> str:
    sample = observation.sample
    return (
        f"{observation.second:5.0f} s: {sample.rate:7,.0f} commits/s, p99 {sample.p99_ms:.0f} ms, "
        f"slowest {sample.max_ms or 0:.0f} ms, terms {observation.terms}, "
        f"{max(observation.resident) / 2**20:.0f} MiB"
    )


def _arguments() -> argparse.Namespace:
    parser = options("soak", "Full load for long: no election may start.")
    parser.add_argument("--minutes", type=float, default=10.0)
    args = parser.parse_args()
    if args.quick:
        args.minutes = 0.05
    return args


def _figures(term: int, observations: list[Observation]) -> dict[str, Any]:
    operations = sum(observation.sample.operations for observation in observations)
    return {
        "operations": operations,
        "rate": operations / sum(observation.sample.seconds for observation in observations),
        "term_before": term,
        "terms_after": observations[-1].terms,
        "elections": max(observations[-1].terms) - term,
        "failed": observations[-1].failed,
        "observations": [asdict(observation) for observation in observations],
    }


def main() -> int:
    """Load, print and save. Exit code 1: there was an election, or a put failed."""
    args = _arguments()
    study = Study("soak", args)
    with data_folder(study.output) as folder:
        term, observations = soak(folder, args.minutes * 60, min(_PERIOD, args.minutes * 30), study)
    figures = _figures(term, observations)
    study.save(figures)
    for failure in observations[-1].failures:
        study.say(failure)
    return study.verdict(
        figures["elections"] == 0 and figures["failed"] == 0,
        f"{figures['operations']:,} puts ({figures['rate']:,.0f}/s), {figures['elections']} new "
        f"terms, {figures['failed']} puts failed (target: none, none)",
    )


if __name__ == "__main__":
    sys.exit(main())
