"""The intervals, timeouts and limits in time of this package, as one value that is passed in."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DEFAULT_TIMING", "ClusterTiming"]


@dataclass(frozen=True, slots=True)
class ClusterTiming:
    """All durations that no setting changes, in seconds.

    A pair ``…_min`` and ``…_max`` is an exponential backoff that doubles from the first to the
    second.
    """

    #: Between two ticks, before the node is a member and afterwards.
    bootstrap_tick: float = 0.05
    member_tick: float = 0.2
    #: Before a failed write, start of Raft, membership change or announcement is tried again.
    retry_interval: float = 1.0

    # -- discovery
    #: Between two listings of discovery before the node is a member.
    list_interval: float = 1.0
    #: Limit of one listing, and when an unanswered one is requested again.
    listing_timeout: float = 8.0
    listing_lost: float = 10.0
    #: Before a broken discovery watch is started again.
    watch_retry_min: float = 1.0
    watch_retry_max: float = 15.0

    # -- probes and proposals before the node is a member
    #: Until a contact that did not answer is probed again.
    contact_retry_min: float = 0.25
    contact_retry_max: float = 4.0
    #: Until a contact that answered is probed again.
    contact_refresh: float = 0.5
    #: After this, the outcome of a probe is no longer awaited.
    probe_lost: float = 3.0
    #: Between two proposals to one node, and when an unanswered one is sent again.
    proposal_interval: float = 0.25
    proposal_lost: float = 3.0
    #: Without a trace of another node's proposal for this long, reject and forget it.
    proposal_patience: float = 30.0

    # -- joining
    join_retry_min: float = 0.2
    join_retry_max: float = 5.0
    #: After this, the outcome of a join request is no longer awaited.
    join_lost: float = 30.0
    #: A learner is promoted after it has been caught up for this long.
    promotion_stable: float = 0.5
    #: A learner without contact for longer than this is not promoted.
    promotion_contact: float = 1.0

    # -- members
    #: Between two announcements, and between a learner's requests for its promotion.
    announce_interval: float = 1.0
    #: Between two rounds of probes, with a leader and without one.
    probe_interval: float = 5.0
    leaderless_probe_interval: float = 1.0
    #: Lower bound of the interval while a voter is silent.
    silent_probe_interval: float = 0.25
    #: Until a contact that did not answer a member is probed again.
    member_retry_min: float = 5.0
    member_retry_max: float = 60.0
    #: Between two searches of discovery while there is no leader.
    search_interval: float = 5.0
    #: After this long without a sign of life, a voter counts as missing.
    missing_after: float = 3.0
    #: How long a duplicate of our id is reported after it was last seen.
    duplicate_reported: float = 5.0


DEFAULT_TIMING = ClusterTiming()
