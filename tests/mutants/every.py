"""``python -m tests.mutants.every``: plant all faults, of all lists; ``make mutants`` runs this.

There are three lists: faults of the runtime that a named test finds, faults that the simulator of
the core finds, and faults that the simulator of whole nodes finds.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from tests.mutants import MUTANTS
from tests.mutants.__main__ import main as hunt_by_tests
from tests.simulation.mutants import MUTANTS as CORE_MUTANTS
from tests.simulation.mutants.__main__ import main as hunt_by_core
from tests.simulation.mutants.runtime import RUNTIME_MUTANTS
from tests.simulation.mutants.runtime import main as hunt_by_nodes

__all__ = ["main"]

_Main = Callable[[Sequence[str]], int]


def _lists() -> tuple[tuple[_Main, list[str]], ...]:
    """Return what hunts each list, and what ``--only`` may be a part of."""
    return (
        (hunt_by_tests, [text for mutant in MUTANTS for text in (mutant.name, mutant.area)]),
        (hunt_by_core, [mutant.name for mutant in CORE_MUTANTS]),
        (hunt_by_nodes, [mutant.name for mutant in RUNTIME_MUTANTS]),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Hunt; return 0 if every chosen mutant was found as it should be, else 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", default="1", help="processes (default 1)")
    parser.add_argument("--only", default="", help="mutants whose name or area contains this")
    arguments = parser.parse_args(argv)
    chosen = [hunt for hunt, names in _lists() if any(arguments.only in name for name in names)]
    if not chosen:
        sys.stdout.write(f"no mutant of any list has {arguments.only!r} in its name or area\n")
        return 1
    return max([hunt(["--jobs", arguments.jobs, "--only", arguments.only]) for hunt in chosen])


if __name__ == "__main__":
    sys.exit(main())
