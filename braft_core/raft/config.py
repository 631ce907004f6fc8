"""Tunables of the consensus core. Membership is called *configuration* and is not here."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["RaftConfig"]


@dataclass(frozen=True, slots=True)
class RaftConfig:
    """Tunables of one core. Durations are in seconds, sizes in bytes."""

    #: A leader sends heartbeats this often.
    heartbeat_interval: float = 0.1
    #: A follower campaigns after this long without a leader, plus a random time.
    election_timeout: float = 1.0
    #: The random time is drawn from [0, this) for each wait.
    election_jitter: float = 0.5
    #: After a broken leader connection a follower campaigns within [0, this).
    lost_leader_jitter: float = 0.03
    #: Requests count as lost if the peer answers none of them for this long.
    request_timeout: float = 0.5
    #: Followers learn a new commit index after at most this long, if no entry carries it earlier.
    commit_notify_delay: float = 0.005
    #: Limits of one AppendEntries; a single larger entry is sent alone.
    max_append_entries: int = 2048
    max_append_bytes: int = 1 << 20
    #: Limits of unanswered AppendEntries to one peer.
    max_inflight_messages: int = 8
    max_inflight_bytes: int = 8 << 20
    #: A leader steps down if its disk has been behind the commit index for longer than this.
    disk_patience: float = 2.0
    #: Proposals beyond these limits of uncommitted entries raise ``Busy``.
    max_uncommitted_entries: int = 65536
    max_uncommitted_bytes: int = 256 << 20
    #: While a snapshot is sent, up to this many entries after it are kept for its receiver.
    max_retained_entries: int = 200_000
    #: Let the leader serve reads without a round of heartbeats while a majority has granted it a
    #: vote lease. Reads can be stale if one clock of the cluster runs faster than another by more
    #: than ``clock_drift``. Followers that granted a lease replace a dead leader only after an
    #: election timeout.
    lease_reads: bool = False
    #: The fraction by which the clocks' rates may differ.
    clock_drift: float = 0.1
