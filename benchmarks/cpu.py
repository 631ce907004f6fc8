"""``python -m benchmarks.cpu``: where the processors' time goes, thread by thread.

Puts (and gets) of 128 bytes at the leader of three durable nodes, 1, 64 and 1,024 outstanding. What
is counted is the time that each thread of the leader and each process spent on a processor, divided
by the operations that were answered. Other work on the machine makes everything slower and changes
these figures little, so they are what to compare before and after a change; and they say which rate
a machine of so many cores cannot exceed.
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
#: Threads that took less than this, microseconds per operation, are shown together.
_SMALL = 0.3


@dataclass(frozen=True, slots=True)
class Cost:
    """Microseconds of processor time per operation."""

    load: Load
    rate: float
    #: Of the leader's threads, by name.
    threads: dict[str, float]
    followers: list[float]

    @property
    def leader(self) -> float:
        """All threads of the leader, the client among them."""
        return sum(self.threads.values())

    @property
    def total(self) -> float:
        """All three nodes."""
        return self.leader + sum(self.followers)


def cost(nodes: BraftNodes, load: Load, seconds: float) -> Cost:
    """Run a load and see what it costs."""
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
    """Seconds on a processor, by the thread's name; those that are not Python's by their number."""
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
    parser.add_argument("--seconds", type=float, default=5.0, help="of each load")
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
