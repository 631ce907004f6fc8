"""What membership needs from the runtime, as a protocol, and the values that pass between them.

Owns no behaviour. Everything here is called on the node's loop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Protocol

from braft_core.abc import Identity
from braft_core.cluster.member_capabilities import MemberCapabilities
from braft_core.cluster.state_comparison import StateComparison
from braft_core.peer import PeerReply, PeerRequest
from braft_core.raft.types import EMPTY_CONFIGURATION, Configuration, Server
from braft_core.services.capabilities import Capabilities

__all__ = [
    "AutopilotRules",
    "CleanupHost",
    "MembershipHost",
    "MembershipSettings",
    "PeerView",
    "RaftView",
    "Removal",
]


@dataclass(frozen=True, slots=True)
class AutopilotRules:
    """The numbers in the rules of the removal of dead voters. Durations in seconds."""

    #: ``on``, ``dry-run`` (decides, and does nothing) or ``off``.
    mode: str = "on"
    stabilization_time: float = 60.0
    dead_after: float = 60.0
    min_quorum: int = 2
    window: float = 3600.0
    #: No settings, and shorter in simulated time: how long after its last answer a voter is
    #: healthy, the longest stretch between two looks that is none, and the pause after a removal.
    last_contact_threshold: float = 3.0
    max_gap: float = 3.0
    pause: float = 10.0


@dataclass(frozen=True, slots=True)
class Removal:
    """One removal of a dead voter, as the cluster remembers it."""

    #: Log index of the record: which removal it is.
    index: int
    server_id: str
    address: str
    #: How many voters there were before it.
    voters: int
    reason: str
    #: Whether it is taken back when it returns. Not, if somebody removed it on purpose later.
    may_rejoin: bool = True


@dataclass(frozen=True, slots=True)
class MembershipSettings:
    """The settings that membership reads. Durations in seconds."""

    cluster_name: str
    #: How many nodes found a new cluster together.
    expect: int
    #: Whether that is only the length of a list that names every bootstrapping node.
    expect_is_listed: bool = False
    #: Why nobody may tell how many nodes bootstrap, "" if ``expect`` says it.
    expect_is_unclear: str = ""
    #: The random wait before first bootstrap, already drawn.
    sleep: float = 0.0
    #: No leader for this long: search discovery again.
    restart_min: float = 90.0
    #: How long the view must be still before a cluster is founded.
    margin: float = 0.3
    #: No founding sooner than so many seconds after discovery first answered.
    listen: float = 0.0
    #: Whether this node wants to vote once it has caught up.
    voter: bool = True
    #: A learner at most this many entries behind counts as caught up.
    promotion_lag: int = 64
    #: Deadline of one probe.
    probe_timeout: float = 1.0
    #: Deadline of any other call between nodes.
    call_timeout: float = 2.0
    autopilot: AutopilotRules = AutopilotRules()
    #: The discovery as status pages show it, if it is a default that nobody chose; else "".
    default_discovery: str = ""


@dataclass(frozen=True, slots=True)
class PeerView:
    """One other server as Raft sees it."""

    #: Seconds since it last answered (on the leader) or was heard (on a follower); inf = never.
    last_contact: float = inf
    #: Last log index known to be replicated there; only the leader knows.
    match_index: int = 0


@dataclass(frozen=True, slots=True)
class RaftView:
    """Raft's state at one moment."""

    configuration: Configuration = EMPTY_CONFIGURATION
    leader_id: str = ""
    leader_address: str = ""
    is_leader: bool = False
    #: On the leader: a majority answered within an election timeout, and an entry of the current
    #: term is committed, so that membership may be changed.
    has_quorum: bool = False
    #: A membership change is appended and not yet committed.
    change_pending: bool = False
    last_index: int = 0
    #: Whether no command was ever written to the cluster.
    empty: bool = True
    peers: Mapping[str, PeerView] = field(default_factory=dict)
    term: int = 0


class NodeHost(Protocol):
    """What every part of membership needs of the runtime."""

    @property
    def identity(self) -> Identity:
        """Who this node is. ``cluster_id`` is set once it is a member, also from a former life."""

    @property
    def settings(self) -> MembershipSettings:
        """The settings membership reads; they never change."""

    def now(self) -> float:
        """Monotonic seconds."""

    def raft_view(self) -> RaftView:
        """Raft's state now. Only asked while the node is a member."""


class CleanupHost(NodeHost, Protocol):
    """What the removal of the dead needs of the runtime."""

    async def change_membership(self, kind: str, server_id: str, address: str) -> None:
        """On the leader: commit one change (kinds as in ``ChangeMembershipRequest``).

        Ends within the request timeout, so that the next newcomer's turn comes.
        ``add_voter``/``add_nonvoter`` of a member with another address changes the address alone.

        :raises BraftError: not leader, busy, or no quorum.
        """

    def removals(self) -> Sequence[Removal]:
        """The removals of dead voters that the cluster remembers, as far as applied here."""

    async def record_removal(self, server: Server, voters: int, reason: str) -> None:
        """On the leader: have the cluster remember that a dead voter is being removed.

        Committed and applied here on return.

        :raises BraftError: not leader, or no quorum; it may have been recorded.
        """


class CapabilityHost(NodeHost, Protocol):
    """What agreeing on capabilities needs of the runtime."""

    async def call(self, address: str, request: PeerRequest, timeout: float) -> PeerReply:
        """``Transport.call``."""

    @property
    def capabilities(self) -> Capabilities:
        """What this node can execute."""

    @property
    def agreed(self) -> Capabilities:
        """What the cluster has agreed on, as far as applied here."""

    @property
    def member_capabilities(self) -> MemberCapabilities:
        """What the other members have declared."""

    async def agree(self, capabilities: Capabilities) -> None:
        """On the leader: commit an negotiation; it is applied here on return.

        :raises BraftError: not leader, or no quorum; it may have been committed.
        """


class MembershipHost(CleanupHost, CapabilityHost, Protocol):
    """What the runtime gives to the membership."""

    @property
    def state_comparison(self) -> StateComparison:
        """The digests of this member's state, and of the others' as far as learned."""

    def compare_states(self) -> None:
        """Compare all digests by the configuration in use, and do what follows for this member."""

    async def load_bootstrap_record(self) -> bytes | None:
        """What :meth:`store_bootstrap_record` stored last, ``None`` if nothing."""

    async def store_bootstrap_record(self, record: bytes) -> None:
        """Replace the founding record, durable on return.

        :raises StorageError: it may or may not be stored; it will be tried again.
        """

    async def start_raft(self, cluster_id: str, configuration: Configuration | None) -> None:
        """Become a member of ``cluster_id``, durably, and run Raft; sets ``identity.cluster_id``.

        With a configuration the log begins with it (index 1, term 1), the same on every founder;
        ``None`` for a newcomer, which receives everything from the leader. Idempotent: called
        again with the same arguments after a failure or a crash in the middle.

        :raises BraftError: it will be tried again.
        """

    def set_campaign_enabled(self, enabled: bool) -> None:
        """Whether this node stands for election; it always does before this is called."""

    def set_address(self, server_id: str, address: str) -> None:
        """That server is there now: ``Transport.set_peer``."""
