"""Faults planted in the runtime: each must be found by the test that it names.

A mutant edits the code of one function of the product. ``python -m tests.mutants`` plants them one
by one, each in a process of its own, and runs its test there.
"""

from __future__ import annotations

from tests.mutants import edges, lanes, membership, node, recipes, requests, store, stores
from tests.mutants.planting import Edit, Mutant

__all__ = ["MUTANTS", "Edit", "Mutant", "by_name"]

MUTANTS: tuple[Mutant, ...] = (
    *node.MUTANTS,
    *requests.MUTANTS,
    *stores.MUTANTS,
    *lanes.MUTANTS,
    *membership.MUTANTS,
    *store.MUTANTS,
    *edges.MUTANTS,
    *recipes.MUTANTS,
)


def by_name(name: str) -> Mutant:
    """Return the mutant of that name. :raises KeyError: there is none."""
    return {mutant.name: mutant for mutant in MUTANTS}[name]
