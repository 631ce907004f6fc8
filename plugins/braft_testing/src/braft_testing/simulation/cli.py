"""Run the simulation from the command line: many seeds, a summary, and how to replay a failure."""

from __future__ import annotations

import argparse
import importlib
import logging
import shlex
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from braft_core.errors import BraftError, DecodeError
from braft_testing.simulation.edits import NO_EDITS, Edits, decode_edits, encode_edits
from braft_testing.simulation.minimizer import minimize
from braft_testing.simulation.plan import draw_plan
from braft_testing.simulation.service import all_refused
from braft_testing.simulation.service_under_test import ServiceUnderTest
from braft_testing.simulation.subprocess_check import SubprocessCheck
from braft_testing.simulation.world import Report, run_seed

__all__ = ["main", "parse_edits", "parse_name", "parse_seeds"]

_PROGRAM = "python -m braft_testing.simulation"
#: Options that describe a service under test, each the name of a class or function.
_PARTS = ("service", "operations", "invariant", "state", "model", "ticker", "timeline")

_Check = Callable[[Report], Report]


def parse_seeds(text: str) -> range:
    """Parse ``7`` as one seed, ``0:200`` as the seeds 0 to 199.

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
    """Parse edits from JSON, or from a file with that name.

    :raises argparse.ArgumentTypeError: for anything else.
    """
    try:
        return decode_edits(text if text.lstrip().startswith("{") else Path(text).read_text())
    except (OSError, DecodeError) as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from error


def parse_name(text: str) -> Any:
    """Return the object that ``package.module:name`` names.

    :raises argparse.ArgumentTypeError: if there is no such object, or it cannot be imported.
    """
    module, _, name = text.partition(":")
    try:
        thing: Any = importlib.import_module(module)
        for part in name.split("."):
            thing = getattr(thing, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not package.module:name: {error}") from error
    return thing


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=_PROGRAM, description=__doc__)
    parser.add_argument("--seeds", type=parse_seeds, default=range(200), metavar="N|A:B")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default 1)")
    parser.add_argument(
        "--seconds", type=float, help="virtual seconds with faults (default: drawn)"
    )
    parser.add_argument("--steps", type=int, help="stop each seed after so many events")
    parser.add_argument("--trace", action="store_true", help="print every event; implies --jobs 1")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at a failure")
    parser.add_argument("--minimize", action="store_true", help="make a failing run smaller")
    parser.add_argument(
        "--edits", type=parse_edits, default=NO_EDITS, metavar="JSON|FILE", help="change the plan"
    )
    for part in _PARTS:
        parser.add_argument(f"--{part}", metavar="MODULE:NAME", help=f"{part} of your own service")
    parser.add_argument(
        "--queries",
        metavar="A,B",
        help="names of the queries, for a service that is not a StateMachineService",
    )
    arguments = parser.parse_args(argv)
    try:
        arguments.under_test = _under_test(arguments)
    except (argparse.ArgumentTypeError, BraftError, ValueError) as error:
        parser.error(str(error))
    return arguments


def _under_test(arguments: argparse.Namespace) -> ServiceUnderTest | None:
    """Return the service under test, if there is one."""
    named = {part: name for part in _PARTS if (name := getattr(arguments, part))}
    queries = None if arguments.queries is None else arguments.queries.split(",")
    if not named and queries is None:
        return None
    if not {"service", "operations"} <= named.keys():
        raise ValueError("a service of your own needs both --service and --operations")
    parts = {part: parse_name(name) for part, name in named.items()}
    return ServiceUnderTest(queries=queries, **parts)


def _reports(arguments: argparse.Namespace) -> Iterator[Report]:
    run = partial(
        run_seed,
        seconds=arguments.seconds,
        max_steps=arguments.steps,
        edits=arguments.edits,
        echo=arguments.trace,
        under_test=arguments.under_test,
    )
    if arguments.jobs <= 1 or arguments.trace:
        yield from map(run, arguments.seeds)
        return
    chunk = max(1, min(16, len(arguments.seeds) // (4 * arguments.jobs)))
    # Spawn instead of fork: this process may be a test's, and a lock that a thread holds would
    # never be released in a fork.
    with ProcessPoolExecutor(arguments.jobs, get_context("spawn"), _keep_quiet) as pool:
        yield from pool.map(run, arguments.seeds, chunksize=chunk)
        # A consumer that stops early leaves through here; cancel the runs that have not begun.
        pool.shutdown(cancel_futures=True)


def _replay(report: Report, arguments: argparse.Namespace, edits: Edits) -> str:
    command = f"{_PROGRAM} --seeds {report.seed} --trace"
    for part in (*_PARTS, "queries"):
        if value := getattr(arguments, part):
            command += f" --{part} {shlex.quote(value)}"
    if edits != NO_EDITS:
        command += f" --edits {shlex.quote(encode_edits(edits))}"
    if arguments.seconds is not None:
        command += f" --seconds {arguments.seconds}"
    if arguments.steps is not None:
        command += f" --steps {arguments.steps}"
    return command


def _minimized(report: Report, arguments: argparse.Namespace, check: _Check) -> str:
    under_test = arguments.under_test
    plan = draw_plan(report.seed, arguments.seconds, service=under_test is not None)

    def run(edits: Edits) -> Report:
        seconds, steps = arguments.seconds, arguments.steps
        return check(
            run_seed(
                report.seed, seconds=seconds, max_steps=steps, edits=edits, under_test=under_test
            )
        )

    edits, smaller = minimize(plan, arguments.edits, report, run)
    left = edits.applied_to(plan)
    schedule = [f"{when:10.6f} {kind} #{number}" for when, kind, number in smaller.schedule]
    return "\n".join(
        (
            "",
            f"minimized: {smaller.invariant}",
            smaller.detail,
            "",
            f"{left.initial_voters} of {left.servers} servers start the cluster, "
            f"{left.clients} clients,"
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
            f" {sum(r.snapshots for r in reports)} snapshots stored,"
            f" {sum(r.installed for r in reports)} from another server",
            f"{sum(r.formed for r in reports)} clusters bootstrapped,"
            f" {sum(r.removed for r in reports)} dead voters removed,"
            f" {sum(r.returned for r in reports)} became voters again",
            f"{sum(r.agreements for r in reports)} agreements on capabilities,"
            f" {sum(r.stops for r in reports)} times a server stopped applying",
            f"{sum(r.bounds for r in reports)} stale states checked against their staleness bound",
            f"{sum(r.operations for r in reports)} operations:"
            f" {sum(r.answered for r in reports)} answered,"
            f" {sum(r.unknown for r in reports)} of unknown outcome",
            "faults: " + (", ".join(f"{kind} {n}" for kind, n in sorted(faults.items())) or "none"),
            *_calls(reports),
        )
    )


def _calls(reports: Sequence[Report]) -> Iterator[str]:
    """Format what was called on a service under test."""
    calls: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    for report in reports:
        calls.update(report.calls)
        refused.update(report.refused)
    if calls:
        yield "answers: " + ", ".join(
            f"{name} {count}" + (f" ({refused[name]} errors)" if refused[name] else "")
            for name, count in sorted(calls.items())
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the seeds; return 0 if every rule held in all of them, else 1."""
    _keep_quiet()
    arguments = _arguments(argv)
    started = time.perf_counter()
    done: list[Report] = []
    with ExitStack() as stack:
        check: _Check = _as_it_is
        if arguments.under_test is not None:
            check = stack.enter_context(SubprocessCheck(arguments.under_test)).check
        for report in map(check, _reports(arguments)):
            report.commands.clear()
            done.append(report)
            if not report.ok:
                _say(report.failure(_replay(report, arguments, arguments.edits)))
                if arguments.minimize:
                    _say(_minimized(report, arguments, check))
                if not arguments.keep_going:
                    break
    _say(_summary(done, time.perf_counter() - started))
    if all_refused(done):
        _say("nothing was tested: every answer of the service was an error")
        return 1
    return 0 if all(report.ok for report in done) else 1


def _keep_quiet() -> None:
    """Silence the log of the code under test; failures are reported with their seeds."""
    logging.getLogger("braft_core").addHandler(logging.NullHandler())


def _as_it_is(report: Report) -> Report:
    return report


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
