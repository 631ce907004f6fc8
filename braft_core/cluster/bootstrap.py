"""From nothing to a cluster: the rules by which blank nodes found one, and never two.

A sans-I/O machine. Inputs are what discovery, probes and peers said, each with the time ``now``
(seconds, any origin); outputs are effects (:mod:`.effects`) for a driver. It owns the decision who
founds which cluster, and must not know sockets, disks, clocks, randomness or Raft.

**The protocol.** The node with the smallest id of a still, complete view proposes a founding C:
a fresh cluster id and exactly ``expect`` members, the smallest ids. It durably promises itself,
then offers C to the others. Each member

- durably promises *at most one* founding and refuses every other ("veto"), durably too;
- starts Raft from C only when it knows that **every** member of C has promised C, or that one has
  started. The proposer's promise is implied by C itself, the others show theirs in probe replies,
  so any member can finish the work of a proposer that died;
- gives C up only when a member of C has rejected it: then C can never start anywhere.

**Why there are never two.** Say C1 and C2 both started. Every member of either promised it, a
promise is given up only if its founding can never start, so no node is in both. Two disjoint
foundings need ``2 * expect`` nodes. With fewer than that many nodes a second cluster is therefore
impossible, whatever discovery lies, whoever crashes, however the network splits. (A majority of
promises would not do: of five nodes with ``expect`` 3, {1,2} of C1 = {1,2,3} and {4,5} of
C2 = {3,4,5} would both elect a leader.)

**With ``2 * expect`` nodes or more** the view decides: every contact was probed, the view was
still, and only the smallest id proposes while the others wait to join; whoever sees a founding or
a cluster founds nothing beside it. What no rule can prevent is a network split *while bootstrap*,
with ``expect`` blank nodes on each side: each side looks like the whole. ``expect`` above half of
the nodes that will ever be started together excludes it.

**The price.** If a member dies for good in the milliseconds between the last probe and its
promise, C never starts and those that promised it wait for that member. Nothing was ever written,
so they may be started again with empty data directories; :meth:`Bootstrap.waiting` says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import inf

from braft_core.abc import Contact
from braft_core.cluster.address_book import contact_at
from braft_core.cluster.bootstrap_effects import (
    Effect,
    ListDiscovery,
    Probe,
    SendProposal,
    StartCluster,
    StoreRecord,
)
from braft_core.cluster.bootstrap_expect import BootstrapExpect, infer_expect
from braft_core.cluster.bootstrap_proposal import (
    REJECTED,
    SendSchedule,
    check_proposal,
    make_proposal,
    members_of,
    read_shown,
    show_accepted,
)
from braft_core.cluster.bootstrap_record import BootstrapRecord
from braft_core.cluster.discovery_view import BootstrapFacts, DiscoveryView, contradictions
from braft_core.cluster.joining import JoinAttempts
from braft_core.cluster.messages import (
    no_cluster_message,
    other_proposal_message,
    pending_acceptance_message,
    too_few_nodes_message,
)
from braft_core.errors import DecodeError
from braft_core.peer import BootstrapProposal, BootstrapProposalReply, ProbeReply

__all__ = ["Bootstrap", "ProposalDecision"]

#: Seconds between two listings of discovery.
LIST_INTERVAL = 1.0
#: Seconds after which an unanswered listing is asked for again.
LISTING_LOST = 10.0
#: Seconds before a failed durable write or a failed start of Raft is tried again.
RETRY_INTERVAL = 1.0
#: Seconds without any sign of a seen founding after which a blank node vetoes and forgets it.
PROPOSAL_PATIENCE = 30.0


@dataclass(frozen=True, slots=True)
class ProposalDecision:
    """The answer to a BootstrapProposal: ``reply`` leaves once all it rests on is durable."""

    reply: BootstrapProposalReply
    effects: list[Effect]


@dataclass(slots=True)
class _OtherProposal:
    """A founding that another node promised and that may yet start."""

    last_seen: float
    holders: set[str] = field(default_factory=set)
    members: tuple[str, ...] = ()


class Bootstrap:
    """One node's way into a cluster. Not thread-safe: one owner calls it, one call at a time.

    ``record`` is what the last life stored (:data:`EMPTY_RECORD` if nothing); ``new_cluster_id``
    makes a fresh id, unique in the world.
    """

    def __init__(
        self, facts: BootstrapFacts, record: BootstrapRecord, new_cluster_id: Callable[[], str]
    ) -> None:
        self._facts = facts
        self._new_cluster_id = new_cluster_id
        self._record = self._durable = record
        self._storing = False
        self._retry_at = -inf
        self._failure = ""
        self._view = DiscoveryView(facts)
        self._count = BootstrapExpect(facts.expect)
        self._unresolved: tuple[str, ...] = ()
        self._joining = JoinAttempts()
        self._join_only = False
        self._other_proposals: dict[str, _OtherProposal] = {}
        self._schedule = SendSchedule()
        self._accepted_by: set[str] = set()
        self._confirm_from = inf
        self._list_at = -inf
        self._started_at = 0.0
        self._reason = "starting"
        self._start_requested = False
        self._member_of = ""

    def move(self, address: str) -> None:
        """This node's address has changed."""
        self._facts = replace(self._facts, address=address)
        self._view.facts = self._facts

    # -- views -------------------------------------------------------------------------------

    @property
    def view(self) -> DiscoveryView:
        """What has been seen so far. To be read only."""
        return self._view

    @property
    def expect(self) -> int:
        """How many nodes bootstrap a cluster, by what is known now; 0 if nobody can tell."""
        return self._count.expect

    @property
    def cluster_id(self) -> str:
        """The cluster this node is in or has durably promised to found, "" if neither."""
        accepted = self._durable.accepted
        return self._member_of or (accepted.cluster_id if accepted else "")

    @property
    def initialised(self) -> bool:
        """Whether the node is a member of a cluster."""
        return bool(self._member_of)

    @property
    def record(self) -> BootstrapRecord:
        """What has to be durable before the next reply leaves."""
        return self._record

    @property
    def durable(self) -> BootstrapRecord:
        """What is durable."""
        return self._durable

    def waiting(self, now: float) -> str:
        """Why there is no cluster yet and since when; "" once there is."""
        if self._member_of:
            return ""
        reason = f"{self._reason}; {self._failure}" if self._failure else self._reason
        return no_cluster_message(now - self._started_at, reason, self._view.foreign())

    # -- inputs ------------------------------------------------------------------------------

    def start(self, now: float) -> list[Effect]:
        """Begin. Called once, before anything else."""
        self._started_at = now
        if self._record.accepted:
            self._collect_acceptances(now, self._record.accepted)
        if not self._facts.has_discovery:
            self._view.listed(now, ())
        return self._advance(now)

    def tick(self, now: float) -> list[Effect]:
        """Time passed. To be called every 50 ms or so; more often does no harm."""
        return self._advance(now)

    def contacts_listed(
        self, now: float, contacts: Iterable[Contact], unresolved: Sequence[str] = ()
    ) -> list[Effect]:
        """Discovery answered with the whole current set, asked for or on its own.

        :param unresolved: entries of its list that lead to no contact now.
        """
        self._unresolved = tuple(unresolved)
        self._list_at = min(self._list_at, now + LIST_INTERVAL)
        self._view.listed(now, contacts)
        return self._advance(now)

    def listing_failed(self, now: float, reason: str) -> list[Effect]:
        """Discovery failed, which is not an empty list."""
        self._list_at = min(self._list_at, now + LIST_INTERVAL)
        self._view.listing_failed(now, reason)
        return self._advance(now)

    def probe_answered(self, now: float, contact: Contact, reply: ProbeReply) -> list[Effect]:
        """The node at ``contact`` answered a probe."""
        self._view.answered(now, contact, reply)
        if reply.cluster_name == self._facts.cluster_name:
            self._note_cluster(now, reply)
        return self._advance(now)

    def probe_failed(self, now: float, contact: Contact, reason: str) -> list[Effect]:
        """Nobody answered at ``contact``, or not in time."""
        self._view.failed(now, contact, reason)
        return self._advance(now)

    def proposal_received(self, now: float, request: BootstrapProposal) -> ProposalDecision:
        """A peer offers a founding, or (empty configuration) asks for the one promised here."""
        if not request.configuration:
            return ProposalDecision(show_accepted(self._durable.accepted, self.cluster_id), [])
        objection = check_proposal(self._facts, request)
        if objection.malformed:
            return ProposalDecision(_rejection(objection.reason), [])
        held = self._member_of or (
            self._record.accepted.cluster_id if self._record.accepted else ""
        )
        if held == request.cluster_id:
            return ProposalDecision(_accept(request), self._advance(now))
        if held or self._join_only or request.cluster_id in self._record.rejected:
            why = (
                f"this node holds to cluster {held}" if held else "this node waits to join another"
            )
            self._reject(request.cluster_id)
            return ProposalDecision(_rejection(REJECTED + why), self._advance(now))
        if objection.reason:
            return ProposalDecision(_rejection(objection.reason), [])
        self._accept(now, request)
        return ProposalDecision(_accept(request), self._advance(now))

    def proposal_answered(
        self, now: float, offer: SendProposal, reply: BootstrapProposalReply
    ) -> list[Effect]:
        """The reply to an :class:`SendProposal`."""
        self._schedule.done(now, offer.server_id)
        if not offer.request.configuration:
            self._note_shown_proposal(now, offer, reply)
        elif offer.request == self._record.accepted and not self._start_requested:
            if reply.accepted:
                self._view.probe_now((offer.server_id,), offer.address)
            elif reply.reason.startswith(REJECTED):
                self._abandon(now, offer.request)
        return self._advance(now)

    def proposal_failed(self, now: float, offer: SendProposal, reason: str) -> list[Effect]:
        """An offer was not answered (``reason`` is for the driver's log)."""
        self._schedule.done(now, offer.server_id)
        return self._advance(now)

    def stored(self, now: float, record: BootstrapRecord) -> list[Effect]:
        """A :class:`StoreRecord` became durable."""
        if self._member_of:
            return []
        self._durable, self._failure = record, ""
        self._storing = record is not self._record
        return self._advance(now)

    def failed(self, now: float, reason: str) -> list[Effect]:
        """Storing the record or starting Raft failed; it is tried again."""
        self._failure, self._storing, self._start_requested = reason, False, False
        self._retry_at = now + RETRY_INTERVAL
        return self._advance(now)

    def join_failed(self, now: float, address: str, reason: str, hint: str = "") -> list[Effect]:
        """A join was refused or not answered; ``hint`` is the leader's address if it was named."""
        self._joining.failed(now, address, reason, hint)
        return self._advance(now)

    def became_member(self, now: float, cluster_id: str) -> None:
        """Raft runs: this node has founded or joined ``cluster_id``. It never founds again."""
        self._member_of = cluster_id
        # What was to be stored is settled by the membership itself: a member promises nothing.
        self._durable = self._record
        self._other_proposals.clear()

    # -- decisions ---------------------------------------------------------------------------

    def _advance(self, now: float) -> list[Effect]:
        if self._member_of:
            return []
        effects = self._decide(now)
        if self._record is not self._durable and not self._storing and now >= self._retry_at:
            self._storing = True
            effects.append(StoreRecord(self._record))
        if self._facts.has_discovery and now >= self._list_at:
            self._list_at = now + LISTING_LOST
            effects.append(ListDiscovery())
        return effects + [Probe(contact) for contact in self._view.take_due(now)]

    def _decide(self, now: float) -> list[Effect]:
        if self._record is not self._durable:
            self._reason = "writing the founding to disk"
            return []
        accepted = self._durable.accepted
        return (
            self._decide_uninitialised(now) if accepted is None else self._complete(now, accepted)
        )

    def _complete(self, now: float, accepted: BootstrapProposal) -> list[Effect]:
        """Promised: collect the promises of the others, then start."""
        configuration = members_of(accepted)
        missing = [s for s in configuration.servers if s.id not in self._accepted_by]
        self._reason = pending_acceptance_message(accepted.cluster_id, missing)
        if not missing:
            if self._start_requested or now < self._retry_at:
                return []
            self._start_requested = True
            return [StartCluster(accepted.cluster_id, configuration)]
        where = {reply.server_id: reply.address for reply in self._view.replies()}
        return [
            SendProposal(server.id, where.get(server.id, server.address), accepted)
            for server in missing
            if self._schedule.due(now, server.id)
        ]

    def _decide_uninitialised(self, now: float) -> list[Effect]:
        """Blank: join what exists, wait for what is being founded, or found."""
        replies = self._view.replies()
        if self._join_only:
            members = [r for r in replies if r.initialised]
            self._reason = self._joining.waiting(members)
            ask = self._joining.next(now, members)
            return [ask] if ask else []
        view = self._view
        self._count = infer_expect(
            self._facts, view.contacts, view.contact_states, self._unresolved
        )
        self._drop_lost_proposals(now)
        if self._other_proposals:
            self._reason = other_proposal_message(sorted(self._other_proposals))
            return self._ask_holders(now, replies)
        self._reason = self._obstacle(now, replies)
        if not self._reason:
            self._confirm_from = inf
            self._accept(now, make_proposal(self._counted, replies, self._new_cluster_id()))
        return []

    def _obstacle(self, now: float, replies: Sequence[ProbeReply]) -> str:
        """Why this node does not make_proposal now, "" if it may."""
        obstacle = self._view_obstacle(replies) or self._stillness_obstacle(now)
        if obstacle:
            self._confirm_from = inf
            return obstacle
        smallest = min(replies, key=lambda r: r.server_id, default=None)
        if smallest is not None and smallest.server_id < self._facts.server_id:
            self._confirm_from = inf
            return (
                f"waiting for {smallest.address}, which has the smallest id, to found the cluster"
            )
        return self._confirmation_obstacle(now, replies)

    @property
    def _counted(self) -> BootstrapFacts:
        return replace(self._facts, expect=self._count.expect)

    def _view_obstacle(self, replies: Sequence[ProbeReply]) -> str:
        view, facts = self._view, self._counted
        if not view.ever_listed or view.listing_failure:
            return (
                f"discovery failed: {view.listing_failure}"
                if view.listing_failure
                else ("waiting for discovery")
            )
        if self._facts.unclear:
            return self._count.obstacle
        if reasons := contradictions(facts, replies):
            return "; ".join(reasons)
        if not view.settled:
            return "waiting for the first answers"
        if self._count.obstacle:
            return self._count.obstacle
        if len(replies) + 1 < facts.expect:
            return too_few_nodes_message(facts, replies, view.silent(), self._unresolved)
        return ""

    def _stillness_obstacle(self, now: float) -> str:
        margin = self._facts.margin + self._facts.sleep if self._facts.has_discovery else 0.0
        listened = now - self._view.first_listed
        if now - self._view.unchanged_since < margin or listened < self._facts.listen:
            return f"all {self._count.expect} nodes found; waiting until nothing changes"
        return ""

    def _confirmation_obstacle(self, now: float, replies: Sequence[ProbeReply]) -> str:
        """All members-to-be must be seen alive once more, right before the proposal."""
        chosen = sorted(r.server_id for r in replies)[: self._count.expect - 1]
        if self._confirm_from == inf:
            self._confirm_from = now
            self._view.probe_now(chosen)
        late = [c for c in chosen if self._view.answered_at(c) < self._confirm_from]
        return f"probing {len(late)} nodes once more" if late else ""

    # -- promises ----------------------------------------------------------------------------

    def _accept(self, now: float, request: BootstrapProposal) -> None:
        self._record = replace(self._record, accepted=request)
        self._storing = False
        self._collect_acceptances(now, request)

    def _collect_acceptances(self, now: float, request: BootstrapProposal) -> None:
        self._accepted_by = {self._facts.server_id, request.proposer}
        self._other_proposals.clear()
        self._schedule = SendSchedule()
        others = (s for s in members_of(request).servers if s.id != self._facts.server_id)
        self._view.pin(now, [contact_at(s.address, "founding") for s in others])
        for reply in self._view.replies():
            self._note_cluster(now, reply)

    def _abandon(self, now: float, request: BootstrapProposal) -> None:
        """A member rejected: this founding can never start, so the promise binds no longer."""
        self._record = BootstrapRecord(None, self._record.rejected)
        self._reject(request.cluster_id)
        self._accepted_by.clear()
        self._view.pin(now, ())
        for reply in self._view.replies():
            self._note_cluster(now, reply)

    def _reject(self, cluster_id: str) -> None:
        if cluster_id not in self._record.rejected and not self._member_of:
            self._record = replace(self._record, rejected=(*self._record.rejected, cluster_id))
            self._storing = False

    # -- foundings and clusters of others ----------------------------------------------------

    def _note_cluster(self, now: float, reply: ProbeReply) -> None:
        """A node of our cluster name showed its state: the one place where latches change."""
        accepted = self._record.accepted
        if accepted is not None:
            if reply.cluster_id == accepted.cluster_id:
                ids = members_of(accepted).ids if reply.initialised else (reply.server_id,)
                self._accepted_by.update(ids)
            return
        for cluster_id, seen in list(self._other_proposals.items()):
            if reply.server_id in seen.holders and reply.cluster_id != cluster_id:
                # Promises are given up only for foundings that can never start.
                del self._other_proposals[cluster_id]
        if reply.initialised and reply.cluster_id:
            self._join_only = True
        elif reply.cluster_id and reply.server_id != self._facts.server_id:
            seen = self._other_proposals.setdefault(reply.cluster_id, _OtherProposal(now))
            seen.last_seen = now
            seen.holders.add(reply.server_id)

    def _ask_holders(self, now: float, replies: Sequence[ProbeReply]) -> list[Effect]:
        effects: list[Effect] = []
        for reply in replies:
            seen = self._other_proposals.get(reply.cluster_id)
            if seen and not seen.members and self._schedule.due(now, reply.server_id):
                ask = BootstrapProposal(
                    self._facts.cluster_name, reply.cluster_id, b"", self._facts.server_id
                )
                effects.append(SendProposal(reply.server_id, reply.address, ask))
        return effects

    def _note_shown_proposal(
        self, now: float, offer: SendProposal, reply: BootstrapProposalReply
    ) -> None:
        seen = self._other_proposals.get(reply.cluster_id)
        if seen is None or not reply.accepted:
            return
        try:
            shown = read_shown(self._facts.cluster_name, reply)
        except DecodeError:
            return
        seen.members = members_of(shown).ids
        blank = self._record.accepted is None and reply.cluster_id not in self._record.rejected
        if blank and not check_proposal(self._facts, shown).reason:
            self._accept(now, shown)

    def _drop_lost_proposals(self, now: float) -> None:
        """Nobody shows it any more: make sure it cannot start with us, then go on without it."""
        for cluster_id, seen in list(self._other_proposals.items()):
            if now - seen.last_seen > PROPOSAL_PATIENCE:
                del self._other_proposals[cluster_id]
                self._reject(cluster_id)


def _accept(request: BootstrapProposal) -> BootstrapProposalReply:
    return BootstrapProposalReply(True, request.cluster_id, request.configuration, "")


def _rejection(reason: str) -> BootstrapProposalReply:
    return BootstrapProposalReply(False, "", b"", reason)
