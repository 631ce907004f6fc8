"""The command line of the simulator: many seeds, a summary, and how to replay a failure."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from braft_core.testing.simulation.world import Report, run_seed

__all__ = ["main", "parse_seeds"]

_PROGRAM = "python -m braft_core.testing.simulation"


def parse_seeds(text: str) -> range:
    """``7`` is one seed, ``0:200`` the seeds 0 to 199.

    :raises argparse.ArgumentTypeError: for anything else.
    """
    first, colon, last = text.partition(":")
    try:
        seeds = range(int(first), int(last) if colon else int(first) + 1)
    except ValueError:
        seeds = range(0)
    if not seeds:
        raise argparse.ArgumentTypeError(f"{text!r} is not a seed (7) or a range of seeds (0:200)")
    return seeds


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=_PROGRAM, description=__doc__)
    parser.add_argument("--seeds", type=parse_seeds, default=range(200), metavar="N|A:B")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default 1)")
    parser.add_argument("--seconds", type=float, help="virtual seconds of chaos (default: drawn)")
    parser.add_argument("--steps", type=int, help="stop each seed after so many events")
    parser.add_argument("--trace", action="store_true", help="print every event; implies --jobs 1")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at a failure")
    return parser.parse_args(argv)


def _reports(arguments: argparse.Namespace) -> Iterator[Report]:
    run = partial(
        run_seed, seconds=arguments.seconds, max_steps=arguments.steps, echo=arguments.trace
    )
    if arguments.jobs <= 1 or arguments.trace:
        yield from map(run, arguments.seeds)
        return
    chunk = max(1, min(16, len(arguments.seeds) // (4 * arguments.jobs)))
    with ProcessPoolExecutor(arguments.jobs) as pool:
        yield from pool.map(run, arguments.seeds, chunksize=chunk)
        # A consumer that stops early leaves through here; what was not begun is not begun.
        pool.shutdown(cancel_futures=True)


def _replay(report: Report, arguments: argparse.Namespace) -> str:
    command = f"{_PROGRAM} --seeds {report.seed} --trace"
    if arguments.seconds is not None:
        command += f" --seconds {arguments.seconds}"
    if arguments.steps is not None:
        command += f" --steps {arguments.steps}"
    return command


def _failure(report: Report, arguments: argparse.Namespace) -> str:
    lines = [
        "",
        f"seed {report.seed} breaks: {report.invariant}",
        report.detail,
        "",
        *report.tail,
        "",
        f"replay: {_replay(report, arguments)}",
    ]
    return "\n".join(lines)


def _summary(reports: Iterable[Report], elapsed: float) -> str:
    reports = list(reports)
    faults: Counter[str] = Counter()
    for report in reports:
        faults.update(report.faults)
    seconds = sum(r.seconds for r in reports)
    broken = sum(1 for r in reports if not r.ok)
    undecided = sum(1 for r in reports if r.undecided)
    return "\n".join(
        (
            f"{len(reports)} seeds, {broken} broken, {undecided} histories undecided",
            f"{seconds:.0f} simulated seconds in {elapsed:.1f} s"
            f" ({seconds / max(elapsed, 1e-9):.0f} per second),"
            f" {sum(r.steps for r in reports)} steps",
            f"{sum(r.elections for r in reports)} elections, highest term"
            f" {max((r.max_term for r in reports), default=0)},"
            f" {sum(r.commits for r in reports)} commits,"
            f" {sum(r.truncations for r in reports)} truncations,"
            f" {sum(r.snapshots for r in reports)} snapshots placed,"
            f" {sum(r.installed for r in reports)} from another server",
            f"{sum(r.operations for r in reports)} operations:"
            f" {sum(r.answered for r in reports)} answered,"
            f" {sum(r.unknown for r in reports)} of unknown outcome",
            "faults: " + (", ".join(f"{kind} {n}" for kind, n in sorted(faults.items())) or "none"),
        )
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the seeds; 0 if every rule held in all of them, else 1."""
    arguments = _arguments(argv)
    started = time.perf_counter()
    done: list[Report] = []
    for report in _reports(arguments):
        done.append(report)
        if not report.ok:
            _say(_failure(report, arguments))
            if not arguments.keep_going:
                break
    _say(_summary(done, time.perf_counter() - started))
    return 0 if all(report.ok for report in done) else 1


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
