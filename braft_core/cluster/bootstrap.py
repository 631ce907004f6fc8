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
- gives C up only when a member of C has vetoed it: then C can never start anywhere.

**Why there are never two.** Say C1 and C2 both started. Every member of either promised it, a
promise is given up only if its founding can never start, so no node is in both. Two disjoint
foundings need ``2 * expect`` nodes. With fewer than that many nodes a second cluster is therefore
impossible, whatever discovery lies, whoever crashes, however the network splits. (A majority of
promises would not do: of five nodes with ``expect`` 3, {1,2} of C1 = {1,2,3} and {4,5} of
C2 = {3,4,5} would both elect a leader.)

**With ``2 * expect`` nodes or more** the view decides: every contact was probed, the view was
still, and only the smallest id proposes while the others wait to join; whoever sees a founding or
a cluster founds nothing beside it. What no rule can prevent is a network split *while forming*,
with ``expect`` blank nodes on each side: each side looks like the whole. ``expect`` above half of
the nodes that will ever be started together excludes it.

**The price.** If a member dies for good in the milliseconds between the last probe and its
promise, C never starts and those that promised it wait for that member. Nothing was ever written,
so they may be started again with empty data directories; :meth:`Forming.waiting` says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import inf

from braft_core.abc import Contact
from braft_core.cluster.addresses import contact_at
from braft_core.cluster.bootstrap_effects import (
    Effect,
    Founded,
    ListDiscovery,
    OfferFounding,
    Probe,
    StoreFounding,
)
from braft_core.cluster.bootstrap_proposal import (
    VETO,
    Offers,
    check_founding,
    members_of,
    propose,
    show_founding,
    shown_founding,
)
from braft_core.cluster.counting import Count, count_nodes
from braft_core.cluster.discovery_view import FormingFacts, Survey, contradictions
from braft_core.cluster.joining import Joining
from braft_core.cluster.messages import (
    holding_sentence,
    pursuing_sentence,
    too_few_sentence,
    waiting_sentence,
)
from braft_core.cluster.record import FoundingRecord
from braft_core.errors import DecodeError
from braft_core.peer import FoundReply, FoundRequest, ProbeReply

__all__ = ["Forming", "FoundDecision"]

#: Seconds between two listings of discovery.
LIST_INTERVAL = 1.0
#: Seconds after which an unanswered listing is asked for again.
LISTING_LOST = 10.0
#: Seconds before a failed durable write or a failed start of Raft is tried again.
RETRY_INTERVAL = 1.0
#: Seconds without any sign of a seen founding after which a blank node vetoes and forgets it.
FOUNDING_PATIENCE = 30.0


@dataclass(frozen=True, slots=True)
class FoundDecision:
    """The answer to a FoundRequest: ``reply`` leaves once all it rests on is durable."""

    reply: FoundReply
    effects: list[Effect]


@dataclass(slots=True)
class _Seen:
    """A founding that another node promised and that may yet start."""

    last_seen: float
    holders: set[str] = field(default_factory=set)
    members: tuple[str, ...] = ()


