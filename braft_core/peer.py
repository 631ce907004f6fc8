"""Calls between nodes beside the Raft RPCs: the vocabulary of ``braft.v1.Peer``.

Plain values; a transport carries each request to the named node and its reply back. Every call
has exactly one reply type (:data:`REPLIES`), or ends in a ``BraftError``.
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

#: Range of braft peer protocol versions this code speaks.
PROTOCOL_MIN = 1
PROTOCOL_MAX = 1


@dataclass(frozen=True, slots=True)
class ProbeRequest:
    """Who are you? Answered by any node at any time, before and after it is in a cluster."""

    server_id: str
    cluster_name: str
    cluster_id: str
    address: str


@dataclass(frozen=True, slots=True)
class ProbeReply:
    """Everything the forming rules ask about a contact."""

    server_id: str
    cluster_name: str
    #: "" if the node is in no cluster.
    cluster_id: str
    expect: int
    #: Whether the node holds cluster state (it never founds again).
    initialised: bool
    leader_id: str
    leader_address: str
    address: str
    protocol_min: int = PROTOCOL_MIN
    protocol_max: int = PROTOCOL_MAX
    #: Number of voters in its configuration, and whether anything was ever written to it.
    voters: int = 0
    empty: bool = True
    #: The responder leads the asker's cluster, and the committed configuration does not count the
    #: asker: it was removed. ``False`` also from whoever cannot know.
    removed: bool = False
    #: It was removed because it was silent for long, and is welcome to join again with its data.
    rejoin_allowed: bool = False
    #: What it can execute: :meth:`braft_core.services.capabilities.Capabilities.encode`.
    capabilities: bytes = b""
    #: Of its state at some indexes: :func:`braft_core.services.digests.encode_checkpoints`.
    digests: bytes = b""


@dataclass(frozen=True, slots=True)
class BootstrapProposal:
    """Accept this founding configuration; an empty one asks which you accepted."""

    cluster_name: str
    cluster_id: str
    #: ``encode_configuration`` bytes of exactly the founding members, all voters.
    configuration: bytes
    proposer: str


@dataclass(frozen=True, slots=True)
class BootstrapProposalReply:
    """The one configuration this node has durably accepted, or the reason for none."""

    accepted: bool
    cluster_id: str
    configuration: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """Asked of the leader: add me. ``cluster_id`` "" from a newcomer."""

    server_id: str
    address: str
    cluster_name: str
    cluster_id: str
    voter: bool
    #: As in :class:`ProbeReply`.
    capabilities: bytes = b""


@dataclass(frozen=True, slots=True)
class JoinReply:
    """The cluster that took the newcomer in, and its members."""

    cluster_id: str
    configuration: bytes


@dataclass(frozen=True, slots=True)
class AnnounceRequest:
    """I am this member, my address is now this one, and this is what I can execute."""

    server_id: str
    address: str
    cluster_id: str
    #: As in :class:`ProbeReply`.
    capabilities: bytes = b""


@dataclass(frozen=True, slots=True)
class AnnounceReply:
    """The responder's own id and address, so that both sides learn."""

    server_id: str
    address: str


@dataclass(frozen=True, slots=True)
class ProposeRequest:
    """Forwarded to the leader: append these commands (each the data of one entry)."""

    commands: tuple[bytes, ...]
    #: Milliseconds the caller still waits.
    timeout_ms: int


@dataclass(frozen=True, slots=True)
class ProposeReply:
    """One serialized outcome per command, in order."""

    outcomes: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class ReadIndexRequest:
    """Asked of the leader: an index at which a linearizable read may be served (thesis §6.4)."""

    cluster_id: str


@dataclass(frozen=True, slots=True)
class ReadIndexReply:
    """The confirmed index."""

    index: int
    term: int


@dataclass(frozen=True, slots=True)
class ChangeMembershipRequest:
    """``kind``: add_voter, add_nonvoter, promote, demote_voter, remove_server."""

    kind: str
    server_id: str
    address: str
    timeout_ms: int


@dataclass(frozen=True, slots=True)
class TransferLeadershipRequest:
    """Hand over to ``to``, or to the most up-to-date voter if empty."""

    to: str
    timeout_ms: int


@dataclass(frozen=True, slots=True)
class AdminReply:
    """The new configuration (or leader) after an admin call."""

    configuration: bytes
    leader_id: str


@dataclass(frozen=True, slots=True)
class DetailsRequest:
    """One node's entry of ``GET /raft``."""


@dataclass(frozen=True, slots=True)
class DetailsReply:
    """JSON object, UTF-8."""

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
