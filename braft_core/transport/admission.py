"""Decides whether a request is for this node, by rules that every transport shares.

Pure; knows nothing of how a request arrived. The caller names its cluster and the server it means.
HashiCorp raft names neither; the values are ``None`` then.
"""

from __future__ import annotations

from typing import NamedTuple

from braft_core import peer
from braft_core.abc import Identity

__all__ = [
    "FOR_ONE_CLUSTER",
    "GARBAGE",
    "NOT_MEMBER",
    "NO_PEER",
    "VIOLATION",
    "WRONG_CLUSTER",
    "WRONG_TARGET",
    "Refusal",
    "refuse",
    "refuse_call",
]

NOT_MEMBER = "refused_not_member"
#: The caller's certificate is not a peer's; see ``LocalEndpoint.certificate_refusal``.
NO_PEER = "refused_no_peer"
WRONG_CLUSTER = "refused_wrong_cluster"
WRONG_TARGET = "refused_wrong_target"
#: Counters: bytes that cannot be decoded, and messages that break a rule of the protocol.
GARBAGE = "refused_garbage"
VIOLATION = "refused_violation"

#: Peer calls that are only accepted within one cluster. By the other calls, nodes of different
#: clusters, or of none, find out about each other.
FOR_ONE_CLUSTER: tuple[type[peer.PeerRequest], ...] = (
    peer.ProposeRequest,
    peer.ReadIndexRequest,
    peer.ChangeMembershipRequest,
    peer.TransferLeadershipRequest,
)


class Refusal(NamedTuple):
    """``kind`` is one of the constants above and the counter's name."""

    kind: str
    reason: str


def refuse(identity: Identity, cluster_id: str | None, to: str | None) -> Refusal | None:
    """Return why this node refuses a Raft RPC for that cluster and server; ``None``: it accepts."""
    if not identity.cluster_id:
        return Refusal(NOT_MEMBER, f"{identity.server_id} is not in a cluster yet")
    if cluster_id is not None and cluster_id != identity.cluster_id:
        return Refusal(WRONG_CLUSTER, f"this is cluster {identity.cluster_id}, not {cluster_id}")
    if to is not None and to != identity.server_id:
        return Refusal(WRONG_TARGET, f"this is server {identity.server_id}, not {to}")
    return None


def refuse_call(identity: Identity, request: type[peer.PeerRequest], theirs: str) -> str:
    """Return why a peer call from cluster ``theirs`` is refused; "" if it is accepted."""
    ours = identity.cluster_id
    if request in FOR_ONE_CLUSTER and ours and theirs and ours != theirs:
        return f"this is cluster {ours}, not {theirs}"
    return ""
