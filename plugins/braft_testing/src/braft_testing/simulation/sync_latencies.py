"""The sync latency of each simulated disk.

Owns the latencies that a plan and the faults set. A disk may be slower than every timeout, for a
phase or for the whole run; a run with such disks must recover all the same.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from braft_testing.simulation.plan import Plan

__all__ = ["SyncLatencies"]


class SyncLatencies:
    """Seconds of each sync, by server. After ``calm`` only those of the plan remain."""

    def __init__(self, plan: Plan, server_ids: Sequence[str], rng: random.Random) -> None:
        self._plan = plan
        #: The least that a sync takes, for the whole run.
        self.permanent = {
            server: plan.slow_syncs * (rng.random() if plan.uneven_syncs else 1.0)
            for server in server_ids
        }
        #: Temporary additions: the most of a random one, and the least.
        self.random_extra = dict.fromkeys(server_ids, 0.0)
        self.temporary = dict.fromkeys(server_ids, 0.0)
        self._calm = False

    def calm(self) -> None:
        """Keep only the latencies that the plan sets for the whole run."""
        self._calm = True
        for server in self.random_extra:
            self.random_extra[server] = self.temporary[server] = 0.0

    @property
    def slowest(self) -> float:
        """The most that a sync takes in calm times."""
        return 1.1 * max(self.permanent.values()) + self._usual * 1.5

    @property
    def _usual(self) -> float:
        return min(self._plan.sync_latency, 0.002) if self._calm else self._plan.sync_latency

    def draw(self, server: str, rng: random.Random) -> float:
        """Draw the seconds of one sync of that server."""
        taken = self._usual * (0.5 + rng.random()) + self.random_extra[server] * rng.random()
        least = self.permanent[server] + self.temporary[server]
        return taken + least * (0.9 + 0.2 * rng.random()) if least else taken
