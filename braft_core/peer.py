"""Calls between nodes besides the Raft RPCs: the messages of ``braft.v1.Peer``.

Plain values. A transport carries each request to the named node and its reply back. Every call has
exactly one reply type (:data:`REPLIES`), or fails with a ``BraftError``.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "PROTOCOL_MAX",
    "PROTOCOL_MIN",
    "REPLIES",
    "AdminReply",
    "AnnounceReply",
    "AnnounceRequest",
    "BootstrapProposal",
    "BootstrapProposalReply",
    "ChangeMembershipRequest",
    "DetailsReply",
    "DetailsRequest",
    "JoinReply",
    "JoinRequest",
    "PeerReply",
    "PeerRequest",
    "ProbeReply",
    "ProbeRequest",
    "ProposeReply",
    "ProposeRequest",
    "ReadIndexReply",
    "ReadIndexRequest",
    "TransferLeadershipRequest",
]

#: Range of versions of the peer protocol that this code speaks.
PROTOCOL_MIN = 1
PROTOCOL_MAX = 1


@dataclass(frozen=True, slots=True)
class ProbeRequest:
    """Ask a node for its identity and state. Every node answers, with or without a cluster."""

    server_id: str
    cluster_name: str
    cluster_id: str
    address: str


@dataclass(frozen=True, slots=True)
class ProbeReply:
    """The identity and state of a node."""

    server_id: str
    cluster_name: str
    #: Its cluster, or that of the bootstrap proposal that it accepted; "" if neither.
    cluster_id: str
    expect: int
    #: Whether the node is a member of a cluster, so that it never bootstraps again.
    initialised: bool
    leader_id: str
    leader_address: str
    address: str
    protocol_min: int = PROTOCOL_MIN
    protocol_max: int = PROTOCOL_MAX
    #: Number of voters in its configuration, and whether anything was ever written to it.
    voters: int = 0
    empty: bool = True
    #: The responder leads the caller's cluster and knows that the caller was removed from it.
    #: ``False`` also from a node that cannot know.
    removed: bool = False
    #: The caller was removed as dead and may rejoin with its data.
    rejoin_allowed: bool = False
    #: Its capabilities: :meth:`braft_core.services.capabilities.Capabilities.encode`.
    capabilities: bytes = b""
    #: Digests of its state at some indexes: :func:`braft_core.services.digests.encode_checkpoints`.
    digests: bytes = b""


@dataclass(frozen=True, slots=True)
class BootstrapProposal:
    """Propose a bootstrap configuration; an empty one asks which proposal was accepted."""

    cluster_name: str
    cluster_id: str
    #: ``encode_configuration`` bytes of exactly the proposed members, all voters.
    configuration: bytes
    proposer: str


@dataclass(frozen=True, slots=True)
class BootstrapProposalReply:
    """The only configuration that this node has durably accepted, or why it accepted none."""

    accepted: bool
    cluster_id: str
    configuration: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """Ask the leader to add the caller. ``cluster_id`` is "" from a newcomer."""

    server_id: str
    address: str
    cluster_name: str
    cluster_id: str
    voter: bool
    #: As in :class:`ProbeReply`.
    capabilities: bytes = b""


@dataclass(frozen=True, slots=True)
class JoinReply:
    """The cluster that the caller has joined, and its members."""

    cluster_id: str
    configuration: bytes


@dataclass(frozen=True, slots=True)
class AnnounceRequest:
    """Announce the current address and the capabilities of a member."""

    server_id: str
    address: str
    cluster_id: str
    #: As in :class:`ProbeReply`.
    capabilities: bytes = b""


@dataclass(frozen=True, slots=True)
class AnnounceReply:
    """The current id and address of the responder."""

    server_id: str
    address: str


@dataclass(frozen=True, slots=True)
class ProposeRequest:
    """Forward commands to the leader, each the data of one entry."""

    commands: tuple[bytes, ...]
    #: How long the caller still waits, milliseconds.
    timeout_ms: int


@dataclass(frozen=True, slots=True)
class ProposeReply:
    """One serialized outcome per command, in order."""

    outcomes: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class ReadIndexRequest:
    """Ask the leader for the index of a linearizable read (thesis §6.4)."""

    cluster_id: str


@dataclass(frozen=True, slots=True)
class ReadIndexReply:
    """The confirmed index and its term."""

    index: int
    term: int


@dataclass(frozen=True, slots=True)
class ChangeMembershipRequest:
    """Change the membership: add_voter, add_nonvoter, promote, demote_voter, remove_server."""

    kind: str
    server_id: str
    address: str
    timeout_ms: int


@dataclass(frozen=True, slots=True)
class TransferLeadershipRequest:
    """Transfer the leadership to ``to``, or to the most up-to-date voter if empty."""

    to: str
    timeout_ms: int


@dataclass(frozen=True, slots=True)
class AdminReply:
    """The new configuration (or leader) after an admin call."""

    configuration: bytes
    leader_id: str


@dataclass(frozen=True, slots=True)
class DetailsRequest:
    """Ask for the node's entry of ``GET /raft``."""


@dataclass(frozen=True, slots=True)
class DetailsReply:
    """The entry as a JSON object in UTF-8."""

    json: bytes


PeerRequest = (
    ProbeRequest
    | BootstrapProposal
    | JoinRequest
    | AnnounceRequest
    | ProposeRequest
    | ReadIndexRequest
    | ChangeMembershipRequest
    | TransferLeadershipRequest
    | DetailsRequest
)
PeerReply = (
    ProbeReply
    | BootstrapProposalReply
    | JoinReply
    | AnnounceReply
    | ProposeReply
    | ReadIndexReply
    | AdminReply
    | DetailsReply
)

#: The reply type of each request type.
REPLIES: dict[type[PeerRequest], type[PeerReply]] = {
    ProbeRequest: ProbeReply,
    BootstrapProposal: BootstrapProposalReply,
    JoinRequest: JoinReply,
    AnnounceRequest: AnnounceReply,
    ProposeRequest: ProposeReply,
    ReadIndexRequest: ReadIndexReply,
    ChangeMembershipRequest: AdminReply,
    TransferLeadershipRequest: AdminReply,
    DetailsRequest: DetailsReply,
}
