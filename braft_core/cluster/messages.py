"""The sentences that tell a person why there is no cluster yet.

Owns wording only; pure functions of values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from braft_core.abc import Contact
from braft_core.compat.go_braft.server_id import short_id
from braft_core.peer import ProbeReply
from braft_core.raft.types import Server

if TYPE_CHECKING:
    from braft_core.cluster.discovery_view import BootstrapFacts

__all__ = [
    "default_discovery_message",
    "describe_server",
    "duplicate_id_message",
    "no_cluster_message",
    "no_leader_message",
    "other_proposal_message",
    "pending_acceptance_message",
    "removed_message",
    "rival_cluster_message",
    "too_few_nodes_message",
    "version_differences_message",
    "wrong_cluster_message",
]


#: Longer ids, as braft makes them, say less to a person than the address alone.
_READABLE_ID = 32


def describe_server(server: Server) -> str:
    """A server as a person would name it."""
    readable = len(server.id) <= _READABLE_ID
    return f"{server.id} at {server.address}" if readable else server.address


def _why(contact: Contact, reason: str) -> str:
    """A failure's reason without the address, which stands before it already."""
    address = str(contact)
    bare = reason.removeprefix(f"{address}: ").removeprefix(f"{address} ")
    return bare.replace(f" to {address}", "")


def no_cluster_message(seconds: float, reason: str, foreign: Sequence[ProbeReply]) -> str:
    """The whole: since when, why, and who was seen that belongs elsewhere."""
    others = "".join(
        f"; {reply.address} is of another cluster, {reply.cluster_name!r}" for reply in foreign
    )
    return f"no cluster yet after {seconds:.0f} s: {reason}{others}"


def too_few_nodes_message(
    facts: BootstrapFacts,
    replies: Sequence[ProbeReply],
    silent: Sequence[tuple[Contact, str]],
    unresolved: Sequence[str] = (),
) -> str:
    """Fewer nodes than expected: who is here, who does not answer and why."""
    here = ", ".join([facts.address, *(reply.address for reply in replies)])
    sentence = f"{len(replies) + 1} of {facts.expect} nodes are here ({here})"
    if unresolved:
        sentence = f"{sentence}; not resolved: {', '.join(unresolved)}"
    if silent:
        missing = ", ".join(f"{contact} ({_why(contact, reason)})" for contact, reason in silent)
        return f"{sentence}; not answering: {missing}"
    if not facts.has_discovery:
        return f"{sentence} and no discovery is configured that could find more"
    return f"{sentence}; discovery lists no more"


def other_proposal_message(cluster_ids: Sequence[str]) -> str:
    """Others are founding."""
    return f"waiting while other nodes found cluster {', '.join(cluster_ids)}"


def pending_acceptance_message(cluster_id: str, missing: Sequence[Server]) -> str:
    """Promised, and not all members have."""
    if not missing:
        return f"starting cluster {cluster_id}"
    names = ", ".join(map(describe_server, missing))
    return (
        f"founding cluster {cluster_id}: {names} has yet to agree. If it is lost for good, stop "
        "the others and start them with empty data directories (nothing was ever written)"
    )


def wrong_cluster_message(cluster_id: str, others: Sequence[tuple[str, str]]) -> str:
    """A member whose surroundings belong elsewhere: it runs on the data of a cluster of the past.

    ``others`` are addresses and their cluster ids; there is at least one.
    """
    places = ", ".join(f"{address} is in cluster {other}" for address, other in others)
    return (
        f"the data directory of this node belongs to cluster {cluster_id}, but {places}. If that "
        "is the right one, start this node with an empty data directory, and it joins"
    )


def version_differences_message(differences: Sequence[tuple[str, str]]) -> str:
    """Members that cannot execute what others can: address and what each lacks."""
    listed = "; ".join(f"{address} lacks {lacks}" for address, lacks in differences)
    return f"the members differ in what they can execute, so what needs it is refused: {listed}"


def rival_cluster_message(cluster_id: str, others: Sequence[tuple[str, str, int]]) -> str:
    """A member that serves, and has met members of another cluster of the same name.

    ``others`` are addresses, their cluster ids and numbers of voters; there is at least one.
    """
    places = ", ".join(f"{a} is in {other} with {voters} voters" for a, other, voters in others)
    return (
        f"two clusters of one name have met: this node is in {cluster_id}, {places}. Nothing is "
        "merged. Keep one: stop the nodes of the other, and start them with empty data directories"
    )


def duplicate_id_message(server_id: str, addresses: Sequence[str]) -> str:
    """Two nodes with one id."""
    return (
        f"node id {short_id(server_id)} is used at {' and '.join(addresses)}; ids must differ "
        "(was a data directory copied?)"
    )


def default_discovery_message(
    discovery: str, cluster_name: str, cluster_id: str, others: Sequence[Server]
) -> str:
    """A member of a cluster that it found by a discovery that nobody chose."""
    places = ", ".join(server.address for server in others)
    return (
        f"this node found others by {discovery}, the default of the command braft, and is in "
        f"cluster {cluster_id}, named {cluster_name!r}, with {places}. If that is meant, set "
        "BRAFT_DISCOVERY=mdns. If not, stop it, set BRAFT_DISCOVERY=none or another "
        "BRAFT_CLUSTER_NAME, and start it with an empty data directory"
    )


def removed_message(cluster_id: str, leader: Server, dead: bool) -> str:
    """A member no more; ``dead``: because it was silent, and not because somebody wanted it."""
    if dead:
        return (
            f"this node was silent for long and was removed from cluster {cluster_id}: asking its "
            f"leader, {describe_server(leader)}, to be taken back"
        )
    return (
        f"this node was removed from cluster {cluster_id}: its leader, "
        f"{describe_server(leader)}, does not count it. To rejoin, start it with an empty "
        "data directory"
    )


def no_leader_message(
    seconds: float, missing: Sequence[Server], voters: int, searching: bool
) -> str:
    """A member without a leader: who is missing, and how many failures are tolerated."""
    tolerated = (voters - 1) // 2
    if missing:
        names = ", ".join(map(describe_server, missing))
        who = f"{len(missing)} of {voters} voters do not answer ({names})"
    else:
        who = f"all {voters} voters answer, an election is under way"
    search = "; searching discovery for their new addresses" if missing and searching else ""
    return f"no leader for {seconds:.0f} s: {who}; this cluster tolerates {tolerated}{search}"
