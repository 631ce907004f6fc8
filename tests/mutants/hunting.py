"""Run the test of a mutant in a process of its own, in which the fault is planted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from tests.mutants.planting import Mutant

__all__ = ["ROOT", "Outcome", "hunt"]

#: The project's root folder.
ROOT = Path(__file__).parents[2]
#: Seconds after which a test counts as hanging, and so as failed.
_HANGS = 120
#: What pytest returns if tests have failed.
_FAILED = 1


class Outcome(NamedTuple):
    """Whether the test has failed, and why not."""

    found: bool
    problem: str = ""


def hunt(mutant: Mutant) -> Outcome:
    """Run the test that must find the mutant."""
    options = ["-q", "-x", "-n0", "-p", "no:cacheprovider", f"--timeout={_HANGS}"]
    command = [sys.executable, "-m", "tests.mutants.run", mutant.name, *options, mutant.found_by]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if run.returncode == _FAILED:
        return Outcome(True)
    if run.returncode == 0:
        return Outcome(False, f"NOT FOUND by {mutant.found_by}")
    return Outcome(False, f"pytest ended with {run.returncode}: {(run.stdout + run.stderr)[-500:]}")
