"""From a leader that is killed or frozen to the next commit that a surviving node saw."""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import dataclass, field

from benchmarks.peers import Peer

__all__ = ["Failover"]

_ENTRIES = 2000
#: After the writes the cluster is left alone, so that the kill meets it at rest.
_REST_SECONDS = 1.0


@dataclass(slots=True)
class Failover:
    """Times of all runs, in seconds."""

    #: Stop the leader with SIGSTOP, as a machine that hangs; else with SIGKILL.
    freeze: bool = False
    seconds: list[float] = field(default_factory=list)

    def measure(self, cluster: Peer) -> None:
        """One run on a cluster that is thrown away afterwards."""
        cluster.fill(_ENTRIES, 64)
        time.sleep(_REST_SECONDS)
        self.seconds.append(cluster.fail_over(freeze=self.freeze))

    @property
    def p50(self) -> float | None:
        """Median, if anything was measured."""
        return statistics.median(self.seconds) if self.seconds else None

    @property
    def p90(self) -> float | None:
        """Nine of ten were not slower, if anything was measured."""
        ordered = sorted(self.seconds)
        return ordered[math.ceil(0.9 * len(ordered)) - 1] if ordered else None

    @property
    def worst(self) -> float | None:
        """Maximum, if anything was measured."""
        return max(self.seconds) if self.seconds else None
