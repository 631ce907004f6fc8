"""``python -m benchmarks``: select the measurements, and write the results."""

from __future__ import annotations

import argparse
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from benchmarks import machine, report
from benchmarks.measure import STAGES, Plan, measure
from benchmarks.peers import Peer
from benchmarks.peers.braft import Braft
from benchmarks.peers.braft_tcp import BraftTcp
from benchmarks.peers.etcd import Etcd
from benchmarks.peers.pysyncobj import PySyncObj
from benchmarks.study import RESULTS

_PEERS: dict[str, type[Peer]] = {
    "braft": Braft,
    "braft-tcp": BraftTcp,
    "pysyncobj": PySyncObj,
    "etcd": Etcd,
}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short run, as a smoke test")
    parser.add_argument(
        "--runs", type=int, default=5, help="number of clusters; results are medians"
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="measured duration of each load")
    parser.add_argument("--failovers", type=int, default=10, help="number of leaders to kill")
    parser.add_argument(
        "--freezes", type=int, default=10, help="number of leaders to stop with SIGSTOP"
    )
    parser.add_argument(
        "--entries", type=int, default=100_000, help="number of entries before memory is read"
    )
    parser.add_argument("--peers", default=",".join(_PEERS), help="of %(default)s")
    parser.add_argument("--stages", default=",".join(STAGES), help="of %(default)s")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder for data and results")
    return parser.parse_args()


def _plan(args: argparse.Namespace) -> Plan:
    stages = tuple(args.stages.split(","))
    if args.quick:
        return Plan(1, 1.0, 0.5, failovers=2, freezes=1, memory_entries=10_000, stages=stages)
    return Plan(args.runs, args.seconds, 1.0, args.failovers, args.freezes, args.entries, stages)


def _unknown(args: argparse.Namespace) -> str:
    """Return what is wrong with the arguments, or ""."""
    for kind, given, known in (("peer", args.peers, _PEERS), ("stage", args.stages, STAGES)):
        for name in given.split(","):
            if name not in known:
                return f"unknown {kind} {name!r}; known: {', '.join(known)}"
    return ""


def main() -> int:
    """Measure, print and save. Exit code 1: a measurement failed."""
    args = _arguments()
    console = Console(width=None if sys.stdout.isatty() else 120)
    if problem := _unknown(args):
        console.print(problem)
        return 2
    args.output.mkdir(parents=True, exist_ok=True)
    # Child processes import this package and braft from the tree.
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    facts = machine.facts(args.output.resolve())
    plan = _plan(args)
    peers = [_PEERS[name] for name in args.peers.split(",")]
    results = measure(peers, plan, args.output, lambda line: console.print(line, style="dim"))
    report.print_table(results, console)

    now = datetime.now(UTC)
    facts |= {
        "date": now.isoformat(timespec="seconds"),
        "load_average_at_end": os.getloadavg(),
        "plan": {name: getattr(plan, name) for name in plan.__slots__},
    }
    path = args.output / f"{now:%Y-%m-%dT%H%M%S}.json"
    report.write_json(report.as_json(results, facts), path)
    console.print(f"written: {path}")
    if report.write_plot(results, path.with_suffix(".png")):
        console.print(f"written: {path.with_suffix('.png')}")
    return 1 if any(result.errors for result in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
