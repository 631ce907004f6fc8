"""Planted bugs: each must be found within a bounded number of seeds, or the simulator is blind.

A mutant changes one rule of the core, the disk, the driver or the state machine. Several are bugs
of released versions of other implementations. ``python -m tests.simulation.mutants`` hunts them all
and prints how many seeds each one took.
"""

from __future__ import annotations

from itertools import count, islice

from braft_testing.simulation.plan import draw_plan
from braft_testing.simulation.world import Report, run_seed
from tests.simulation.mutants import (
    bootstrap,
    disks,
    elections,
    impostors,
    leases,
    logs,
    rejoin,
    removals,
    snapshots,
    staleness,
    versions,
)
from tests.simulation.mutants.planting import Mutant, Patch

__all__ = ["MUTANTS", "Mutant", "hunt"]

MUTANTS: tuple[Mutant, ...] = (
    *staleness.MUTANTS,
    *disks.MUTANTS,
    *elections.MUTANTS,
    *bootstrap.MUTANTS,
    *impostors.MUTANTS,
    *leases.MUTANTS,
    *logs.MUTANTS,
    *removals.MUTANTS,
    *rejoin.MUTANTS,
    *snapshots.MUTANTS,
    *versions.MUTANTS,
)


def hunt(mutant: Mutant) -> tuple[int, Report | None]:
    """Run seeds until one finds the mutant; return how many were run, and the last report."""
    with Patch() as patch:
        arguments = mutant.plant(patch)
        suited = (seed for seed in count() if mutant.suits(draw_plan(seed)))
        for runs, seed in enumerate(islice(suited, mutant.most_seeds), 1):
            report = run_seed(seed, **arguments)
            if not report.ok:
                return runs, report
    return mutant.most_seeds, None
