"""``python -m tests.mutants``: plant each fault of the runtime, run its test, print a table."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from tests.mutants import MUTANTS, Mutant
from tests.mutants.hunting import hunt

__all__ = ["main"]


def _line(mutant: Mutant) -> tuple[bool, str]:
    outcome = hunt(mutant)
    found_by = mutant.found_by.partition("::")[2] if outcome.found else outcome.problem
    return outcome.found, f"{mutant.area:11} {mutant.name:58} {found_by}"


def main(argv: Sequence[str] | None = None) -> int:
    """Hunt; return 0 if every mutant was found by its test, else 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1, help="processes (default 1)")
    parser.add_argument("--only", default="", help="mutants whose name or area contains this")
    arguments = parser.parse_args(argv)
    chosen = [m for m in MUTANTS if arguments.only in m.name or arguments.only in m.area]
    sys.stdout.write(f"{'area':11} {'mutant':58} found by\n")
    failed = 0
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for found, line in pool.map(_line, chosen):
            failed += not found
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
    sys.stdout.write(f"{len(chosen)} mutants, {failed} not found\n")
    return 1 if failed or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())
