"""The intervals, timeouts and limits in time of a node, as one value that is passed in."""

from __future__ import annotations

from dataclasses import dataclass, field

from braft_core.abc import TransportTiming
from braft_core.cluster.timing import ClusterTiming

__all__ = ["DEFAULT_TIMING", "Timing"]


@dataclass(frozen=True, slots=True)
class Timing:
    """All durations of a node that no setting changes, in seconds.

    Users do not set them; tests shorten or lengthen them. The durations of Raft are settings.
    """

    # -- start
    #: How long a data directory may be locked while its ports are free. A node that starts, one
    #: that stops and ``braft doctor`` hold the lock for a moment.
    lock_patience: float = 3.0
    #: Between two attempts to take the lock.
    lock_poll: float = 0.02
    #: Before the first proposal if the number of nodes is not configured: announcing and browsing
    #: take that long.
    discovery_listen: float = 1.5
    #: How long the discovery view must be unchanged before a proposal.
    discovery_margin: float = 0.3

    # -- requests
    #: Between two searches for waiting requests whose deadline has passed.
    deadline_sweep: float = 0.05
    #: Before a request that was not served, or an operator's change, is tried again.
    request_retry: float = 0.05
    #: Limit of one call that asks the leader for a read index.
    read_index_timeout: float = 1.0
    #: How long the view of the whole cluster waits for the other members, unless the caller says.
    view_timeout: float = 2.0
    #: How long a new leader that has to hand over waits until a successor can take over.
    successor_patience: float = 0.4

    # -- disk
    #: Before a write to a full disk is tried again.
    full_disk_retry: float = 0.5
    #: A write that takes longer is slow: elections take as long as some writes.
    write_slow: float = 1.0
    #: A write that takes longer is stalled: the node is not ready.
    write_stalled: float = 2.0
    #: How long a slow write is reported after its end, and least time between two log lines.
    slow_write_reported: float = 60.0
    #: Between two checks whether a snapshot is due.
    snapshot_check: float = 0.25
    #: Before the next snapshot after one that failed.
    snapshot_retry: float = 30.0

    # -- services
    #: Most time between two checks whether a checkpoint of the state digests is due.
    digest_check: float = 1.0
    #: Time on the processor after which hashing pauses.
    digest_stretch: float = 0.005
    #: Between two checks of the list of live nodes for the distribute service.
    live_check: float = 0.25
    #: Limit of one proposal of that list.
    live_timeout: float = 5.0
    #: Between two checks of the store's history and quota.
    store_check: float = 1.0
    #: After this much silence a member gets no items. It outlasts an election.
    gone_after: float = 3.0

    #: Most time between two ticks of the store's leases.
    lease_tick: float = 0.5
    #: Limit of one proposal of a tick.
    lease_timeout: float = 5.0
    #: How long renewals are gathered into one command.
    renew_gather: float = 0.02
    #: Limit of one attempt to renew.
    renew_timeout: float = 2.0
    #: Between two searches for leases of this process to renew, or that are lost.
    lease_check: float = 0.05

    # -- observation
    #: Between two rounds of checks: certificates, addresses, the data directory.
    check_interval: float = 1.0
    #: How long a node may be not ready before the reason is logged. Bootstrap and elections are
    #: over by then, and have log lines of their own.
    not_ready_patience: float = 4.0
    #: Least time between two log lines about peers that break a rule of the protocol.
    violation_log_interval: float = 10.0
    #: How long the latest violation is reported.
    violation_reported: float = 600.0

    # -- leaving an empty cluster
    #: How long to wait for the writer before the wait is logged and begins again.
    abandon_join: float = 2.0
    #: Before the disk is asked again to forget the cluster.
    abandon_retry: float = 1.0

    # -- stop
    #: Limit of leaving the cluster, or of handing over leadership.
    hand_over: float = 1.0
    #: How long to wait for the outcome of commands under way.
    drain: float = 0.5
    #: Limit of ``discovery.stop()``: what comes after it needs time too.
    discovery_stop: float = 3.0
    #: Limit of the three above and the rest that runs on the loop.
    server_stop: float = 5.0
    #: Limit of the wait for the end of one thread.
    thread_join: float = 1.0
    #: Limit of the wait for blocking calls of the loop, such as name resolution.
    executor_stop: float = 1.0
    #: For which calls under way at a plugin's front end may finish.
    front_end_grace: float = 0.5
    #: What a front end may need beyond that, and what its loop may.
    front_end_stop: float = 5.0

    #: Those of discovery, bootstrap and membership.
    cluster: ClusterTiming = field(default_factory=ClusterTiming)
    #: Those of the transport.
    transport: TransportTiming = field(default_factory=TransportTiming)


DEFAULT_TIMING = Timing()
