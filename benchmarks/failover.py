"""Time from killing or freezing the leader to the next commit on a surviving node."""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import dataclass, field
from typing import ClassVar

from benchmarks.peers import Peer

__all__ = ["Failover"]

_ENTRIES = 2000


@dataclass(slots=True)
class Failover:
    """Times of all runs, in seconds."""

    #: Suspend the leader (SIGSTOP), like a machine that hangs; else kill it (SIGKILL).
    freeze: bool = False
    #: Pause after the writes, so that the cluster is idle when the leader is killed.
    rest: ClassVar[float] = 1.0
    seconds: list[float] = field(default_factory=list)

    def measure(self, cluster: Peer) -> None:
        """Run once on a new cluster."""
        cluster.fill(_ENTRIES, 64)
        time.sleep(self.rest)
        self.seconds.append(cluster.fail_over(freeze=self.freeze))

    @property
    def p50(self) -> float | None:
        """Median; ``None`` without measurements."""
        return statistics.median(self.seconds) if self.seconds else None

    @property
    def p90(self) -> float | None:
        """90th percentile; ``None`` without measurements."""
        ordered = sorted(self.seconds)
        return ordered[math.ceil(0.9 * len(ordered)) - 1] if ordered else None

    @property
    def worst(self) -> float | None:
        """Maximum; ``None`` without measurements."""
        return max(self.seconds) if self.seconds else None
