"""Deterministic simulation of whole clusters, to test the consensus core under faults.

``run_seed(seed)`` runs one cluster, all from one integer, and returns a :class:`Report`;
``python -m braft_testing.simulation`` runs many. See ``docs/simulation.md``.
"""

from __future__ import annotations

from braft_testing.simulation.errors import InvariantBroken
from braft_testing.simulation.plan import Plan, draw_plan
from braft_testing.simulation.service import simulate_service
from braft_testing.simulation.world import Report, World, run_seed

__all__ = [
    "InvariantBroken",
    "Plan",
    "Report",
    "World",
    "draw_plan",
    "run_seed",
    "simulate_service",
]
