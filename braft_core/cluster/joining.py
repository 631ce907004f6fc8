"""Joining an existing cluster: which member a newcomer asks, and what the leader answers.

Owns the newcomer's choice of a member and its retries (:class:`JoinAttempts`), the leader's answer
(:func:`handle_join`) and the promotion of learners (:func:`should_promote`). Pure: time in seconds
is passed in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from braft_core.cluster.bootstrap_effects import SendJoinRequest
from braft_core.cluster.timing import DEFAULT_TIMING, ClusterTiming
from braft_core.compat.go_braft.server_id import short_id
from braft_core.errors import BraftError, Conflict, WrongCluster
from braft_core.peer import JoinRequest, ProbeReply
from braft_core.raft.types import Configuration, Server, Suffrage

__all__ = [
    "AddNonvoter",
    "AlreadyMember",
    "JoinAttempts",
    "JoinDecision",
    "LearnerFacts",
    "Refuse",
    "UpdateAddress",
    "handle_join",
    "lacks_capabilities",
    "precedence",
    "should_promote",
]

#: How many leader hints in a row are followed without a pause.
MAX_HINTS = 3


class JoinAttempts:
    """Which member to ask next. One attempt at a time; leader hints first, then all in turn."""

    def __init__(self, timing: ClusterTiming) -> None:
        self._timing = timing
        self._busy_until = -inf
        self._next_at = -inf
        self._backoff = timing.join_retry_min
        self._hint = ""
        self._hints = 0
        self._turn = 0
        self._last = ""

    def next(self, now: float, members: Sequence[ProbeReply]) -> SendJoinRequest | None:
        """Return the attempt to make now, if any; ``members`` are replies of initialised nodes."""
        if now < max(self._busy_until, self._next_at) or not members:
            return None
        cluster_id = self.choose(members)
        candidates = _candidates([m for m in members if m.cluster_id == cluster_id])
        address = self._hint or candidates[self._turn % len(candidates)]
        self._busy_until, self._hint = now + self._timing.join_lost, ""
        return SendJoinRequest(address, cluster_id)

    def failed(self, now: float, address: str, reason: str, hint: str = "") -> None:
        """Note that the attempt failed; ``hint`` is the leader's address if it was named."""
        self._busy_until, self._last = -inf, f"{address}: {reason}"
        if hint and hint != address and self._hints < MAX_HINTS:
            self._hint, self._next_at = hint, now
            self._hints += 1
            return
        self._hints, self._turn = 0, self._turn + 1
        self._next_at = now + self._backoff
        self._backoff = min(self._timing.join_retry_max, self._backoff * 2)

    def waiting(self, members: Sequence[ProbeReply]) -> str:
        """Return why this node has not joined yet."""
        if not members:
            return "a cluster was seen, but none of its members answers now"
        last = f"; last answer from {self._last}" if self._last else ""
        return f"joining cluster {self.choose(members)}{last}"

    @staticmethod
    def choose(members: Sequence[ProbeReply]) -> str:
        """Return the id of the cluster to join: most voters, then not empty, then smallest id."""
        return min(members, key=lambda m: precedence(m.voters, m.empty, m.cluster_id)).cluster_id


def precedence(voters: int, empty: bool, cluster_id: str) -> tuple[int, bool, str]:
    """Return the sort key of clusters of one name: most voters, then not empty, then smallest id.

    Every node computes the same order.
    """
    return (-voters, empty, cluster_id)


def _candidates(members: Sequence[ProbeReply]) -> list[str]:
    leaders = [m.leader_address for m in members if m.leader_address]
    return list(dict.fromkeys([*leaders, *(m.address for m in members)]))


# --------------------------------------------------------------------------------------------
# The leader's side


@dataclass(frozen=True, slots=True)
class AddNonvoter:
    """Add the newcomer as a learner."""

    server_id: str
    address: str


@dataclass(frozen=True, slots=True)
class UpdateAddress:
    """Commit the new address of a member, keep its suffrage."""

    server: Server


