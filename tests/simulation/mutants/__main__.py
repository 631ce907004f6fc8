"""``python -m tests.simulation.mutants``: hunt all planted bugs, print a table."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack

from tests.simulation.mutants import MUTANTS, hunt

__all__ = ["main"]


def _line(number: int) -> tuple[bool, str]:
    mutant = MUTANTS[number]
    seeds, report = hunt(mutant)
    if report is None:
        return False, f"{mutant.name:48} {seeds:5}  NOT FOUND"
    expected = report.invariant in mutant.rules
    verdict = report.invariant if expected else f"UNEXPECTED: {report.detail}"
    return expected, f"{mutant.name:48} {seeds:5}  {verdict} (seed {report.seed})"


def main(argv: Sequence[str] | None = None) -> int:
    """Hunt; return 0 if every mutant was found by one of its expected rules, else 1."""
    logging.getLogger("braft_core").addHandler(logging.NullHandler())
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1, help="processes (default 1)")
    parser.add_argument("--only", default="", help="mutants whose name contains this")
    arguments = parser.parse_args(argv)
    numbers = [n for n, mutant in enumerate(MUTANTS) if arguments.only in mutant.name]
    sys.stdout.write(f"{'mutant':48} seeds  found by\n")
    failed = 0
    with ExitStack() as stack:
        hunts: Iterator[tuple[bool, str]] = map(_line, numbers)
        if arguments.jobs > 1:
            hunts = stack.enter_context(ProcessPoolExecutor(arguments.jobs)).map(_line, numbers)
        for good, line in hunts:
            failed += not good
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
    sys.stdout.write(f"{len(numbers)} mutants, {failed} not found as they should be\n")
    return 1 if failed or not numbers else 0


if __name__ == "__main__":
    sys.exit(main())
