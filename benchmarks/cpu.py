"""``python -m benchmarks.cpu``: the CPU time of each thread.

Puts (and gets) of 128 bytes at the leader of three durable nodes, 1, 64 and 1,024 outstanding. The
figures are the CPU time of each thread of the leader and of each process, divided by the number of
answered operations. Other work on the machine changes them little, so they suit comparisons before
and after a change. They also give the highest rate that a number of cores allows.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from benchmarks.child import Child
from benchmarks.machine import data_folder
from benchmarks.nodes import BraftNodes
from benchmarks.study import Study, options
from benchmarks.workload import Load, Sample

__all__ = ["Cost", "cost", "main"]

_WARMUP = 0.5
#: Threads with less CPU time than this are shown together, microseconds per operation.
_SMALL = 0.3


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU time per operation, microseconds."""

    load: Load
    rate: float
    #: CPU time of the leader's threads, by name.
    threads: dict[str, float]
    followers: list[float]

    @property
    def leader(self) -> float:
        """CPU time of all threads of the leader, including the client."""
        return sum(self.threads.values())

    @property
    def total(self) -> float:
        """CPU time of all three nodes."""
        return self.leader + sum(self.followers)


def cost(nodes: BraftNodes, load: Load, seconds: float) -> Cost:
    """Run a load and measure its CPU time."""
    address = nodes.wait()
    leader = nodes.children[address]
    followers = [child for name, child in nodes.children.items() if name != address]
    nodes.load(load, _WARMUP, _WARMUP)
    before = _threads(leader), [_process(child) for child in followers]
    sample: Sample = nodes.load(load, seconds, 0.0)
    after = _threads(leader), [_process(child) for child in followers]
    per_operation = 1e6 / max(1, sample.operations)
    threads: dict[str, float] = {}
    for name, spent in after[0].items():
        micros = (spent - before[0].get(name, 0.0)) * per_operation
        if micros > 0:
            threads[name] = micros
    return Cost(
        load,
        sample.rate,
        dict(sorted(threads.items(), key=lambda item: -item[1])),
        [(b - a) * per_operation for a, b in zip(before[1], after[1], strict=True)],
    )


def _threads(child: Child) -> dict[str, float]:
    """Return CPU seconds by thread name; by thread id for threads that are not Python's."""
    names = {int(number): name for number, name in child.ask("threads").items()}
    spent: dict[str, float] = {}
    for thread in psutil.Process(child.pid).threads():
        name = names.get(thread.id, "gRPC and others")
        spent[name] = spent.get(name, 0.0) + thread.user_time + thread.system_time
    return spent


def _process(child: Child) -> float:
    times = psutil.Process(child.pid).cpu_times()
    return float(times.user + times.system)


def _row(found: Cost) -> list[str]:
    large = {name: spent for name, spent in found.threads.items() if spent >= _SMALL}
    rest = found.leader - sum(large.values())
    parts = [f"{name} {spent:.1f}" for name, spent in large.items()] + [f"others {rest:.1f}"]
    return [
        f"{found.load.operation}, {found.load.outstanding:,}",
        f"{found.rate:,.0f}",
        f"{found.leader:.1f}",
        " / ".join(f"{spent:.1f}" for spent in found.followers),
        f"{(os.cpu_count() or 1) * 1e6 / found.total:,.0f}",
        ", ".join(parts),
    ]


def main(argv: list[str] | None = None) -> int:
    """Run the study."""
    parser = options("cpu", __doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="duration of each load")
    parser.add_argument("--set", action="append", default=[], help="a setting: name=value")
    args = parser.parse_args(argv)
    study = Study("cpu", args)
    costs = _measure(args, study)
    study.table(
        "microseconds of processor time per operation",
        ["load", "a second", "leader", "followers", "limit of these cores", "leader's threads"],
        [_row(found) for found in costs],
    )
    study.save({"costs": [asdict(found) for found in costs]})
    return 0


def _measure(args: argparse.Namespace, study: Study) -> list[Cost]:
    settings = dict(setting.partition("=")[::2] for setting in args.set)
    seconds = 0.5 if args.quick else args.seconds
    found = []
    with data_folder(Path(args.output)) as folder:
        nodes = BraftNodes(folder, settings)
        try:
            nodes.start()
            for operation in ("put", "get"):
                for outstanding in (1, 64, 1024):
                    load = Load(operation, outstanding)
                    study.say(f"{operation}, {outstanding} outstanding")
                    found.append(cost(nodes, load, seconds))
        finally:
            nodes.stop()
    return found


if __name__ == "__main__":
    sys.exit(main())
