"""The messages of this package for status pages, errors and logs.

Owns wording only; pure functions of values.
"""

from __future__ import annotations

from collections.abc import Sequence

from braft_core.abc import Contact
from braft_core.cluster.bootstrap_facts import BootstrapFacts
from braft_core.compat.go_braft.server_id import short_id
from braft_core.peer import ProbeReply
from braft_core.raft.types import Server

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


#: Longer ids, as braft generates them, are left out: the address is clearer.
_READABLE_ID = 32


def describe_server(server: Server) -> str:
    """Return a readable name of a server."""
    readable = len(server.id) <= _READABLE_ID
    return f"{server.id} at {server.address}" if readable else server.address


def _why(contact: Contact, reason: str) -> str:
    """Return the reason of a failure without the address, which precedes it already."""
    address = str(contact)
    bare = reason.removeprefix(f"{address}: ").removeprefix(f"{address} ")
    return bare.replace(f" to {address}", "")


def no_cluster_message(seconds: float, reason: str, foreign: Sequence[ProbeReply]) -> str:
    """Return the full status message: duration, reason, nodes of other clusters."""
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
    """Say that nodes are missing: which are here, which do not answer and why."""
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
    """Say that other nodes are bootstrapping a cluster."""
    return f"waiting while other nodes bootstrap cluster {', '.join(cluster_ids)}"


def pending_acceptance_message(cluster_id: str, missing: Sequence[Server]) -> str:
    """Say which members have not accepted the proposal yet."""
    if not missing:
        return f"starting cluster {cluster_id}"
    names = ", ".join(map(describe_server, missing))
    return (
        f"bootstrapping cluster {cluster_id}: {names} has not accepted yet. If it is lost for "
        "good, stop the others and start them with empty data directories (nothing was ever "
        "written)"
    )


def wrong_cluster_message(cluster_id: str, others: Sequence[tuple[str, str]]) -> str:
    """Say that this node's data belongs to another cluster than its peers.

    :param others: at least one address with its cluster id.
    """
    places = ", ".join(f"{address} is in cluster {other}" for address, other in others)
    return (
        f"the data directory of this node belongs to cluster {cluster_id}, but {places}. If that "
        "is the right one, start this node with an empty data directory, and it joins"
    )


def version_differences_message(differences: Sequence[tuple[str, str]]) -> str:
    """Say which members lack capabilities of others: address and what each lacks."""
    listed = "; ".join(f"{address} lacks {lacks}" for address, lacks in differences)
    return f"the members differ in what they can execute, so what needs it is refused: {listed}"


def rival_cluster_message(cluster_id: str, others: Sequence[tuple[str, str, int]]) -> str:
    """Say that another cluster has the same name.

    :param others: at least one address with its cluster id and its number of voters.
    """
    places = ", ".join(f"{a} is in {other} with {voters} voters" for a, other, voters in others)
    return (
        f"two clusters of one name have met: this node is in {cluster_id}, {places}. Nothing is "
        "merged. Keep one: stop the nodes of the other, and start them with empty data directories"
    )


def duplicate_id_message(server_id: str, addresses: Sequence[str]) -> str:
    """Say that two nodes share an id."""
    return (
        f"node id {short_id(server_id)} is used at {' and '.join(addresses)}; ids must differ "
        "(was a data directory copied?)"
    )


def default_discovery_message(
    discovery: str, cluster_name: str, cluster_id: str, others: Sequence[Server]
) -> str:
    """Say which cluster this node is in, if only the default discovery led to it."""
    places = ", ".join(server.address for server in others)
    return (
        f"this node found others by {discovery}, the default of the command braft, and is in "
        f"cluster {cluster_id}, named {cluster_name!r}, with {places}. If that is meant, set "
        "BRAFT_DISCOVERY=mdns. If not, stop it, set BRAFT_DISCOVERY=none or another "
        "BRAFT_CLUSTER_NAME, and start it with an empty data directory"
    )


def removed_message(cluster_id: str, leader: Server, rejoin_allowed: bool) -> str:
    """Say that this node was removed, by the autopilot (``rejoin_allowed``) or by an operator."""
    if rejoin_allowed:
        return (
            f"this node was silent for long and was removed from cluster {cluster_id}: asking its "
            f"leader, {describe_server(leader)}, to rejoin"
        )
    return (
        f"this node was removed from cluster {cluster_id}: its leader, "
        f"{describe_server(leader)}, does not count it. To rejoin, start it with an empty "
        "data directory"
    )


def no_leader_message(
    seconds: float, missing: Sequence[Server], voters: int, searching: bool
) -> str:
    """Say that there is no leader: which voters are missing, how many failures are tolerated."""
    tolerated = (voters - 1) // 2
    if missing:
        names = ", ".join(map(describe_server, missing))
        who = f"{len(missing)} of {voters} voters do not answer ({names})"
    else:
        who = f"all {voters} voters answer, an election is under way"
    search = "; searching discovery for their new addresses" if missing and searching else ""
    return f"no leader for {seconds:.0f} s: {who}; this cluster tolerates {tolerated}{search}"
