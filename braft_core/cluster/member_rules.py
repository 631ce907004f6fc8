"""Life as a member: who is missing, who must be told our address, what the leader commits.

Owns decisions only. Pure: values in, values out, time in seconds passed in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf

from braft_core.cluster.address_book import AddressBook
from braft_core.cluster.interface import PeerView, RaftView
from braft_core.cluster.joining import LearnerFacts, precedence, should_promote
from braft_core.cluster.messages import no_leader_message
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

#: Seconds since the last sign of life after which a voter counts as missing.
MISSING_AFTER = 3.0


@dataclass(frozen=True, slots=True)
class Change:
    """One membership change for the leader to commit, and why."""

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

    Caught up means few entries behind, or at least as far as the leader was when it last looked:
    under load no learner is ever level with the leader, and need not be (thesis §4.2.1).
    """

    def __init__(self) -> None:
        self._since: dict[str, float] = {}
        self._goal = 0

    def observe(self, now: float, view: RaftView, promotion_lag: int) -> None:
        """Take a look at the learners; one that falls behind starts anew."""
        enough = max(1, min(self._goal or view.last_index, view.last_index - promotion_lag))
        near = [i for i in _learners(view) if view.is_leader and _matched(view, i) >= enough]
        self._since = {server_id: self._since.get(server_id, now) for server_id in near}
        self._goal = view.last_index

    def seconds(self, now: float, server_id: str) -> float:
        """For how long that learner has been caught up; -inf if it is not."""
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
) -> Change | None:
    """The one change the leader makes now: new addresses first, then promotions."""
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
        if should_promote(facts):
            return Change("promote", server.id, server.address, "it has caught up")
    return None


def was_removed(view: RaftView, request: ProbeRequest, cluster_id: str) -> bool:
    """Whether this node can say for sure that the asker, once a member, is none any more.

    Only a leader can, that has committed in its term and changes nothing: a follower's log may
    lack the asker's addition.
    """
    return (
        view.is_leader
        and view.has_quorum
        and not view.change_pending
        and request.cluster_id == cluster_id
        and view.configuration.get(request.server_id) is None
    )


def removal_notice(
    view: RaftView, cluster_id: str, replies: Iterable[ProbeReply]
) -> ProbeReply | None:
    """The leader's word that this node is no member any more, unless a leader still calls here.

    A leader calls its members only, so whoever hears one is counted, whatever another one says
    that was cut off and does not know yet that it was replaced.
    """
    if hears_leader(view):
        return None
    return next((r for r in replies if r.removed and r.cluster_id == cluster_id), None)


def hears_leader(view: RaftView) -> bool:
    """Whether this node leads, or was called by its leader lately."""
    heard = view.peers.get(view.leader_id, PeerView()).last_contact <= MISSING_AFTER
    return view.is_leader or (bool(view.leader_id) and heard)


def must_announce(view: RaftView, server_id: str, address: str) -> bool:
    """Whether this member has to tell others where it is.

    As long as no leader is known, since the others may need it for the election, and until the
    configuration says so.
    """
    own = view.configuration.get(server_id)
    return not view.leader_id or (own is not None and own.address != address)


def explain_no_leader(
    view: RaftView,
    own_id: str,
    heard: Mapping[str, float],
    book: AddressBook,
    no_leader_for: float,
    restart_min: float,
) -> str:
    """Why there is no leader: who is missing, how many failures are tolerated; "" if there is one.

    ``heard`` is the age in seconds of the last sign of life of each server, probes included.
    """
    if view.leader_id:
        return ""
    voters = [s for s in view.configuration.servers if s.suffrage == Suffrage.VOTER]
    missing = [
        Server(s.id, book.get(s.id) or s.address, s.suffrage)
        for s in voters
        if s.id != own_id and heard.get(s.id, inf) > MISSING_AFTER
    ]
    if not voters:
        return f"no leader for {no_leader_for:.0f} s: waiting for the cluster's leader to call"
    searching = no_leader_for >= restart_min
    return no_leader_message(no_leader_for, missing, len(voters), searching)


def foreign_clusters(
    cluster_name: str, cluster_id: str, replies: Iterable[ProbeReply]
) -> list[ForeignCluster]:
    """Nodes that carry our cluster's name and belong to another cluster."""
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
    """The cluster into which this one dissolves, "" if it stays.

    Only a cluster that was never written to and whose one member is this node gives way, and only
    to one that comes before it in the order that every node computes alike: of two such clusters
    exactly one dissolves.
    """
    alone = view.configuration.ids == (own_id,) and view.is_leader and not view.change_pending
    if not alone or not view.empty:
        return ""
    own = precedence(1, True, cluster_id)
    others = [precedence(f.voters, f.empty, f.cluster_id) for f in foreign if f.voters > 0]
    best = min(others, default=own)
    return best[2] if best < own else ""
