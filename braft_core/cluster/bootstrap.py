"""Bootstrap: the rules by which uninitialised nodes create one cluster, and never two.

A sans-I/O state machine. Inputs are the results of discovery, probes and calls, each with the time
``now`` (seconds, any origin). Outputs are effects (:mod:`.bootstrap_effects`). It owns the decision
which node creates which cluster. It knows no sockets, disks, clocks, randomness or Raft.

**The protocol.** The node with the smallest id of a stable, complete view makes a proposal C:
a fresh cluster id and exactly ``expect`` members, the smallest ids. It durably accepts C itself,
then sends C to the others. Each member

- durably accepts *at most one* proposal and durably rejects every other;
- starts Raft from C only when it knows that **every** member of C has accepted C, or that one has
  started. C itself implies the proposer's acceptance. The others show theirs in probe replies, so
  any member can finish the work of a proposer that died;
- abandons C only when a member of C has rejected it: then C can never start anywhere.

**Why there are never two.** Say C1 and C2 both started. Every member of each accepted it, and
abandons it only if it can never start, so no node is in both. Two disjoint proposals need
``2 * expect`` nodes. With fewer nodes a second cluster is therefore impossible, whatever discovery
lists, whichever nodes crash, however the network splits. (A majority of acceptances would not do:
of five nodes with ``expect`` 3, {1,2} of C1 = {1,2,3} and {4,5} of C2 = {3,4,5} would both elect a
leader.)

**With ``2 * expect`` nodes or more** the view decides: every contact was probed, the view was
stable, and only the smallest id proposes while the others wait to join. A node that sees another
proposal or a cluster proposes nothing. No rule can prevent a network split *during the bootstrap*
with ``expect`` uninitialised nodes on each side: each side looks complete. ``expect`` above half of
the nodes that will ever be started together excludes it.

**The price.** If a member dies for good in the milliseconds between the last probe and its
acceptance, C never starts, and those that accepted it wait for that member. Nothing was ever
written, so they may be restarted with empty data directories; :meth:`Bootstrap.waiting` says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
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
from braft_core.cluster.bootstrap_facts import BootstrapFacts
from braft_core.cluster.bootstrap_proposal import (
    REJECTED,
    SendSchedule,
    check_proposal,
    make_proposal,
    members_of,
    read_shown,
    show_accepted,
)
from braft_core.cluster.bootstrap_readiness import Readiness
from braft_core.cluster.bootstrap_record import BootstrapRecord
from braft_core.cluster.discovery_view import DiscoveryView
from braft_core.cluster.joining import JoinAttempts
from braft_core.cluster.messages import (
    no_cluster_message,
    other_proposal_message,
    pending_acceptance_message,
)
from braft_core.cluster.other_proposals import OtherProposals
from braft_core.errors import DecodeError
from braft_core.peer import BootstrapProposal, BootstrapProposalReply, ProbeReply

__all__ = ["Bootstrap", "ProposalDecision"]


@dataclass(frozen=True, slots=True)
class ProposalDecision:
    """The answer to a proposal. Send ``reply`` only after :attr:`Bootstrap.record` is durable."""

    reply: BootstrapProposalReply
    effects: list[Effect]


class Bootstrap:
    """One node's way into a cluster. Not thread-safe: one owner calls it, one call at a time.

    :param record: what the last life stored, :data:`.bootstrap_record.EMPTY_RECORD` if nothing.
    :param new_cluster_id: makes a globally unique id.
    """

    def __init__(
        self, facts: BootstrapFacts, record: BootstrapRecord, new_cluster_id: Callable[[], str]
    ) -> None:
        self._facts = facts
        self._timing = facts.timing
        self._new_cluster_id = new_cluster_id
        self._record = self._durable = record
        self._storing = False
        self._retry_at = -inf
        self._failure = ""
        self._view = DiscoveryView(facts)
        self._readiness = Readiness(self._view)
        self._count = BootstrapExpect(facts.expect)
        self._unresolved: tuple[str, ...] = ()
        self._joining = JoinAttempts(self._timing)
        self._join_only = False
        self._other_proposals = OtherProposals()
        self._schedule = SendSchedule(self._timing)
        self._accepted_by: set[str] = set()
        self._list_at = -inf
        self._started_at = 0.0
        self._reason = "starting"
        self._start_requested = False
        self._member_of = ""

    def move(self, address: str) -> None:
        """Use another address for this node from now on."""
        self._facts = replace(self._facts, address=address)
        self._view.facts = self._facts

    # -- views -------------------------------------------------------------------------------

    @property
    def view(self) -> DiscoveryView:
        """The discovered contacts and their replies. Read-only for callers."""
        return self._view

    @property
    def expect(self) -> int:
        """How many nodes bootstrap a cluster, as far as known now; 0 if unknown."""
        return self._count.expect

    @property
    def cluster_id(self) -> str:
        """The cluster of this node, or of its durably accepted proposal; "" if neither."""
        accepted = self._durable.accepted
        return self._member_of or (accepted.cluster_id if accepted else "")

    @property
    def initialised(self) -> bool:
        """Whether the node is a member of a cluster."""
        return bool(self._member_of)

    @property
    def record(self) -> BootstrapRecord:
        """What must be durable before the next reply leaves."""
        return self._record

    @property
    def durable(self) -> BootstrapRecord:
        """What is durable."""
        return self._durable

    def waiting(self, now: float) -> str:
        """Return why there is no cluster yet and since when; "" once there is one."""
        if self._member_of:
            return ""
        reason = f"{self._reason}; {self._failure}" if self._failure else self._reason
        return no_cluster_message(now - self._started_at, reason, self._view.foreign())

    # -- inputs ------------------------------------------------------------------------------

    def start(self, now: float) -> list[Effect]:
        """Begin. Call once, before any other input."""
        self._started_at = now
        if self._record.accepted:
            self._collect_acceptances(now, self._record.accepted)
        if not self._facts.has_discovery:
            self._view.listed(now, ())
        return self._advance(now)

    def tick(self, now: float) -> list[Effect]:
        """Process the passing of time. Call about every 50 ms; more often does no harm."""
        return self._advance(now)

    def contacts_listed(
        self, now: float, contacts: Iterable[Contact], unresolved: Sequence[str] = ()
    ) -> list[Effect]:
        """Process the complete current set of contacts, requested or not.

        :param unresolved: entries of the discovery's list that lead to no contact now.
        """
        self._unresolved = tuple(unresolved)
        self._list_at = min(self._list_at, now + self._timing.list_interval)
        self._view.listed(now, contacts)
        return self._advance(now)

    def listing_failed(self, now: float, reason: str) -> list[Effect]:
        """Process a failure of discovery, which is not an empty list."""
        self._list_at = min(self._list_at, now + self._timing.list_interval)
        self._view.listing_failed(now, reason)
        return self._advance(now)

    def probe_answered(self, now: float, contact: Contact, reply: ProbeReply) -> list[Effect]:
        """Process the reply to a probe of ``contact``."""
        self._view.answered(now, contact, reply)
        if reply.cluster_name == self._facts.cluster_name:
            self._note_cluster(now, reply)
        return self._advance(now)

    def probe_failed(self, now: float, contact: Contact, reason: str) -> list[Effect]:
        """Process the failure or the timeout of a probe of ``contact``."""
        self._view.failed(now, contact, reason)
        return self._advance(now)

    def proposal_received(self, now: float, request: BootstrapProposal) -> ProposalDecision:
        """Answer a proposal, or the question (empty configuration) which one was accepted here."""
        if not request.configuration:
            return ProposalDecision(show_accepted(self._durable.accepted, self.cluster_id), [])
        objection = check_proposal(self._facts, request)
        if objection.malformed:
            return ProposalDecision(_refusal(objection.reason), [])
        held = self._member_of or (
            self._record.accepted.cluster_id if self._record.accepted else ""
        )
        if held == request.cluster_id:
            return ProposalDecision(_acceptance(request), self._advance(now))
        if held or self._join_only or request.cluster_id in self._record.rejected:
            why = (
                f"this node holds to cluster {held}" if held else "this node waits to join another"
            )
            self._reject(request.cluster_id)
            return ProposalDecision(_refusal(REJECTED + why), self._advance(now))
        if objection.reason:
            return ProposalDecision(_refusal(objection.reason), [])
        self._accept(now, request)
        return ProposalDecision(_acceptance(request), self._advance(now))

    def proposal_answered(
        self, now: float, sent: SendProposal, reply: BootstrapProposalReply | None
    ) -> list[Effect]:
        """Process the reply to a :class:`SendProposal`, ``None`` if there was none."""
        self._schedule.done(now, sent.server_id)
        if reply is None:
            return self._advance(now)
        if not sent.request.configuration:
            self._note_shown_proposal(now, reply)
        elif sent.request == self._record.accepted and not self._start_requested:
            if reply.accepted:
                self._view.probe_now((sent.server_id,), sent.address)
            elif reply.reason.startswith(REJECTED):
                self._abandon(now, sent.request)
        return self._advance(now)

    def stored(self, now: float, record: BootstrapRecord) -> list[Effect]:
        """Note that a :class:`StoreRecord` is durable."""
        if self._member_of:
            return []
        self._durable, self._failure = record, ""
        self._storing = record is not self._record
        return self._advance(now)

    def failed(self, now: float, reason: str) -> list[Effect]:
        """Process a failure to store the record or to start Raft; it is tried again."""
        self._failure, self._storing, self._start_requested = reason, False, False
        self._retry_at = now + self._timing.retry_interval
        return self._advance(now)

    def join_failed(self, now: float, address: str, reason: str, hint: str = "") -> list[Effect]:
        """Process the failure of a join; ``hint`` is the leader's address if it was named."""
        self._joining.failed(now, address, reason, hint)
        return self._advance(now)

    def became_member(self, now: float, cluster_id: str) -> None:
        """Note that Raft runs: this node is a member and never bootstraps again."""
        self._member_of = cluster_id
        # A member accepts no proposal, so nothing needs to be stored any more.
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
            self._list_at = now + self._timing.listing_lost
            effects.append(ListDiscovery())
        return effects + [Probe(contact) for contact in self._view.take_due(now)]

    def _decide(self, now: float) -> list[Effect]:
        if self._record is not self._durable:
            self._reason = "writing the bootstrap record to disk"
            return []
        accepted = self._durable.accepted
        if accepted is None:
            return self._decide_uninitialised(now)
        return self._complete(now, accepted)

    def _complete(self, now: float, accepted: BootstrapProposal) -> list[Effect]:
        """Collect the acceptances of the other members, then start the cluster."""
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
        """Join an existing cluster, wait for another node's proposal, or propose."""
        replies = self._view.replies()
        if self._join_only:
            members = [r for r in replies if r.initialised]
            self._reason = self._joining.waiting(members)
            request = self._joining.next(now, members)
            return [request] if request else []
        view = self._view
        self._count = infer_expect(
            self._facts, view.contacts, view.contact_states, self._unresolved
        )
        # Reject lost proposals before forgetting them, so that they cannot start with this node.
        for cluster_id in self._other_proposals.take_lost(now, self._timing.proposal_patience):
            self._reject(cluster_id)
        if self._other_proposals:
            self._reason = other_proposal_message(self._other_proposals.cluster_ids)
            return self._ask_holders(now, replies)
        self._reason = self._readiness.obstacle(
            now, self._facts, self._count, replies, self._unresolved
        )
        if not self._reason:
            self._readiness.reset()
            counted = replace(self._facts, expect=self._count.expect)
            self._accept(now, make_proposal(counted, replies, self._new_cluster_id()))
        return []

    # -- acceptance and rejection ------------------------------------------------------------

    def _accept(self, now: float, request: BootstrapProposal) -> None:
        self._record = replace(self._record, accepted=request)
        self._storing = False
        self._collect_acceptances(now, request)

    def _collect_acceptances(self, now: float, request: BootstrapProposal) -> None:
        self._accepted_by = {self._facts.server_id, request.proposer}
        self._other_proposals.clear()
        self._schedule = SendSchedule(self._timing)
        others = (s for s in members_of(request).servers if s.id != self._facts.server_id)
        self._view.pin(now, [contact_at(s.address, "bootstrap") for s in others])
        for reply in self._view.replies():
            self._note_cluster(now, reply)

    def _abandon(self, now: float, request: BootstrapProposal) -> None:
        """Drop the accepted proposal: a member rejected it, so it can never start."""
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

    # -- proposals and clusters of other nodes -----------------------------------------------

    def _note_cluster(self, now: float, reply: ProbeReply) -> None:
        """Note the cluster or the proposal that a node of our cluster name reported."""
        accepted = self._record.accepted
        if accepted is not None:
            if reply.cluster_id == accepted.cluster_id:
                ids = members_of(accepted).ids if reply.initialised else (reply.server_id,)
                self._accepted_by.update(ids)
            return
        self._other_proposals.forget_replaced(reply)
        if reply.initialised and reply.cluster_id:
            self._join_only = True
        elif reply.cluster_id and reply.server_id != self._facts.server_id:
            self._other_proposals.add(now, reply.cluster_id, reply.server_id)

    def _ask_holders(self, now: float, replies: Sequence[ProbeReply]) -> list[Effect]:
        effects: list[Effect] = []
        for reply in replies:
            hidden = self._other_proposals.is_hidden(reply.cluster_id)
            if hidden and self._schedule.due(now, reply.server_id):
                question = BootstrapProposal(
                    self._facts.cluster_name, reply.cluster_id, b"", self._facts.server_id
                )
                effects.append(SendProposal(reply.server_id, reply.address, question))
        return effects

    def _note_shown_proposal(self, now: float, reply: BootstrapProposalReply) -> None:
        if reply.cluster_id not in self._other_proposals or not reply.accepted:
            return
        try:
            shown = read_shown(self._facts.cluster_name, reply)
        except DecodeError:
            return
        self._other_proposals.mark_shown(reply.cluster_id)
        record = self._record
        free = record.accepted is None and reply.cluster_id not in record.rejected
        if free and not check_proposal(self._facts, shown).reason:
            self._accept(now, shown)


def _acceptance(request: BootstrapProposal) -> BootstrapProposalReply:
    return BootstrapProposalReply(True, request.cluster_id, request.configuration, "")


def _refusal(reason: str) -> BootstrapProposalReply:
    return BootstrapProposalReply(False, "", b"", reason)
