"""The command line of the simulator: many seeds, a summary, and how to replay a failure."""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from braft_core.errors import DecodeError
from braft_core.testing.simulation.edits import NO_EDITS, Edits, decode_edits, encode_edits
from braft_core.testing.simulation.minimizer import minimize
from braft_core.testing.simulation.plan import draw_plan
from braft_core.testing.simulation.world import Report, run_seed

__all__ = ["main", "parse_edits", "parse_seeds"]

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


def parse_edits(text: str) -> Edits:
    """Edits as JSON, or the name of a file that holds them.

    :raises argparse.ArgumentTypeError: for anything else.
    """
    try:
        return decode_edits(text if text.lstrip().startswith("{") else Path(text).read_text())
    except (OSError, DecodeError) as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from error


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=_PROGRAM, description=__doc__)
    parser.add_argument("--seeds", type=parse_seeds, default=range(200), metavar="N|A:B")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default 1)")
    parser.add_argument("--seconds", type=float, help="virtual seconds of chaos (default: drawn)")
    parser.add_argument("--steps", type=int, help="stop each seed after so many events")
    parser.add_argument("--trace", action="store_true", help="print every event; implies --jobs 1")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at a failure")
    parser.add_argument("--minimize", action="store_true", help="make a failing run smaller")
    parser.add_argument(
        "--edits", type=parse_edits, default=NO_EDITS, metavar="JSON|FILE", help="change the plan"
    )
    return parser.parse_args(argv)


def _reports(arguments: argparse.Namespace) -> Iterator[Report]:
    run = partial(
        run_seed,
        seconds=arguments.seconds,
        max_steps=arguments.steps,
        edits=arguments.edits,
        echo=arguments.trace,
    )
    if arguments.jobs <= 1 or arguments.trace:
        yield from map(run, arguments.seeds)
        return
    chunk = max(1, min(16, len(arguments.seeds) // (4 * arguments.jobs)))
    with ProcessPoolExecutor(arguments.jobs) as pool:
        yield from pool.map(run, arguments.seeds, chunksize=chunk)
        # A consumer that stops early leaves through here; what was not begun is not begun.
        pool.shutdown(cancel_futures=True)


def _replay(report: Report, arguments: argparse.Namespace, edits: Edits) -> str:
    command = f"{_PROGRAM} --seeds {report.seed} --trace"
    if edits != NO_EDITS:
        command += f" --edits {shlex.quote(encode_edits(edits))}"
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
        f"{report.seed} → {_replay(report, arguments, arguments.edits)}",
    ]
    return "\n".join(lines)


def _minimized(report: Report, arguments: argparse.Namespace) -> str:
    plan = draw_plan(report.seed, arguments.seconds)

    def run(edits: Edits) -> Report:
        seconds, steps = arguments.seconds, arguments.steps
        return run_seed(report.seed, seconds=seconds, max_steps=steps, edits=edits)

    edits, smaller = minimize(plan, arguments.edits, report, run)
    left = edits.applied_to(plan)
    schedule = [f"{when:10.6f} {kind} #{number}" for when, kind, number in smaller.schedule]
    return "\n".join(
        (
            "",
            f"minimized: {smaller.invariant}",
            smaller.detail,
            "",
            f"{left.founders} of {left.servers} servers found the cluster, {left.clients} clients,"
            f" {smaller.operations} operations, {smaller.steps} steps,"
            f" {smaller.seconds:.3f} virtual seconds, {len(schedule)} faults:",
            *schedule,
            "",
            *smaller.tail,
            "",
            f"{report.seed} → {_replay(report, arguments, edits)}",
        )
    )


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
            f"{sum(r.formed for r in reports)} clusters founded from nothing,"
            f" {sum(r.removed for r in reports)} dead voters removed",
            f"{sum(r.operations for r in reports)} operations:"
            f" {sum(r.answered for r in reports)} answered,"
            f" {sum(r.unknown for r in reports)} of unknown outcome",
            "faults: " + (", ".join(f"{kind} {n}" for kind, n in sorted(faults.items())) or "none"),
        )
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the seeds; 0 if every rule held in all of them, else 1."""
    # Failures are said with their seeds; what the code under test logs about its life is not.
    logging.getLogger("braft_core").addHandler(logging.NullHandler())
    arguments = _arguments(argv)
    started = time.perf_counter()
    done: list[Report] = []
    for report in _reports(arguments):
        done.append(report)
        if not report.ok:
            _say(_failure(report, arguments))
            if arguments.minimize:
                _say(_minimized(report, arguments))
            if not arguments.keep_going:
                break
    _say(_summary(done, time.perf_counter() - started))
    return 0 if all(report.ok for report in done) else 1


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
