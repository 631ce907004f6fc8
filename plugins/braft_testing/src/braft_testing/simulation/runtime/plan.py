"""What one seed decides before a run begins: sizes, durations, and which faults there are."""

from __future__ import annotations

import random
from dataclasses import dataclass

__all__ = ["FAULTS", "MEMBERSHIPS", "RuntimePlan", "draw_runtime_plan"]

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
    "slow_service",
    "forgery",
    "forged_call",
)
#: Faults that only runs with such changes of the membership have: of any member by operators; of
#: nodes that lose their data; of the dead, by the leaders.
MEMBERSHIPS: dict[str, tuple[str, ...]] = {
    "": (),
    "changes": ("remove", "demote", "promote", "join"),
    "replace": ("replace", "join", "stop"),
    "autopilot": ("away", "join"),
}
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
    #: A key of :data:`MEMBERSHIPS`.
    membership: str = ""
    #: Nodes that join the cluster later.
    spares: int = 0
    #: How many versions of the program there are; the nodes begin with the first.
    versions: int = 1
    #: How long a dead voter is silent, and the time in which few are removed.
    dead_after: float = 2.0
    removal_window: float = 5.0


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
    servers = rng.choice((1, 2, 3, 3, 3, 3, 4, 5))
    # More spares than this could bootstrap a cluster of their own.
    membership = rng.choice(tuple(MEMBERSHIPS)) if servers > 1 else ""
    spares = rng.randint(0, min(2, servers - 1)) if membership else 0
    versions = rng.choice((1, 1, 1, 2, 3))
    faults = (faults or ("kill",)) + MEMBERSHIPS[membership] + ("upgrade",) * (versions > 1)
    return RuntimePlan(
        servers=servers,
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
        faults=tuple(dict.fromkeys(faults)),
        membership=membership,
        spares=spares,
        versions=versions,
        dead_after=rng.choice((1.5, 3.0)),
        removal_window=rng.choice((2.0, 30.0)),
    )
