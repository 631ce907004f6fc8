"""Swarm testing (Groce et al. 2012): each seed draws which faults its run has, and how many.

Owns every tunable of a run. A run with all faults at once hides the bugs that need some of them to
be absent. Therefore each fault is present in only about half of the runs.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from braft_core.cluster.interface import AutopilotRules
from braft_core.raft.config import RaftConfig

__all__ = ["FAULTS", "Plan", "draw_plan", "draw_versions", "stream"]

#: Kinds of faults that come at intervals, in any run and where dead voters are removed.
_COMMON = (
    "partition",
    "diverge",
    "crash",
    "pause",
    "slow_disk",
    "full_disk",
    "read_error",
    "wipe",
    "clock",
    "false_alarm",
    "membership",
    "transfer",
    "storm",
)
FAULTS = (*_COMMON, "slow_syncs", "death", "upgrade", "forgery")

#: What a version may have that the one before lacks.
_FEATURES = ("argument", "command", "level", "service")


def stream(seed: int, name: str) -> random.Random:
    """Return an independent random stream of a seed, the same in every process."""
    return random.Random(f"{seed}/{name}")  # noqa: S311 - must be reproducible, not secret


@dataclass(frozen=True, slots=True)
class Plan:
    """All tunables of one run. Durations in virtual seconds, probabilities per message."""

    servers: int
    initial_voters: int
    seconds: float
    config: RaftConfig
    #: Mean seconds between faults of each kind; an absent kind does not occur.
    faults: dict[str, float]
    delay: float
    jitter: float
    loss: float
    duplication: float
    reordering: float
    #: Probability that a dead connection is reported to the peers at once.
    alarm: float
    sync_latency: float
    apply_latency: float
    #: Probability that a server's wake-up is late, and the longest delay.
    late_wake: float
    late_wake_delay: float
    clock_drift: float
    clients: int
    think_time: float
    keys: int
    client_timeout: float
    read_share: float
    follower_read_share: float
    #: Shares of operations: in a session, on a set, with the lock; of reads: stale, by lease. With
    #: a service under test all commands are in a session, and that share is repeated.
    session_share: float
    set_share: float
    lock_share: float
    stale_share: float
    lease_share: float
    #: Entries between two snapshots (0: none), entries left in the log, and the longest time to
    #: write a snapshot.
    snapshot_every: int
    snapshot_tail: int
    snapshot_time: float
    #: The longest transfer time of a snapshot, how often it breaks off, and the sender's timeout.
    transfer_time: float
    transfer_loss: float
    transfer_timeout: float
    #: Probability that a server crashes right after it stored a snapshot.
    snapshot_crash: float
    #: Whether clocks satisfy the assumption of leases: bounded drift, no jumps.
    bounded_clock_drift: bool
    #: Whether the servers bootstrap the cluster; how many together; how often discovery is wrong;
    #: whether it never hides a node (then fewer than a majority may bootstrap).
    bootstrap: bool = False
    expect: int = 0
    discovery_error_rate: float = 0.0
    complete_views: bool = False
    #: A learner at most this many entries behind the leader may be promoted.
    promotion_lag: int = 64
    #: Most operations of one client.
    operations: int = 1 << 30
    #: How leaders remove dead voters, if they do.
    autopilot: AutopilotRules | None = None
    #: Minimum duration of each sync in the whole run, including its recovery; and whether it
    #: differs by server, up to that value.
    slow_syncs: float = 0.0
    uneven_syncs: bool = False
    #: What each further version of the program adds to the one before; empty where all servers run
    #: the same. See :mod:`braft_testing.simulation.versions`.
    versions: tuple[tuple[str, ...], ...] = ()


def draw_plan(seed: int, seconds: float | None = None, *, service: bool = False) -> Plan:
    """Draw the plan of a seed; ``service``: for a run of a service under test."""
    plan = _with_disks(_draw_plan(seed, seconds), stream(seed, "plan/disks"))
    plan = _with_forgery(plan, stream(seed, "plan/impostor"))
    if service:
        return _with_service(plan, stream(seed, "plan/service"))
    return _with_versions(plan, stream(seed, "plan/versions"))


def _with_forgery(plan: Plan, rng: random.Random) -> Plan:
    """Add forged messages in a fifth of the runs."""
    if rng.random() >= 0.2:
        return plan
    return replace(plan, faults={**plan.faults, "forgery": rng.choice((0.3, 1.0, 2.0))})


def _with_versions(plan: Plan, rng: random.Random) -> Plan:
    """Let servers run several versions, upgraded one after the other, in a fifth of the runs.

    A member that is lost for good would prevent agreement until it is removed.
    """
    if rng.random() >= 0.2:
        return plan
    steps = []
    for _ in range(rng.choice((1, 1, 2))):
        features = rng.sample(_FEATURES, rng.randint(1, len(_FEATURES)))
        steps.append(tuple(sorted(features)))
    faults = {kind: 1.5 * interval for kind, interval in plan.faults.items() if kind != "wipe"}
    faults["upgrade"] = rng.uniform(0.4, 1.5)
    return replace(
        plan,
        versions=tuple(steps),
        faults=faults,
        session_share=rng.choice((0.3, 0.6)),
        think_time=rng.choice((0.02, 0.1)),
    )


def draw_versions(plan: Plan, rng: random.Random) -> list[int]:
    """Return the version that each server has at first: usually the oldest."""
    mixed = rng.random() < 0.3
    newest = len(plan.versions) + 1
    return [rng.randint(1, newest) if mixed else 1 for _ in range(plan.servers)]


def _with_disks(plan: Plan, rng: random.Random) -> Plan:
    """Make disks slower than every timeout: in some runs for long phases, in some always.

    Faults are rarer there, or no election would succeed.
    """
    timeout, faults = plan.config.election_timeout, dict(plan.faults)
    draw, phases = rng.random(), rng.uniform(2.0, 8.0)
    if plan.autopilot is not None or draw < 0.6:
        return plan
    if draw < 0.8:
        return replace(plan, faults={**faults, "slow_syncs": phases})
    return replace(
        plan,
        slow_syncs=timeout * rng.choice((0.7, 1.5, 2.5, 5.0)),
        uneven_syncs=rng.random() < 0.5,
        # A receiver answers when its disk has everything; real senders wait for a minute.
        transfer_timeout=plan.transfer_timeout + 40.0 * timeout,
        faults={kind: 3.0 * interval for kind, interval in faults.items()},
    )


def _with_service(plan: Plan, rng: random.Random) -> Plan:
    """Take snapshots in every run, and let clients repeat some commands and abandon others."""
    return replace(
        plan,
        snapshot_every=rng.choice((2, 5, 12, 30)),
        session_share=rng.choice((0.3, 0.7, 1.0)),
        think_time=rng.choice((0.005, 0.02, 0.1)),
    )


def _draw_plan(seed: int, seconds: float | None) -> Plan:
    rng = stream(seed, "plan")
    initial_voters = rng.choice((1, 2, 3, 3, 3, 3, 4, 5, 5, 5, 6))
    servers = min(7, initial_voters + rng.choice((0, 0, 1, 2, 3)))
    faults = {kind: rng.uniform(0.5, 5.0) for kind in _COMMON if rng.random() < 0.5}
    if servers == initial_voters == 1:
        faults.pop("membership", None)
    if initial_voters < 3 or "membership" in faults:
        faults.pop("wipe", None)  # lost servers must be a minority
    config, promotion_lag = _draw_config(rng), rng.choice((0, 4, 64))
    leases = config.lease_reads
    drift = config.clock_drift / 2 if leases else 0.2
    timeout = rng.uniform(0.5, 3.0)
    bootstrap, expect, complete, error_rate = _draw_bootstrap(rng, servers, initial_voters)
    if bootstrap:
        initial_voters = expect
        faults.pop("wipe", None)  # an initial voter that is lost before the start blocks it
    plan = Plan(
        servers=servers,
        initial_voters=initial_voters,
        seconds=rng.uniform(8.0, 16.0) if seconds is None else seconds,
        config=config,
        faults=faults,
        delay=rng.choice((0.0002, 0.001, 0.005)),
        jitter=rng.choice((0.0, 0.001, 0.01, 0.05)),
        loss=_sometimes(rng, 0.4, 0.2),
        duplication=_sometimes(rng, 0.4, 0.2),
        reordering=_sometimes(rng, 0.4, 0.3),
        alarm=rng.choice((0.0, 0.5, 1.0)),
        sync_latency=rng.choice((0.0, 0.001, 0.01, 0.03)),
        apply_latency=rng.choice((0.0, 0.0, 0.002, 0.02)),
        late_wake=_sometimes(rng, 0.4, 0.3),
        late_wake_delay=rng.choice((0.002, 0.02)),
        clock_drift=_sometimes(rng, 0.5, drift),
        clients=rng.randint(2, 6),
        think_time=rng.choice((0.02, 0.1, 0.3)),
        keys=rng.randint(1, 4),
        client_timeout=timeout,
        read_share=rng.choice((0.2, 0.5, 0.8)),
        follower_read_share=rng.choice((0.0, 0.5)),
        session_share=rng.choice((0.0, 0.1, 0.3)),
        set_share=rng.choice((0.0, 0.0, 0.15)),
        lock_share=rng.choice((0.0, 0.1, 0.2)),
        stale_share=rng.choice((0.0, 0.2)),
        lease_share=rng.choice((0.3, 0.9)) if leases else 0.0,
        snapshot_every=rng.choice((0, 0, 5, 20, 60)),
        snapshot_tail=rng.choice((0, 0, 3, 20, 1000)),
        snapshot_time=rng.choice((0.0, 0.05, 0.5)),
        transfer_time=rng.choice((0.01, 0.1, 1.0)),
        transfer_loss=_sometimes(rng, 0.4, 0.5),
        transfer_timeout=rng.choice((0.3, 1.5)),
        snapshot_crash=_sometimes(rng, 0.4, 0.3),
        bounded_clock_drift=leases,
        bootstrap=bootstrap,
        expect=expect,
        discovery_error_rate=error_rate,
        complete_views=complete,
        promotion_lag=promotion_lag,
    )
    return _with_deaths(plan, _draw_autopilot(stream(seed, "plan/removing")), seconds)


def _with_deaths(plan: Plan, autopilot: AutopilotRules | None, seconds: float | None) -> Plan:
    """Make the run longer and faults rarer, or no leader would ever be stable."""
    if autopilot is None:
        return plan
    faults = {kind: 3.0 * interval for kind, interval in plan.faults.items()}
    faults["death"] = 1.5 * autopilot.dead_after
    longer = 2.0 * plan.seconds if seconds is None else seconds
    return replace(plan, faults=faults, seconds=longer, autopilot=autopilot)


def _draw_autopilot(rng: random.Random) -> AutopilotRules | None:
    """Let leaders remove dead voters in a quarter of the runs, with times that fit into them."""
    if rng.random() >= 0.25:
        return None
    return AutopilotRules(
        stabilization_time=rng.choice((0.5, 1.0, 2.0)),
        dead_after=rng.choice((0.8, 1.5)),
        min_quorum=rng.choice((1, 2, 2, 3)),
        window=rng.choice((2.0, 5.0, 10.0)),
        last_contact_threshold=0.3,
        max_gap=0.3,
        pause=0.3,
    )


def _draw_bootstrap(
    rng: random.Random, servers: int, initial_voters: int
) -> tuple[bool, int, bool, float]:
    """Let fewer than a majority bootstrap only where discovery never hides a node."""
    bootstrap, complete = rng.random() < 0.25, rng.random() < 0.3
    least = servers // 2 + 1
    expect = rng.randint(1, servers) if complete else max(least, initial_voters)
    return bootstrap, min(expect, servers), complete, rng.choice((0.0, 0.3, 0.7))


def _sometimes(rng: random.Random, probability: float, most: float) -> float:
    """Return 0, or with ``probability`` a value up to ``most``."""
    present, value = rng.random() < probability, rng.uniform(most / 20, most)
    return value if present else 0.0


def _draw_config(rng: random.Random) -> RaftConfig:
    election = rng.choice((0.2, 0.4, 1.0))
    return RaftConfig(
        heartbeat_interval=election / rng.choice((3, 5, 8)),
        election_timeout=election,
        election_jitter=election * rng.choice((0.2, 0.5, 1.0)),
        lost_leader_jitter=rng.choice((0.0, 0.03)),
        request_timeout=election * rng.choice((0.3, 0.5, 1.0)),
        commit_notify_delay=rng.choice((0.0, 0.005)),
        max_append_entries=rng.choice((1, 4, 64, 2048)),
        max_append_bytes=rng.choice((64, 1 << 20)),
        max_inflight_messages=rng.choice((1, 2, 8)),
        max_uncommitted_entries=rng.choice((8, 65536)),
        max_retained_entries=rng.choice((4, 200_000)),
        lease_reads=rng.random() < 0.3,
    )
