"""Foundings as values: proposing one, checking one, showing one, and whom to offer it again.

Owns the content of a BootstrapProposal and its rules. Pure. It must not know when a founding is
proposed or promised (:mod:`.bootstrap`).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import NamedTuple

from braft_core.addresses import check_server_id
from braft_core.cluster.address_book import contact_at
from braft_core.cluster.discovery_view import BootstrapFacts
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

#: A refusal whose reason begins so comes from a member of the founding and is durable: that
#: founding can never start. Any other refusal means "not now".
REJECTED = "rejected: "

#: Seconds between two offers to one node.
PROPOSAL_INTERVAL = 0.25
#: Seconds after which an unanswered offer is made again.
PROPOSAL_LOST = 3.0


def members_of(request: BootstrapProposal) -> Configuration:
    """The founding members. :raises DecodeError: if the bytes are no configuration."""
    return decode_configuration(request.configuration)


def make_proposal(
    facts: BootstrapFacts, replies: Sequence[ProbeReply], cluster_id: str
) -> BootstrapProposal:
    """The founding of the ``expect`` smallest ids among this node and those that replied."""
    nodes = {facts.server_id: facts.address}
    nodes.update((reply.server_id, reply.address) for reply in replies)
    chosen = sorted(nodes)[: facts.expect]
    configuration = Configuration(tuple(Server(i, nodes[i], Suffrage.VOTER) for i in chosen))
    return BootstrapProposal(
        facts.cluster_name, cluster_id, encode_configuration(configuration), chosen[0]
    )


class Objection(NamedTuple):
    """Why an offered founding is not promised, "" for no reason.

    ``malformed``: it concerns this node so little that not even a veto of ours would count.
    """

    reason: str = ""
    malformed: bool = False


def check_proposal(facts: BootstrapFacts, request: BootstrapProposal) -> Objection:
    """Check an offer against what this node is and expects."""
    if request.cluster_name != facts.cluster_name:
        theirs, ours = request.cluster_name, facts.cluster_name
        return Objection(f"offered cluster {theirs!r}, this node is of {ours!r}", True)
    try:
        servers = members_of(request).servers
        for server in servers:
            check_server_id(server.id)
            contact_at(server.address)
    except DecodeError as error:
        return Objection(error.message, True)
    ids = [server.id for server in servers]
    if facts.server_id not in ids or not request.cluster_id:
        return Objection(f"node {facts.server_id} is not a member of the offered founding", True)
    if ids != sorted(ids) or ids[0] != request.proposer:
        return Objection("members must be sorted by id, the proposer first", True)
    if any(server.suffrage != Suffrage.VOTER for server in servers):
        return Objection("all founding members must be voters", True)
    # Of a list, more than half of the entries: see membership/counting.py.
    enough = facts.listed and len(ids) < facts.expect < 2 * len(ids)
    if len(ids) != facts.expect and not enough:
        return Objection(f"offered a founding of {len(ids)}, this node expects {facts.expect}")
    return Objection()


def show_accepted(accepted: BootstrapProposal | None, cluster_id: str) -> BootstrapProposalReply:
    """The reply to "which founding did you promise?"."""
    if accepted is not None:
        return BootstrapProposalReply(True, accepted.cluster_id, accepted.configuration, "")
    reason = "this node joined its cluster" if cluster_id else "no founding was promised here"
    return BootstrapProposalReply(False, cluster_id, b"", reason)


def read_shown(cluster_name: str, reply: BootstrapProposalReply) -> BootstrapProposal:
    """The founding a peer showed, as the request that would have offered it.

    :raises DecodeError: if its configuration is none, or empty.
    """
    ids = decode_configuration(reply.configuration).ids
    if not ids:
        raise DecodeError("not a founding: it has no members")
    return BootstrapProposal(cluster_name, reply.cluster_id, reply.configuration, ids[0])


class SendSchedule:
    """When each node may be offered (or asked for) a founding again."""

    def __init__(self) -> None:
        self._next: dict[str, float] = {}

    def due(self, now: float, server_id: str) -> bool:
        """Whether to call that node now; if so, its answer is then awaited."""
        if now < self._next.get(server_id, -inf):
            return False
        self._next[server_id] = now + PROPOSAL_LOST
        return True

    def done(self, now: float, server_id: str) -> None:
        """The call ended, with an answer or without."""
        self._next[server_id] = now + PROPOSAL_INTERVAL
