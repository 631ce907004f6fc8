"""The rules of a member: missing voters, announcements, membership changes, rival clusters.

Owns decisions only. Pure: time in seconds is passed in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf

from braft_core.cluster.address_book import AddressBook
from braft_core.cluster.interface import PeerView, RaftView
from braft_core.cluster.joining import LearnerFacts, precedence, should_promote
from braft_core.cluster.messages import no_leader_message
from braft_core.cluster.timing import DEFAULT_TIMING, ClusterTiming
from braft_core.peer import ProbeReply, ProbeRequest
from braft_core.raft.types import Server, Suffrage

__all__ = [
    "CaughtUp",
    "Change",
    "ForeignCluster",
    "explain_no_leader",
    "foreign_clusters",
    "hears_leader",
    "must_announce",
    "next_change",
    "preferred_cluster",
    "removal_notice",
    "was_removed",
]


@dataclass(frozen=True, slots=True)
class Change:
    """One membership change for the leader to commit, and its reason."""

    kind: str
    server_id: str
    address: str
    reason: str


@dataclass(frozen=True, slots=True)
class ForeignCluster:
    """A node of our cluster name that belongs to another cluster."""

    cluster_id: str
    server_id: str
    address: str
    voters: int
    empty: bool


class CaughtUp:
    """Since when each learner is caught up, seen from the leader.

    A learner is caught up if it is a few entries behind, or has reached the last index that the
    leader had at the previous tick. Under load no learner is ever level with the leader, and need
    not be (thesis §4.2.1).
    """

    def __init__(self) -> None:
        self._since: dict[str, float] = {}
        self._goal = 0

    def observe(self, now: float, view: RaftView, promotion_lag: int) -> None:
        """Update the learners; one that falls behind loses its time."""
        enough = max(1, min(self._goal or view.last_index, view.last_index - promotion_lag))
        near = [i for i in _learners(view) if view.is_leader and _matched(view, i) >= enough]
        self._since = {server_id: self._since.get(server_id, now) for server_id in near}
        self._goal = view.last_index

    def seconds(self, now: float, server_id: str) -> float:
        """Return for how long that learner has been caught up; -inf if it is not."""
        return now - self._since.get(server_id, inf)


def _learners(view: RaftView) -> list[str]:
    return [s.id for s in view.configuration.servers if s.suffrage == Suffrage.NONVOTER]


def _matched(view: RaftView, server_id: str) -> int:
    return view.peers.get(server_id, PeerView()).match_index


def next_change(
    now: float,
    view: RaftView,
    book: AddressBook,
    caught_up: CaughtUp,
    wants_vote: Iterable[str],
    timing: ClusterTiming = DEFAULT_TIMING,
) -> Change | None:
    """Return the change that the leader commits now: new addresses first, then promotions."""
    if not view.is_leader or not view.has_quorum or view.change_pending:
        return None
    for server in book.outdated(view.configuration):
        voter = server.suffrage == Suffrage.VOTER
        kind = "add_voter" if voter else "add_nonvoter"
        return Change(kind, server.id, server.address, "its address changed")
    willing = set(wants_vote)
    for server in view.configuration.servers:
        if server.suffrage != Suffrage.NONVOTER:
            continue
        peer = view.peers.get(server.id, PeerView())
        facts = LearnerFacts(
            wants_vote=server.id in willing,
            contact_age=peer.last_contact,
            caught_up_for=caught_up.seconds(now, server.id),
        )
        if should_promote(facts, timing):
            return Change("promote", server.id, server.address, "it has caught up")
    return None


def was_removed(view: RaftView, request: ProbeRequest, cluster_id: str) -> bool:
    """Return True if, as leader, we know that the caller is no longer a member.

    Only a leader with an entry of its term committed and no change pending knows: a follower's log
    may lack the addition of the caller.
    """
    return (
        view.is_leader
        and view.has_quorum
        and not view.change_pending
        and request.cluster_id == cluster_id
        and view.configuration.get(request.server_id) is None
    )


def removal_notice(
    view: RaftView,
    cluster_id: str,
    replies: Iterable[ProbeReply],
    timing: ClusterTiming = DEFAULT_TIMING,
) -> ProbeReply | None:
    """Return the leader's reply that this node was removed, unless a leader still calls here.

    A leader calls only its members. So a node that is called is a member, even if a partitioned
    leader that does not know its successor reports otherwise.
    """
    if hears_leader(view, timing):
        return None
    return next((r for r in replies if r.removed and r.cluster_id == cluster_id), None)


def hears_leader(view: RaftView, timing: ClusterTiming = DEFAULT_TIMING) -> bool:
    """Return whether this node leads, or was called by its leader recently."""
    contact = view.peers.get(view.leader_id, PeerView()).last_contact
    return view.is_leader or (bool(view.leader_id) and contact <= timing.missing_after)


def must_announce(view: RaftView, server_id: str, address: str) -> bool:
    """Return whether this member must announce its address to the others.

    It must while no leader is known, since the others may need it for the election, and while the
    configuration has another address.
    """
    own = view.configuration.get(server_id)
    return not view.leader_id or (own is not None and own.address != address)


def explain_no_leader(
    view: RaftView,
    own_id: str,
    ages: Mapping[str, float],
    book: AddressBook,
    no_leader_for: float,
    restart_min: float,
    timing: ClusterTiming = DEFAULT_TIMING,
) -> str:
    """Return the message about a missing leader, "" if there is a leader.

    :param ages: seconds since the last sign of life of each server, probes included.
    :param no_leader_for: seconds without a leader.
    """
    if view.leader_id:
        return ""
    voters = [s for s in view.configuration.servers if s.suffrage == Suffrage.VOTER]
    missing = [
        Server(s.id, book.get(s.id) or s.address, s.suffrage)
        for s in voters
        if s.id != own_id and ages.get(s.id, inf) > timing.missing_after
    ]
    if not voters:
        return f"no leader for {no_leader_for:.0f} s: waiting for the cluster's leader to call"
    searching = no_leader_for >= restart_min
    return no_leader_message(no_leader_for, missing, len(voters), searching)


def foreign_clusters(
    cluster_name: str, cluster_id: str, replies: Iterable[ProbeReply]
) -> list[ForeignCluster]:
    """Return the nodes of our cluster name that belong to another cluster."""
    found = {
        reply.server_id: ForeignCluster(
            reply.cluster_id, reply.server_id, reply.address, reply.voters, reply.empty
        )
        for reply in replies
        if reply.cluster_name == cluster_name and reply.cluster_id not in ("", cluster_id)
    }
    return [found[key] for key in sorted(found)]


def preferred_cluster(
    view: RaftView, own_id: str, cluster_id: str, foreign: Iterable[ForeignCluster]
) -> str:
    """Return the cluster for which this node abandons its own, "" if it stays.

    Only a cluster that was never written to and whose only member is this node is abandoned, and
    only for one that precedes it in the order of :func:`.joining.precedence`. Every node computes
    the same order, so of two such clusters exactly one is abandoned.
    """
    alone = view.configuration.ids == (own_id,) and view.is_leader and not view.change_pending
    if not alone or not view.empty:
        return ""
    own = precedence(1, True, cluster_id)
    others = [precedence(f.voters, f.empty, f.cluster_id) for f in foreign if f.voters > 0]
    best = min(others, default=own)
    return best[2] if best < own else ""
