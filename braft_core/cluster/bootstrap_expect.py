"""How many nodes bootstrap, if only a list of their addresses is configured.

Owns the rules for a list that names every bootstrapping node (a static list) while
``BRAFT_EXPECT`` is not set. Nodes are counted by server id, not by address. Pure.

One node may be listed twice: under two names, by name and address, or by IPv4 and IPv6. Then fewer
nodes bootstrap than the list has entries. That is only safe with more than half of the entries:
two disjoint bootstraps would need more nodes than there are entries. With fewer, each node could
form its own cluster, for example if every name resolves to the local host.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from braft_core.abc import Contact
from braft_core.cluster.bootstrap_facts import BootstrapFacts
from braft_core.cluster.discovery_view import ContactState

__all__ = ["BootstrapExpect", "infer_expect"]


@dataclass(frozen=True, slots=True)
class BootstrapExpect:
    """How many nodes bootstrap, and why this node must not propose now, "" if it may."""

    expect: int
    obstacle: str = ""


def infer_expect(
    facts: BootstrapFacts,
    listed: Sequence[Contact],
    contact_states: Mapping[Contact, ContactState],
    unresolved: Sequence[str],
) -> BootstrapExpect:
    """Infer the number of bootstrapping nodes from the list and the replies.

    :param listed: the contacts that discovery listed last.
    :param contact_states: the state of each contact, including the listed ones.
    :param unresolved: entries of the list that lead to no contact now.
    """
    if facts.unclear:
        return BootstrapExpect(
            facts.expect,
            f"{facts.unclear}; set BRAFT_EXPECT, on every node alike, to the number of nodes that "
            "bootstrap the cluster",
        )
    if not facts.listed:
        return BootstrapExpect(facts.expect)
    places = _places_by_id(facts, listed, contact_states)
    nodes, entries = len(places), facts.expect
    if nodes > entries:
        return BootstrapExpect(
            entries,
            f"{nodes} nodes answer at the addresses that the list of {entries} names, so an entry "
            "stands for several; set BRAFT_EXPECT, on every node alike, to their number",
        )
    if facts.server_id not in places:
        return BootstrapExpect(
            entries,
            f"no entry of the list leads to this node, {facts.address}; it waits for the nodes of "
            "the list, to join them. To bootstrap with them, list it, or set BRAFT_EXPECT",
        )
    if unresolved or sum(map(len, places.values())) < len(listed):
        return BootstrapExpect(entries)  # an unknown node is missing
    return _repeated(entries, places)


def _places_by_id(
    facts: BootstrapFacts, listed: Sequence[Contact], contact_states: Mapping[Contact, ContactState]
) -> dict[str, list[str]]:
    places: dict[str, list[str]] = {}
    for contact in listed:
        reply = contact_states[contact].reply if contact in contact_states else None
        if reply is not None and reply.cluster_name == facts.cluster_name:
            places.setdefault(reply.server_id, []).append(str(contact))
        elif reply is None and str(contact) == facts.address:
            # A node may be unable to reach itself at the address that others use.
            places.setdefault(facts.server_id, []).append(str(contact))
    return places


def _repeated(entries: int, places: Mapping[str, Sequence[str]]) -> BootstrapExpect:
    nodes = len(places)
    if 2 * nodes > entries:
        return BootstrapExpect(nodes)
    same = [" and ".join(where) for where in places.values() if len(where) > 1]
    which = f" ({', '.join(same)} are one node)" if same else ""
    return BootstrapExpect(
        entries,
        f"the list has {entries} entries for {nodes} {'node' if nodes == 1 else 'nodes'}{which}; "
        f"list each node once, or set BRAFT_EXPECT={nodes} on every node",
    )
