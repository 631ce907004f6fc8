"""Run the test of a mutant in a process of its own, in which the fault is planted."""

from __future__ import annotations

import atexit
import queue
from pathlib import Path
from typing import NamedTuple

from tests.mutants.planting import Mutant
from tests.mutants.warm import WarmProcess

__all__ = ["ROOT", "Outcome", "hunt"]

#: The project's root folder.
ROOT = Path(__file__).parents[2]
#: Seconds after which a test counts as hanging, and so as failed.
_HANGS = 120
#: Seconds after which pytest itself does.
_LOST = 3 * _HANGS
#: What pytest returns if tests have failed.
_FAILED = 1

#: Warm processes that nobody uses right now: there are as many as hunt at the same time.
_idle: queue.SimpleQueue[WarmProcess] = queue.SimpleQueue()


class Outcome(NamedTuple):
    """Whether the test has failed, and why not."""

    found: bool
    problem: str = ""


def hunt(mutant: Mutant) -> Outcome:
    """Run the test that must find the mutant. Thread-safe."""
    # Plain assertions: pytest cannot rewrite what is imported already.
    options = ["-q", "-x", "-n0", "--assert=plain", "-p", "no:cacheprovider"]
    options.append(f"--timeout={_HANGS}")
    process = _take()
    try:
        code, output = process.run(mutant.name, [*options, mutant.found_by], str(ROOT))
    finally:
        _idle.put(process)
    if code == _FAILED:
        return Outcome(True)
    if code == 0:
        return Outcome(False, f"NOT FOUND by {mutant.found_by}")
    return Outcome(False, f"pytest ended with {code}: {output[-500:]}")


def _take() -> WarmProcess:
    try:
        return _idle.get_nowait()
    except queue.Empty:
        process = WarmProcess(_LOST)
        atexit.register(process.close)
        return process
