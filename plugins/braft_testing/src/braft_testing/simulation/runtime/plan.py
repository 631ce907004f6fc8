"""What one seed decides before a run begins: sizes, durations, and which faults there are."""

from __future__ import annotations

import random
from dataclasses import dataclass

__all__ = ["FAULTS", "RuntimePlan", "draw_runtime_plan"]

#: All kinds of faults. Each seed has some of them: a run with all would hide the bugs that need
#: the absence of some.
FAULTS = (
    "kill",
    "stop",
    "partition",
    "one_way",
    "loss",
    "sever",
    "full_disk",
    "broken_disk",
    "slow_disk",
    "still",
    "freeze",
    "discovery",
    "transfer",
    "snapshot",
    "isolate",
    "clock",
)
#: The most by which clocks differ from the true rate where leases are in use.
_LEASE_DRIFT = 0.04


@dataclass(frozen=True, slots=True)
class RuntimePlan:
    """One run. Durations in virtual seconds."""

    servers: int
    clients: int
    accounts: int
    think_time: float
    #: Shares of calls that are cancelled, and of reads.
    cancelled: float
    reads: float
    request_timeout: float
    election_timeout: float
    heartbeat_interval: float
    network: float
    disk: float
    snapshot_entries: int
    snapshot_trailing: int
    max_outstanding: int
    lease_reads: bool
    #: Rates at which clocks go, where they do not go right.
    clock_rates: tuple[float, ...]
    digest_interval: float
    #: How long faults happen, and how long between two of them on average.
    chaos: float
    between_faults: float
    faults: tuple[str, ...]


def draw_runtime_plan(seed: int, seconds: float | None = None) -> RuntimePlan:
    """Draw the plan of a seed.

    :param seconds: how long faults happen; default: drawn.
    """
    rng = random.Random(f"runtime plan {seed}")  # noqa: S311 - reproducible
    election_timeout = rng.choice((0.4, 0.6, 1.0))
    chaos = rng.uniform(6.0, 14.0)
    faults = tuple(kind for kind in FAULTS if rng.random() < 0.45)
    lease_reads = rng.random() < 0.3
    within = (1 - _LEASE_DRIFT, 1 + _LEASE_DRIFT)
    return RuntimePlan(
        servers=rng.choice((1, 2, 3, 3, 3, 3, 4, 5)),
        clients=rng.randint(1, 4),
        accounts=rng.randint(1, 3),
        think_time=rng.choice((0.01, 0.05, 0.2)),
        cancelled=rng.choice((0.0, 0.02, 0.2)),
        reads=rng.choice((0.1, 0.4)),
        request_timeout=rng.choice((0.8, 2.0, 5.0)),
        election_timeout=election_timeout,
        heartbeat_interval=election_timeout / rng.choice((4, 8)),
        network=rng.choice((0.0002, 0.002, 0.02)),
        disk=rng.choice((0.0002, 0.002, 0.02)),
        snapshot_entries=rng.choice((10, 40, 1000)),
        snapshot_trailing=rng.choice((1, 5, 50)),
        max_outstanding=rng.choice((4, 64, 1024)),
        lease_reads=lease_reads,
        clock_rates=within if lease_reads else (0.2, 0.5, 0.9, 1.1, 2.0, 4.0),
        digest_interval=rng.choice((0.0, 1.0, 4.0)),
        chaos=chaos if seconds is None else seconds,
        between_faults=rng.uniform(0.4, 2.5),
        faults=faults or ("kill",),
    )
