"""The variables of one server (Raft figure 2), its outbox, and steps that several rules share.

The rules are functions over this state in the modules beside it: ``election``, ``replication``,
``reads``, ``confchange`` and others. :class:`braft_core.raft.core.RaftCore` calls them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from braft_core.raft.config import RaftConfig
from braft_core.raft.limits import MAX_TERM
from braft_core.raft.log import RaftLog
from braft_core.raft.messages import Message
from braft_core.raft.progress import Progress
from braft_core.raft.ready import (
    Batch,
    ConfigurationChanged,
    Event,
    LeaderChanged,
    ReadReady,
    RoleChanged,
)
from braft_core.raft.stamps import Stamps
from braft_core.raft.types import Configuration, Entry, HardState, Role, SnapshotMeta

__all__ = ["PendingRead", "RaftState"]

NEVER = float("inf")
_INITIAL = HardState()


@dataclass(slots=True)
class PendingRead:
    """A read that waits for proof that this server still leads."""

    read_id: int
    #: An answer to a request with this id or a later one proves leadership after the arrival.
    threshold: int
    #: Commit index when it arrived; -1 until the leader has committed in its own term.
    index: int
    announced: bool = False


@dataclass(slots=True)
class RaftState:
    """Everything a server knows. It has one owner; only the functions of the rules change it."""

    server_id: str
    config: RaftConfig
    random: Callable[[], float]
    now: float
    log: RaftLog
    stamps: Stamps
    current_term: int
    voted_for: str

    role: Role = Role.FOLLOWER
    leader: str = ""
    commit_index: int = 0
    last_applied: int = 0
    #: Committed entries up to this index were emitted for applying.
    handed_to_apply_index: int = 0

    # elections
    election_deadline: float = NEVER
    leader_contact: float = -NEVER
    #: When a term far beyond ours last raised ours by :data:`MAX_TERM_STEP`.
    term_stepped_at: float = -NEVER
    #: Votes of our campaign in the current term, and its unanswered requests: id to voter.
    votes: dict[str, bool] = field(default_factory=dict)
    vote_requests: dict[int, str] = field(default_factory=dict)
    #: The same for the PreVote of the next term.
    pre_votes: dict[str, bool] = field(default_factory=dict)
    pre_vote_requests: dict[int, str] = field(default_factory=dict)
    #: Early retries of a campaign that are left after the leader was lost.
    fast_retries_left: int = 0
    #: False to never campaign.
    campaign_enabled: bool = True
    #: Why there is no leader, if known.
    no_leader_reason: str = ""
    #: With leases: vote for nobody, ourselves included, before this time.
    vote_lease_until: float = -NEVER
    durable_hard_state: HardState = _INITIAL
    emitted_hard_state: HardState = _INITIAL
    #: Batches that were emitted and are not durable yet, in order.
    unsynced: deque[Batch] = field(default_factory=deque)
    #: Seconds until the latest batch with something to write was durable.
    last_sync_seconds: float = 0.0

    # leadership
    progress: dict[str, Progress] = field(default_factory=dict)
    heartbeat_due: float = NEVER
    quorum_check_due: float = NEVER
    notify_due: float = NEVER
    transfer_to: str = ""
    transfer_deadline: float = NEVER
    transfer_sent: bool = False
    #: TimeoutNow was sent in this term, so leases are void.
    lease_invalidated: bool = False
    #: A commit index that is not durable here yet, 0 for none, and since when.
    outpaced_at: int = 0
    outpaced_since: float = NEVER
    uncommitted_bytes: int = 0
    pending_reads: list[PendingRead] = field(default_factory=list)
    read_round_at: float = -NEVER

    # snapshots
    #: The newest snapshot in the local store.
    snapshot: SnapshotMeta | None = None
    #: A received snapshot that the driver must restore.
    restoring: SnapshotMeta | None = None

    # outbox
    next_request_id: int = 1
    next_batch: int = 1
    messages: list[Message] = field(default_factory=list)
    messages_after_persist: list[Message] = field(default_factory=list)
    reads: list[ReadReady] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    # -- facts ---------------------------------------------------------------------------

    @property
    def hard_state(self) -> HardState:
        """The current term and vote, durable or not."""
        return HardState(self.current_term, self.voted_for)

    @property
    def configuration(self) -> Configuration:
        """The configuration in use."""
        return self.log.configuration

    @property
    def is_voter(self) -> bool:
        """True if this server votes in the configuration in use."""
        return self.server_id in self.log.voters

    @property
    def may_campaign(self) -> bool:
        """True if this server may campaign.

        A voter may. So may a server whose removal or demotion is in its log and not known to be
        committed, as after a restart: if only its log is complete, only it can win (thesis
        §4.2.2). The configuration before the latest is certainly committed. Without a higher term
        left, no server may.
        """
        if self.current_term + 1 >= MAX_TERM:
            return False
        if self.is_voter:
            return True
        undecided = self.log.configuration_index > self.commit_index
        return undecided and self.log.previous_configuration.is_voter(self.server_id)

    @property
    def other_voters(self) -> list[str]:
        """Voters besides this server, in configuration order."""
        return [v for v in self.log.voters if v != self.server_id]

    @property
    def leader_is_alive(self) -> bool:
        """True if a leader sent something within the minimum election timeout (thesis §4.2.3)."""
        if self.role is Role.LEADER:
            return True
        heard = self.now - self.leader_contact < self.config.election_timeout
        return bool(self.leader) and heard

    # -- shared steps --------------------------------------------------------------------

    def extend_vote_lease(self) -> bool:
        """Extend our vote lease by an election timeout; return False if leases are not in use."""
        if self.config.lease_reads:
            self.vote_lease_until = self.now + self.config.election_timeout
        return self.config.lease_reads

    def request_id(self) -> int:
        """Return a new id for an outgoing request."""
        self.next_request_id += 1
        return self.next_request_id - 1

    def respond(self, message: Message) -> None:
        """Send a response once our term and vote are durable (Raft §5.1, §5.2)."""
        if self.durable_hard_state == (self.current_term, self.voted_for):
            self.messages.append(message)
        else:
            self.messages_after_persist.append(message)

    def reset_election_timer(self) -> None:
        """Start a new, randomized election timeout (Raft §5.2)."""
        config = self.config
        wait = config.election_timeout + self.random() * config.election_jitter
        self.election_deadline = self.now + wait

    def set_leader(self, leader: str) -> None:
        """Follow ``leader``; "" for nobody."""
        if leader:
            self.no_leader_reason = ""
        if leader != self.leader:
            self.leader = leader
            self.events.append(LeaderChanged(leader, self.current_term))

    def set_role(self, role: Role, reason: str) -> None:
        """Change the role and emit an event."""
        self.role = role
        self.events.append(RoleChanged(role, self.current_term, reason))

    def become_follower(self, term: int, leader: str, reason: str) -> None:
        """Become a follower in ``term``, or in the current term if that is higher."""
        if term > self.current_term:
            self.current_term = term
            self.voted_for = ""
        elif self.role is Role.FOLLOWER:
            self.set_leader(leader)
            return
        was_follower = self.role is Role.FOLLOWER
        if self.role is Role.LEADER:
            self._leave_leadership()
        self.forget_votes()
        self.set_leader(leader)
        self.set_role(Role.FOLLOWER, reason)
        if not was_follower:
            self.reset_election_timer()

    def forget_votes(self) -> None:
        """Discard the votes and requests of our campaign and our PreVote."""
        for votes in (self.votes, self.pre_votes):
            votes.clear()
        for requests in (self.vote_requests, self.pre_vote_requests):
            requests.clear()

    def _leave_leadership(self) -> None:
        self.reads.extend(ReadReady(read.read_id, -1) for read in self.pending_reads)
        self.pending_reads.clear()
        self.progress.clear()
        self.transfer_to = ""
        self.transfer_deadline = NEVER
        self.lease_invalidated = False
        self.outpaced_at = 0
        self.heartbeat_due = self.quorum_check_due = self.notify_due = NEVER
        self.leader_contact = -NEVER

    def append(self, entries: Sequence[Entry]) -> None:
        """Append to the log and use a configuration among the entries at once (Raft §6)."""
        if self.log.append(entries):
            self.configuration_changed()

    def configuration_changed(self) -> None:
        """Emit the event that another configuration is in use."""
        log = self.log
        self.events.append(ConfigurationChanged(log.configuration, log.configuration_index))
