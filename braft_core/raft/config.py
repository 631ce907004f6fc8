"""Tunables of the consensus core. Settings, not membership (that is the *configuration*)."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["RaftConfig"]


@dataclass(frozen=True, slots=True)
class RaftConfig:
    """All durations in seconds, all sizes in bytes."""

    #: A leader says "I lead" this often.
    heartbeat_interval: float = 0.1
    #: A follower campaigns after this long without a leader, plus a random part.
    election_timeout: float = 1.0
    #: The random part is drawn from [0, this) anew for each wait.
    election_jitter: float = 0.5
    #: After a broken leader connection a follower campaigns within [0, this).
    lost_leader_jitter: float = 0.03
    #: A request without any answer from the peer for this long counts as lost.
    request_timeout: float = 0.5
    #: How long followers may wait for news of a commit when no entry carries it.
    commit_notify_delay: float = 0.005
    #: Limits of one AppendEntries; a single larger entry still travels alone.
    max_append_entries: int = 2048
    max_append_bytes: int = 1 << 20
    #: Limits of unanswered AppendEntries to one peer.
    max_inflight_messages: int = 8
    max_inflight_bytes: int = 8 << 20
    #: A leader whose disk is behind what the others have committed for longer than this steps down.
    disk_patience: float = 2.0
    #: Back-pressure: entries appended but not yet committed.
    max_uncommitted_entries: int = 65536
    max_uncommitted_bytes: int = 256 << 20
    #: While a snapshot travels, entries behind it are kept for the receiver, up to this many.
    max_retained_entries: int = 200_000
    #: Let the leader serve reads without a round of heartbeats while a majority has promised not to
    #: vote for anybody else. Assumes that no clock of the cluster runs faster than another by more
    #: than ``clock_drift``; where that is false, such a read can be stale. A follower that promises
    #: does not replace a killed leader before an election timeout has passed.
    lease_reads: bool = False
    #: The part by which the clocks' rates may differ.
    clock_drift: float = 0.1
