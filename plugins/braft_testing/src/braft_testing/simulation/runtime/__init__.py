"""Simulate whole nodes: the code that runs in production, in virtual time, on simulated faults.

What is real and what is simulated is written in ``docs/simulation.md`` and decision 16.
"""

from braft_testing.simulation.runtime.run import Outcome, run_seed

__all__ = ["Outcome", "run_seed"]
