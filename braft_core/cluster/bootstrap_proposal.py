"""Bootstrap proposals: making one, checking one, reading one back, and when to send it again.

Owns the content of a BootstrapProposal and its rules. Pure. When a node proposes or accepts is
decided in :mod:`.bootstrap`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import NamedTuple

from braft_core.addresses import check_server_id
from braft_core.cluster.address_book import contact_at
from braft_core.cluster.bootstrap_facts import BootstrapFacts
from braft_core.cluster.timing import ClusterTiming
from braft_core.errors import DecodeError
from braft_core.peer import BootstrapProposal, BootstrapProposalReply, ProbeReply
from braft_core.raft.types import (
    Configuration,
    Server,
    Suffrage,
    decode_configuration,
    encode_configuration,
)

__all__ = [
    "REJECTED",
    "Objection",
    "SendSchedule",
    "check_proposal",
    "make_proposal",
    "members_of",
    "read_shown",
    "show_accepted",
]

#: A refusal whose reason starts with this comes from a member of the proposal and is durable: the
#: proposal can never start. Any other refusal means "not now".
REJECTED = "rejected: "


def members_of(request: BootstrapProposal) -> Configuration:
    """Return the proposed members. :raises DecodeError: if the bytes are no configuration."""
    return decode_configuration(request.configuration)


def make_proposal(
    facts: BootstrapFacts, replies: Sequence[ProbeReply], cluster_id: str
) -> BootstrapProposal:
    """Propose the ``expect`` smallest ids among this node and those that replied."""
    nodes = {facts.server_id: facts.address}
    nodes.update((reply.server_id, reply.address) for reply in replies)
    chosen = sorted(nodes)[: facts.expect]
    configuration = Configuration(tuple(Server(i, nodes[i], Suffrage.VOTER) for i in chosen))
    return BootstrapProposal(
        facts.cluster_name, cluster_id, encode_configuration(configuration), chosen[0]
    )


class Objection(NamedTuple):
    """Why a proposal is not accepted, "" for no reason.

    ``malformed``: no member of that cluster could send it, so even our rejection would not count.
    """

    reason: str = ""
    malformed: bool = False


def check_proposal(facts: BootstrapFacts, request: BootstrapProposal) -> Objection:
    """Check a proposal against the identity and the configuration of this node."""
    if request.cluster_name != facts.cluster_name:
        theirs, ours = request.cluster_name, facts.cluster_name
        return Objection(f"the proposal is for cluster {theirs!r}, this node is of {ours!r}", True)
    try:
        servers = members_of(request).servers
        for server in servers:
            check_server_id(server.id)
            contact_at(server.address)
    except DecodeError as error:
        return Objection(error.message, True)
    ids = [server.id for server in servers]
    if facts.server_id not in ids or not request.cluster_id:
        return Objection(f"node {facts.server_id} is not a member of the proposed cluster", True)
    if ids != sorted(ids) or ids[0] != request.proposer:
        return Objection("members must be sorted by id, the proposer first", True)
    if any(server.suffrage != Suffrage.VOTER for server in servers):
        return Objection("all proposed members must be voters", True)
    # Of a list, more than half of the entries suffice: see bootstrap_expect.py.
    enough = facts.listed and len(ids) < facts.expect < 2 * len(ids)
    if len(ids) != facts.expect and not enough:
        return Objection(f"the proposal is for {len(ids)} nodes, this node expects {facts.expect}")
    return Objection()


def show_accepted(accepted: BootstrapProposal | None, cluster_id: str) -> BootstrapProposalReply:
    """Answer the question which proposal this node has accepted."""
    if accepted is not None:
        return BootstrapProposalReply(True, accepted.cluster_id, accepted.configuration, "")
    reason = "this node joined its cluster" if cluster_id else "this node has accepted no proposal"
    return BootstrapProposalReply(False, cluster_id, b"", reason)


def read_shown(cluster_name: str, reply: BootstrapProposalReply) -> BootstrapProposal:
    """Rebuild the proposal that a peer has accepted from its reply.

    :raises DecodeError: if its configuration is invalid or empty.
    """
    ids = decode_configuration(reply.configuration).ids
    if not ids:
        raise DecodeError("not a bootstrap proposal: it has no members")
    return BootstrapProposal(cluster_name, reply.cluster_id, reply.configuration, ids[0])


class SendSchedule:
    """When a proposal may be sent to each node again."""

    def __init__(self, timing: ClusterTiming) -> None:
        self._timing = timing
        self._next: dict[str, float] = {}

    def due(self, now: float, server_id: str) -> bool:
        """Return whether to call that node now; if so, the call counts as under way."""
        if now < self._next.get(server_id, -inf):
            return False
        self._next[server_id] = now + self._timing.proposal_lost
        return True

    def done(self, now: float, server_id: str) -> None:
        """Note that the call ended, with a reply or without."""
        self._next[server_id] = now + self._timing.proposal_interval
