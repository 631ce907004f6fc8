"""Planted bugs: each must be found within a bounded number of seeds, or the simulator is blind.

A mutant changes one rule of the core, the disk, the driver or the state machine. Several are bugs
of released versions of other implementations. ``python -m tests.simulation.mutants`` hunts them all
and prints how many seeds each one took.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, count, islice

from braft_testing.simulation.plan import draw_plan
from braft_testing.simulation.world import Report, run_seed
from tests.simulation.mutants import (
    bootstrap,
    disks,
    elections,
    forged_messages,
    logs,
    rejoin,
    removals,
    snapshots,
    staleness,
    versions,
)
from tests.simulation.mutants.planting import Mutant, Patch

__all__ = ["MUTANTS", "Mutant", "hunt", "seeds_of"]

MUTANTS: tuple[Mutant, ...] = (
    *staleness.MUTANTS,
    *disks.MUTANTS,
    *elections.MUTANTS,
    *bootstrap.MUTANTS,
    *forged_messages.MUTANTS,
    *logs.MUTANTS,
    *removals.MUTANTS,
    *rejoin.MUTANTS,
    *snapshots.MUTANTS,
    *versions.MUTANTS,
)


def seeds_of(mutant: Mutant) -> Iterator[int]:
    """Yield the seeds within which the mutant must be found."""
    suited = (seed for seed in count() if mutant.suits(draw_plan(seed)))
    return islice(suited, mutant.most_seeds)


def hunt(mutant: Mutant, known: int | None = None) -> tuple[int, Report | None]:
    """Run seeds until one finds the mutant; return how many were run, and the last report.

    :param known: one of :func:`seeds_of` that is run first, since it found the mutant before.
    """
    first = () if known is None else (known,)
    with Patch() as patch:
        arguments = mutant.plant(patch)
        for runs, seed in enumerate(chain(first, seeds_of(mutant)), 1):
            report = run_seed(seed, **arguments)
            if not report.ok:
                return runs, report
    return mutant.most_seeds, None