@dataclass(frozen=True, slots=True)
class AlreadyMember:
    """Change nothing: the caller is a member already."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """Refuse the request with this error."""

    error: BraftError


JoinDecision = AddNonvoter | UpdateAddress | AlreadyMember | Refuse


def handle_join(
    request: JoinRequest,
    *,
    cluster_name: str,
    cluster_id: str,
    configuration: Configuration,
    was_removed: bool = False,
    lacking: str = "",
) -> JoinDecision:
    """Decide the leader's answer to a join request.

    A voter without a cluster id has lost its log and perhaps its vote. Under its old id it could
    vote twice in a term, or elect a leader that lacks entries it once acknowledged. It is refused.
    A learner in the same state is harmless, since its log and vote never counted: the reply to its
    first request may have been lost.

    :param was_removed: the caller was a voter and was removed as dead. It may rejoin, but for the
        same reason only with its data.
    :param lacking: the agreed capabilities that the caller lacks. As a member it would have to
        stop applying entries, or the cluster would have to stop using those capabilities.
    """
    if request.cluster_name != cluster_name:
        return Refuse(_wrong("name", request.cluster_name, cluster_name))
    if request.cluster_id not in ("", cluster_id):
        return Refuse(_wrong("id", request.cluster_id, cluster_id))
    member = configuration.get(request.server_id)
    if member is None:
        for other in configuration.servers:
            if other.address == request.address:
                return Refuse(_address_taken(other))
        if was_removed and not request.cluster_id:
            return Refuse(_removed_and_lost(request))
        if lacking:
            return Refuse(lacks_capabilities(request.server_id, request.address, lacking))
        return AddNonvoter(request.server_id, request.address)
    if not request.cluster_id and member.suffrage == Suffrage.VOTER:
        return Refuse(_lost_its_data(member, request.address))
    if member.address != request.address:
        return UpdateAddress(member._replace(address=request.address))
    return AlreadyMember()


def _wrong(what: str, theirs: str, ours: str) -> WrongCluster:
    return WrongCluster(
        f"this is the cluster with {what} {ours!r}, not {theirs!r}", expected=theirs, actual=ours
    )


def _address_taken(owner: Server) -> Conflict:
    return Conflict(
        f"address {owner.address} belongs to another member, {short_id(owner.id)}. If that one is "
        "gone for good (because its data is lost, say), remove it, and this node joins by itself: "
        f"braft members remove {owner.address}",
        server_id=owner.id,
        address=owner.address,
    )


def _lost_its_data(member: Server, address: str) -> Conflict:
    return Conflict(
        f"node {short_id(member.id)} is a voter of this cluster, but the one at {address} has lost "
        "its data: it must not vote again under this id. To rejoin as new, start it with an empty "
        "data directory so that it makes a new id, and remove the old one: "
        f"braft members remove {member.id}",
        server_id=member.id,
        address=address,
    )


def _removed_and_lost(request: JoinRequest) -> Conflict:
    return Conflict(
        f"node {short_id(request.server_id)} was a voter of this cluster until it was removed as "
        f"dead, and the one at {request.address} has lost its data: it must not vote again under "
        "this id. To rejoin as new, start it with an empty data directory; it makes a new id",
        server_id=request.server_id,
        address=request.address,
    )


def lacks_capabilities(server_id: str, address: str, lacking: str) -> Conflict:
    """Return the refusal of a node that lacks agreed capabilities."""
    return Conflict(
        f"node {short_id(server_id)} at {address} lacks {lacking}, which this cluster uses: "
        "upgrade it or install what it lacks, and restart it; then it joins by itself",
        server_id=server_id,
        address=address,
        lacks=lacking,
    )


@dataclass(frozen=True, slots=True)
class LearnerFacts:
    """What the leader knows of a learner. Durations in seconds."""

    wants_vote: bool
    contact_age: float
    caught_up_for: float


def should_promote(facts: LearnerFacts, timing: ClusterTiming = DEFAULT_TIMING) -> bool:
    """Return whether to promote: the learner asked for it, is in contact and stays caught up."""
    return (
        facts.wants_vote
        and facts.contact_age <= timing.promotion_contact
        and facts.caught_up_for >= timing.promotion_stable
    )