class Forming:
    """One node's way into a cluster. Not thread-safe: one owner calls it, one call at a time.

    ``record`` is what the last life stored (:data:`NOTHING_FOUNDED` if nothing); ``new_cluster_id``
    makes a fresh id, unique in the world.
    """

    def __init__(
        self, facts: FormingFacts, record: FoundingRecord, new_cluster_id: Callable[[], str]
    ) -> None:
        self._facts = facts
        self._new_cluster_id = new_cluster_id
        self._record = self._durable = record
        self._storing = False
        self._retry_at = -inf
        self._trouble = ""
        self._survey = Survey(facts)
        self._count = Count(facts.expect)
        self._unresolved: tuple[str, ...] = ()
        self._joining = Joining()
        self._join_only = False
        self._seen: dict[str, _Seen] = {}
        self._offers = Offers()
        self._promised: set[str] = set()
        self._confirm_from = inf
        self._list_at = -inf
        self._started_at = 0.0
        self._reason = "starting"
        self._founding_started = False
        self._member_of = ""

    def move(self, address: str) -> None:
        """This node's address has changed."""
        self._facts = replace(self._facts, address=address)
        self._survey.facts = self._facts

    # -- views -------------------------------------------------------------------------------

    @property
    def survey(self) -> Survey:
        """What has been seen so far. To be read only."""
        return self._survey

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
    def record(self) -> FoundingRecord:
        """What has to be durable before the next reply leaves."""
        return self._record

    @property
    def durable(self) -> FoundingRecord:
        """What is durable."""
        return self._durable

    def waiting(self, now: float) -> str:
        """Why there is no cluster yet and since when; "" once there is."""
        if self._member_of:
            return ""
        reason = f"{self._reason}; {self._trouble}" if self._trouble else self._reason
        return waiting_sentence(now - self._started_at, reason, self._survey.foreign())

    # -- inputs ------------------------------------------------------------------------------

    def start(self, now: float) -> list[Effect]:
        """Begin. Called once, before anything else."""
        self._started_at = now
        if self._record.accepted:
            self._pursue(now, self._record.accepted)
        if not self._facts.has_discovery:
            self._survey.listed(now, ())
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
        self._survey.listed(now, contacts)
        return self._advance(now)

    def listing_failed(self, now: float, reason: str) -> list[Effect]:
        """Discovery failed, which is not an empty list."""
        self._list_at = min(self._list_at, now + LIST_INTERVAL)
        self._survey.listing_failed(now, reason)
        return self._advance(now)

    def probe_answered(self, now: float, contact: Contact, reply: ProbeReply) -> list[Effect]:
        """The node at ``contact`` answered a probe."""
        self._survey.answered(now, contact, reply)
        if reply.cluster_name == self._facts.cluster_name:
            self._note_cluster(now, reply)
        return self._advance(now)

    def probe_failed(self, now: float, contact: Contact, reason: str) -> list[Effect]:
        """Nobody answered at ``contact``, or not in time."""
        self._survey.failed(now, contact, reason)
        return self._advance(now)

    def found_requested(self, now: float, request: FoundRequest) -> FoundDecision:
        """A peer offers a founding, or (empty configuration) asks for the one promised here."""
        if not request.configuration:
            return FoundDecision(show_founding(self._durable.accepted, self.cluster_id), [])
        objection = check_founding(self._facts, request)
        if objection.malformed:
            return FoundDecision(_refusal(objection.reason), [])
        held = self._member_of or (
            self._record.accepted.cluster_id if self._record.accepted else ""
        )
        if held == request.cluster_id:
            return FoundDecision(_promise(request), self._advance(now))
        if held or self._join_only or request.cluster_id in self._record.vetoed:
            why = (
                f"this node holds to cluster {held}" if held else "this node waits to join another"
            )
            self._veto(request.cluster_id)
            return FoundDecision(_refusal(VETO + why), self._advance(now))
        if objection.reason:
            return FoundDecision(_refusal(objection.reason), [])
        self._promise(now, request)
        return FoundDecision(_promise(request), self._advance(now))

    def found_answered(self, now: float, offer: OfferFounding, reply: FoundReply) -> list[Effect]:
        """The reply to an :class:`OfferFounding`."""
        self._offers.done(now, offer.server_id)
        if not offer.request.configuration:
            self._founding_shown(now, offer, reply)
        elif offer.request == self._record.accepted and not self._founding_started:
            if reply.accepted:
                self._survey.hurry((offer.server_id,), offer.address)
            elif reply.reason.startswith(VETO):
                self._give_up(now, offer.request)
        return self._advance(now)

    def found_failed(self, now: float, offer: OfferFounding, reason: str) -> list[Effect]:
        """An offer was not answered (``reason`` is for the driver's log)."""
        self._offers.done(now, offer.server_id)
        return self._advance(now)

    def stored(self, now: float, record: FoundingRecord) -> list[Effect]:
        """A :class:`StoreFounding` became durable."""
        if self._member_of:
            return []
        self._durable, self._trouble = record, ""
        self._storing = record is not self._record
        return self._advance(now)

    def failed(self, now: float, reason: str) -> list[Effect]:
        """Storing the record or starting Raft failed; it is tried again."""
        self._trouble, self._storing, self._founding_started = reason, False, False
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
        self._seen.clear()

    # -- decisions ---------------------------------------------------------------------------

    def _advance(self, now: float) -> list[Effect]:
        if self._member_of:
            return []
        effects = self._decide(now)
        if self._record is not self._durable and not self._storing and now >= self._retry_at:
            self._storing = True
            effects.append(StoreFounding(self._record))
        if self._facts.has_discovery and now >= self._list_at:
            self._list_at = now + LISTING_LOST
            effects.append(ListDiscovery())
        return effects + [Probe(contact) for contact in self._survey.take_due(now)]

    def _decide(self, now: float) -> list[Effect]:
        if self._record is not self._durable:
            self._reason = "writing the founding to disk"
            return []
        accepted = self._durable.accepted
        return self._consider(now) if accepted is None else self._complete(now, accepted)

    def _complete(self, now: float, accepted: FoundRequest) -> list[Effect]:
        """Promised: collect the promises of the others, then start."""
        configuration = members_of(accepted)
        missing = [s for s in configuration.servers if s.id not in self._promised]
        self._reason = pursuing_sentence(accepted.cluster_id, missing)
        if not missing:
            if self._founding_started or now < self._retry_at:
                return []
            self._founding_started = True
            return [Founded(accepted.cluster_id, configuration)]
        where = {reply.server_id: reply.address for reply in self._survey.replies()}
        return [
            OfferFounding(server.id, where.get(server.id, server.address), accepted)
            for server in missing
            if self._offers.due(now, server.id)
        ]

    def _consider(self, now: float) -> list[Effect]:
        """Blank: join what exists, wait for what is being founded, or found."""
        replies = self._survey.replies()
        if self._join_only:
            members = [r for r in replies if r.initialised]
            self._reason = self._joining.waiting(members)
            ask = self._joining.next(now, members)
            return [ask] if ask else []
        survey = self._survey
        self._count = count_nodes(self._facts, survey.contacts, survey.sightings, self._unresolved)
        self._forget_lost_foundings(now)
        if self._seen:
            self._reason = holding_sentence(sorted(self._seen))
            return self._ask_holders(now, replies)
        self._reason = self._obstacle(now, replies)
        if not self._reason:
            self._confirm_from = inf
            self._promise(now, propose(self._counted, replies, self._new_cluster_id()))
        return []

    def _obstacle(self, now: float, replies: Sequence[ProbeReply]) -> str:
        """Why this node does not propose now, "" if it may."""
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
    def _counted(self) -> FormingFacts:
        return replace(self._facts, expect=self._count.expect)

    def _view_obstacle(self, replies: Sequence[ProbeReply]) -> str:
        survey, facts = self._survey, self._counted
        if not survey.ever_listed or survey.listing_failure:
            return (
                f"discovery failed: {survey.listing_failure}"
                if survey.listing_failure
                else ("waiting for discovery")
            )
        if self._facts.unclear:
            return self._count.obstacle
        if reasons := contradictions(facts, replies):
            return "; ".join(reasons)
        if not survey.settled:
            return "waiting for the first answers"
        if self._count.obstacle:
            return self._count.obstacle
        if len(replies) + 1 < facts.expect:
            return too_few_sentence(facts, replies, survey.silent(), self._unresolved)
        return ""

    def _stillness_obstacle(self, now: float) -> str:
        margin = self._facts.margin + self._facts.sleep if self._facts.has_discovery else 0.0
        listened = now - self._survey.first_listed
        if now - self._survey.still_since < margin or listened < self._facts.listen:
            return f"all {self._count.expect} nodes found; waiting until nothing changes"
        return ""

    def _confirmation_obstacle(self, now: float, replies: Sequence[ProbeReply]) -> str:
        """All members-to-be must be seen alive once more, right before the proposal."""
        chosen = sorted(r.server_id for r in replies)[: self._count.expect - 1]
        if self._confirm_from == inf:
            self._confirm_from = now
            self._survey.hurry(chosen)
        late = [c for c in chosen if self._survey.answered_at(c) < self._confirm_from]
        return f"probing {len(late)} nodes once more" if late else ""

    # -- promises ----------------------------------------------------------------------------

    def _promise(self, now: float, request: FoundRequest) -> None:
        self._record = replace(self._record, accepted=request)
        self._storing = False
        self._pursue(now, request)

    def _pursue(self, now: float, request: FoundRequest) -> None:
        self._promised = {self._facts.server_id, request.proposer}
        self._seen.clear()
        self._offers = Offers()
        others = (s for s in members_of(request).servers if s.id != self._facts.server_id)
        self._survey.pin(now, [contact_at(s.address, "founding") for s in others])
        for reply in self._survey.replies():
            self._note_cluster(now, reply)

    def _give_up(self, now: float, request: FoundRequest) -> None:
        """A member vetoed: this founding can never start, so the promise binds no longer."""
        self._record = FoundingRecord(None, self._record.vetoed)
        self._veto(request.cluster_id)
        self._promised.clear()
        self._survey.pin(now, ())
        for reply in self._survey.replies():
            self._note_cluster(now, reply)

    def _veto(self, cluster_id: str) -> None:
        if cluster_id not in self._record.vetoed and not self._member_of:
            self._record = replace(self._record, vetoed=(*self._record.vetoed, cluster_id))
            self._storing = False

    # -- foundings and clusters of others ----------------------------------------------------

    def _note_cluster(self, now: float, reply: ProbeReply) -> None:
        """A node of our cluster name showed its state: the one place where latches change."""
        accepted = self._record.accepted
        if accepted is not None:
            if reply.cluster_id == accepted.cluster_id:
                ids = members_of(accepted).ids if reply.initialised else (reply.server_id,)
                self._promised.update(ids)
            return
        for cluster_id, seen in list(self._seen.items()):
            if reply.server_id in seen.holders and reply.cluster_id != cluster_id:
                # Promises are given up only for foundings that can never start.
                del self._seen[cluster_id]
        if reply.initialised and reply.cluster_id:
            self._join_only = True
        elif reply.cluster_id and reply.server_id != self._facts.server_id:
            seen = self._seen.setdefault(reply.cluster_id, _Seen(now))
            seen.last_seen = now
            seen.holders.add(reply.server_id)

    def _ask_holders(self, now: float, replies: Sequence[ProbeReply]) -> list[Effect]:
        effects: list[Effect] = []
        for reply in replies:
            seen = self._seen.get(reply.cluster_id)
            if seen and not seen.members and self._offers.due(now, reply.server_id):
                ask = FoundRequest(
                    self._facts.cluster_name, reply.cluster_id, b"", self._facts.server_id
                )
                effects.append(OfferFounding(reply.server_id, reply.address, ask))
        return effects

    def _founding_shown(self, now: float, offer: OfferFounding, reply: FoundReply) -> None:
        seen = self._seen.get(reply.cluster_id)
        if seen is None or not reply.accepted:
            return
        try:
            shown = shown_founding(self._facts.cluster_name, reply)
        except DecodeError:
            return
        seen.members = members_of(shown).ids
        blank = self._record.accepted is None and reply.cluster_id not in self._record.vetoed
        if blank and not check_founding(self._facts, shown).reason:
            self._promise(now, shown)

    def _forget_lost_foundings(self, now: float) -> None:
        """Nobody shows it any more: make sure it cannot start with us, then go on without it."""
        for cluster_id, seen in list(self._seen.items()):
            if now - seen.last_seen > FOUNDING_PATIENCE:
                del self._seen[cluster_id]
                self._veto(cluster_id)


def _promise(request: FoundRequest) -> FoundReply:
    return FoundReply(True, request.cluster_id, request.configuration, "")


def _refusal(reason: str) -> FoundReply:
    return FoundReply(False, "", b"", reason)
