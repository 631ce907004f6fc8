"""Run the simulation of whole nodes: ``python -m braft_testing.simulation.runtime``."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

from braft_testing.simulation.cli import parse_seeds
from braft_testing.simulation.runtime.run import Outcome, run_seed

__all__ = ["main"]

_PROGRAM = "python -m braft_testing.simulation.runtime"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the seeds; return 0 if every rule held in all of them, else 1."""
    parser = argparse.ArgumentParser(prog=_PROGRAM, description=__doc__)
    parser.add_argument("--seeds", type=parse_seeds, default=range(20), metavar="N|A:B")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default 1)")
    parser.add_argument(
        "--seconds", type=float, help="virtual seconds with faults (default: drawn)"
    )
    parser.add_argument("--trace", action="store_true", help="print every event")
    parser.add_argument("--digests", action="store_true", help="print each seed's digest")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at a failure")
    arguments = parser.parse_args(argv)
    began, done = time.perf_counter(), list[Outcome]()
    for outcome in _outcomes(arguments):
        done.append(outcome)
        if arguments.digests:
            _say(f"{outcome.seed} {outcome.digest}")
        if not outcome.ok:
            _say(_failure(outcome))
            if not arguments.keep_going:
                break
    _say(_summary(done, time.perf_counter() - began))
    return 0 if all(outcome.ok for outcome in done) else 1


def _outcomes(arguments: argparse.Namespace) -> Iterator[Outcome]:
    run = partial(run_seed, seconds=arguments.seconds, echo=arguments.trace)
    if arguments.jobs <= 1 or arguments.trace:
        yield from map(run, arguments.seeds)
        return
    with ProcessPoolExecutor(arguments.jobs, get_context("spawn")) as pool:
        yield from pool.map(run, arguments.seeds)
        pool.shutdown(cancel_futures=True)


def _failure(outcome: Outcome) -> str:
    lines = (
        f"seed {outcome.seed} breaks: {outcome.rule}",
        outcome.detail,
        "",
        *outcome.tail[-40:],
        "",
        f"{outcome.plan}",
        f"{outcome.seed} → {_PROGRAM} --seeds {outcome.seed} --trace",
    )
    return "\n".join(lines)


def _summary(done: Sequence[Outcome], elapsed: float) -> str:
    answers: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    for outcome in done:
        answers.update(outcome.answers)
        faults.update(outcome.faults)
    seconds = sum(outcome.seconds for outcome in done)
    listed = (", ".join(f"{name} {count}" for name, count in sorted(faults.items()))) or "none"
    broken = sum(not outcome.ok for outcome in done)
    undecided = sum(outcome.undecided for outcome in done)
    return "\n".join(
        (
            f"{len(done)} seeds, {broken} broken, {undecided} histories undecided",
            f"{seconds:.0f} simulated seconds in {elapsed:.1f} s"
            f" ({seconds / max(elapsed, 1e-9):.1f} per second),"
            f" {sum(o.steps for o in done)} steps, {sum(o.messages for o in done)} messages",
            f"{sum(o.lives for o in done)} lives of {sum(o.plan.servers for o in done)} nodes",
            f"{answers.total()} operations: {answers['ok']} answered,"
            f" {answers['failed']} refused, {answers['unknown']} of unknown outcome",
            f"faults: {listed}",
        )
    )


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
