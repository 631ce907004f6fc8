"""The interface between this package and its host: protocols, settings and values.

Owns no behaviour. The host calls, and is called, on the node's loop only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Protocol

from braft_core.abc import Identity
from braft_core.cluster.member_capabilities import MemberCapabilities
from braft_core.cluster.state_comparison import StateComparison
from braft_core.cluster.timing import DEFAULT_TIMING, ClusterTiming
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
    """The parameters of the removal of dead voters. Durations in seconds."""

    #: ``on``, ``dry-run`` (decides and changes nothing) or ``off``.
    mode: str = "on"
    stabilization_time: float = 60.0
    dead_after: float = 60.0
    min_quorum: int = 2
    window: float = 3600.0
    # No settings exist for these; the simulator shortens them.
    #: A voter is healthy for this long after its last reply.
    last_contact_threshold: float = 3.0
    #: A longer gap between two evaluations counts as an interruption of the leadership.
    max_gap: float = 3.0
    #: How long no further voter is removed after a removal.
    pause: float = 10.0


@dataclass(frozen=True, slots=True)
class Removal:
    """One recorded removal of a dead voter."""

    #: Log index of the record, which identifies the removal.
    index: int
    server_id: str
    address: str
    #: The number of voters before it.
    voters: int
    reason: str
    #: Whether the server may rejoin; ``False`` after an operator removed it.
    may_rejoin: bool = True


@dataclass(frozen=True, slots=True)
class MembershipSettings:
    """The settings of this package. Durations in seconds."""

    cluster_name: str
    #: How many nodes bootstrap a new cluster together.
    expect: int
    #: Whether that is only the length of a list that names every bootstrapping node.
    expect_is_listed: bool = False
    #: Why the number of bootstrapping nodes is unknown, "" if ``expect`` is it.
    expect_is_unclear: str = ""
    #: The random wait before the first bootstrap, already drawn.
    sleep: float = 0.0
    #: Random text that is this node's alone.
    salt: str = ""
    #: No leader for this long: search discovery again.
    restart_min: float = 90.0
    #: How long the discovery view must be unchanged before a proposal.
    margin: float = 0.3
    #: No proposal sooner than this after discovery first answered.
    listen: float = 0.0
    #: Whether this node wants to vote once it has caught up.
    voter: bool = True
    #: A learner at most this many entries behind the leader counts as caught up.
    promotion_lag: int = 64
    #: Deadline of one probe.
    probe_timeout: float = 1.0
    #: Deadline of any other call between nodes.
    call_timeout: float = 2.0
    autopilot: AutopilotRules = AutopilotRules()
    timing: ClusterTiming = DEFAULT_TIMING
    #: The discovery as status pages show it, if it is only the default; else "".
    default_discovery: str = ""


@dataclass(frozen=True, slots=True)
class PeerView:
    """Raft's view of one other server."""

    #: Seconds since its last reply (on the leader) or request (on a follower); inf = never.
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
    #: term is committed. Only then the membership may change.
    has_quorum: bool = False
    #: Whether a membership change is appended and not yet committed.
    change_pending: bool = False
    last_index: int = 0
    #: Whether no command was ever written to this cluster.
    empty: bool = True
    peers: Mapping[str, PeerView] = field(default_factory=dict)
    term: int = 0


class NodeHost(Protocol):
    """What every part of this package needs of its host."""

    @property
    def identity(self) -> Identity:
        """The identity of this node. ``cluster_id`` is set while it is a member."""

    @property
    def settings(self) -> MembershipSettings:
        """The settings of this package; they never change."""

    def now(self) -> float:
        """Return monotonic seconds."""

    def raft_view(self) -> RaftView:
        """Return Raft's state now. Called only while the node is a member."""


class CleanupHost(NodeHost, Protocol):
    """What the removal of dead voters needs of the host."""

    async def change_membership(self, kind: str, server_id: str, address: str) -> None:
        """As the leader, commit one change (kinds as in ``ChangeMembershipRequest``).

        Ends within the request timeout, since other newcomers wait meanwhile.
        ``add_voter`` or ``add_nonvoter`` of a member with another address changes only the address.

        :raises BraftError: not leader, busy, or no quorum.
        """

    def removals(self) -> Sequence[Removal]:
        """Return the recorded removals of dead voters, as far as applied here."""

    async def record_removal(self, server: Server, voters: int, reason: str) -> None:
        """As the leader, record that a dead voter is being removed; on return it is applied here.

        :raises BraftError: not leader, or no quorum; it may have been recorded.
        """


class CapabilityHost(NodeHost, Protocol):
    """What the negotiation of capabilities needs of the host."""

    async def call(self, address: str, request: PeerRequest, timeout: float) -> PeerReply:
        """Call another node, as ``Transport.call``."""

    @property
    def capabilities(self) -> Capabilities:
        """The capabilities of this node."""

    @property
    def agreed(self) -> Capabilities:
        """The agreed capabilities, as far as applied here."""

    @property
    def member_capabilities(self) -> MemberCapabilities:
        """The declarations of the other members."""

    async def agree(self, capabilities: Capabilities) -> None:
        """As the leader, commit an agreement; on return it is applied here.

        :raises BraftError: not leader, or no quorum; it may have been committed.
        """


class MembershipHost(CleanupHost, CapabilityHost, Protocol):
    """What :class:`.membership.ClusterMembership` needs of its host."""

    @property
    def state_comparison(self) -> StateComparison:
        """The digests of this member's state and those learned of other members."""

    def compare_states(self) -> None:
        """Compare all digests within the current configuration and act on the result."""

    async def load_bootstrap_record(self) -> bytes | None:
        """Return what :meth:`store_bootstrap_record` stored last, ``None`` if nothing."""

    async def store_bootstrap_record(self, record: bytes) -> None:
        """Replace the bootstrap record, durable on return.

        :raises StorageError: it may or may not be stored; the caller tries again.
        """

    async def start_raft(self, cluster_id: str, configuration: Configuration | None) -> None:
        """Become a member of ``cluster_id`` durably, run Raft, and set ``identity.cluster_id``.

        A bootstrap passes the configuration, which becomes the first entry (index 1, term 1) on
        every member. A newcomer passes ``None`` and receives its log from the leader. Idempotent:
        called again with the same arguments after a failure or a crash.

        :raises BraftError: the caller tries again.
        """

    def set_campaign_enabled(self, enabled: bool) -> None:
        """Allow or forbid elections started by this node; the default is to allow them."""

    def set_address(self, server_id: str, address: str) -> None:
        """Set the address of a server, as ``Transport.set_peer``."""
