"""What discovery and probes have shown: the contacts, who answers there, since when it is still.

Owns the contact table, the cadence of probes and the rules by which replies contradict each other.
Pure: time is passed in (seconds, any origin). It must not know what is decided from the view.

Several contacts may be one node (its Raft port, its discovery port, several host names), so nodes
are counted by server id. A reply counts until a later probe of the same contact fails or discovery
no longer lists the contact.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from math import inf

from braft_core.abc import Contact
from braft_core.cluster.messages import duplicate_id_message
from braft_core.cluster.probe_slots import ProbeSlots
from braft_core.peer import PROTOCOL_MAX, PROTOCOL_MIN, ProbeReply

__all__ = ["BootstrapFacts", "ContactState", "DiscoveryView", "contradictions"]

#: Seconds until a contact that did not answer is probed again: doubled from the first to the second
#: while it does not.
RETRY_INTERVAL = 0.25
RETRY_MAX = 4.0
#: Seconds until a contact that answered is probed again.
REFRESH_INTERVAL = 0.5
#: Seconds after which the outcome of a probe is no longer awaited.
LOST_AFTER = 3.0
#: Contacts that are probed at a time.
MOST_PROBED = 16


@dataclass(frozen=True, slots=True)
class BootstrapFacts:
    """Who this node is and what it was configured with. Durations in seconds."""

    server_id: str
    address: str
    cluster_name: str
    #: How many nodes found a cluster together.
    expect: int
    #: Whether ``expect`` is only the length of a list that names every bootstrapping node.
    listed: bool = False
    #: Why nobody may tell how many nodes bootstrap, "" if ``expect`` says it.
    unclear: str = ""
    #: Whether there is a discovery at all.
    has_discovery: bool = True
    #: How long the view must have been still before a cluster is founded.
    margin: float = 0.3
    #: Nobody founds sooner than so many seconds after discovery first answered: where it is not
    #: known how many there are, the others must have had the time to be heard.
    listen: float = 0.0
    #: Added to ``margin``: the setting ``sleep``, drawn by the caller.
    sleep: float = 0.0
    #: A secret of this process; see :class:`.seats.ProbeSlots`.
    salt: str = ""
    protocol_min: int = PROTOCOL_MIN
    protocol_max: int = PROTOCOL_MAX


@dataclass(slots=True)
class ContactState:
    """What is known about one contact."""

    reply: ProbeReply | None = None
    answered_at: float = -inf
    failure: str = ""
    #: How many probes have failed since the last that did not.
    failures: int = 0
    asked_at: float | None = None
    due_at: float = -inf
    #: Probe once more as soon as the probe under way has ended.
    again: bool = False

    def ended(self, now: float, pause: float) -> None:
        """The probe under way has ended; the next one follows after ``pause`` seconds."""
        self.asked_at, self.due_at = None, now if self.again else now + pause
        self.again = False

    @property
    def settled(self) -> bool:
        """Whether the contact has answered or failed at least once."""
        return self.reply is not None or bool(self.failure)


class DiscoveryView:
    """The contact table of one node."""

    def __init__(self, facts: BootstrapFacts) -> None:
        #: Replaced when the node moves.
        self.facts = facts
        self._seats = ProbeSlots(facts.salt)
        self._pinned: tuple[Contact, ...] = ()
        self._contact_states: dict[Contact, ContactState] = {}
        self._key: object = None
        #: Since when contacts and answers are unchanged and discovery works.
        self.unchanged_since = inf
        #: Why the last listing failed, "" if it did not.
        self.listing_failure = ""
        #: Whether discovery has answered at least once.
        self.ever_listed = False
        #: When it did for the first time.
        self.first_listed = inf

    # -- inputs ------------------------------------------------------------------------------

    def listed(self, now: float, contacts: Iterable[Contact]) -> None:
        """Discovery answered with the whole current set."""
        self._seats.offer(contacts)
        if self.listing_failure or not self.ever_listed:
            self._key = None
        self.listing_failure, self.ever_listed = "", True
        self.first_listed = min(self.first_listed, now)
        self._rebuild(now)

    def listing_failed(self, now: float, reason: str) -> None:
        """Discovery failed: the last set stays, and stillness starts anew."""
        self.listing_failure = reason or "unknown error"
        self.unchanged_since = now

    def pin(self, now: float, contacts: Iterable[Contact]) -> None:
        """Probe these as well, whatever discovery says (the members of an accepted founding)."""
        self._pinned = tuple(dict.fromkeys(contacts))
        self._rebuild(now)

    def answered(self, now: float, contact: Contact, reply: ProbeReply) -> None:
        """A probe was answered."""
        state = self._contact_states.get(contact)
        if state is None:
            return
        state.reply, state.answered_at, state.failure = reply, now, ""
        state.failures = 0
        state.ended(now, REFRESH_INTERVAL)
        self._touch(now)

    def failed(self, now: float, contact: Contact, reason: str) -> None:
        """A probe failed."""
        state = self._contact_states.get(contact)
        if state is None:
            return
        state.reply, state.failure = None, reason or "no answer"
        state.failures = min(state.failures + 1, 32)
        state.ended(now, min(RETRY_MAX, RETRY_INTERVAL * 2.0 ** (state.failures - 1)))
        self._touch(now)

    def take_due(self, now: float) -> list[Contact]:
        """Contacts to probe now; each is then awaited until its outcome is told.

        Only so many are awaited at a time: first who answered last time, then who has waited most.
        """
        due, free = [], MOST_PROBED
        for contact, state in self._contact_states.items():
            if state.asked_at is not None and now - state.asked_at < LOST_AFTER:
                free -= 1
            elif now >= state.due_at:
                due.append(contact)
        if len(due) > free:
            waits = {c: (s.reply is None, s.due_at) for c, s in self._contact_states.items()}
            due = sorted(due, key=waits.__getitem__)[: max(0, free)]
        for contact in due:
            self._contact_states[contact].asked_at = now
        return due

    def rest(self, now: float, answered: Collection[Contact], silent: Collection[Contact]) -> None:
        """Let contacts that did not answer a member's probes give way to others, if there are."""
        if self._seats.crowded:
            self._seats.deal(answered, silent)
            self._sit(now)

    def heard(self, address: str) -> None:
        """A node has just probed us from there: it answers again, so probe it without a pause."""
        for contact, state in self._contact_states.items():
            if state.failure and str(contact) == address:
                state.due_at = -inf

    def probe_now(self, server_ids: Sequence[str], address: str = "") -> None:
        """Probe the contacts of these servers, and the contact with that address, at once."""
        for contact, state in self._contact_states.items():
            known = state.reply is not None and state.reply.server_id in server_ids
            if known or str(contact) == address:
                state.due_at, state.again = -inf, state.asked_at is not None

    # -- views -------------------------------------------------------------------------------

    @property
    def contacts(self) -> tuple[Contact, ...]:
        """What discovery listed last, or of too many those that are probed."""
        return self._seats.taken

    @property
    def unprobed(self) -> int:
        """How many of the contacts that discovery listed are not probed for now."""
        return len(self._seats.offered) - len(self._seats.taken)

    @property
    def contact_states(self) -> dict[Contact, ContactState]:
        """Every contact, in listed order. Not to be changed."""
        return self._contact_states

    @property
    def settled(self) -> bool:
        """Whether every contact has answered or failed at least once."""
        late = self._seats.successors
        return all(s.settled for contact, s in self._contact_states.items() if contact not in late)

    def replies(self) -> list[ProbeReply]:
        """Current replies of other nodes of our cluster name, the newest per id and address."""
        return [s.reply for s in self._others() if s.reply is not None]

    def foreign(self) -> list[ProbeReply]:
        """Current replies of nodes of another cluster name."""
        current = {
            (s.reply.server_id, s.reply.address): s.reply
            for s in self._contact_states.values()
            if s.reply is not None and s.reply.cluster_name != self.facts.cluster_name
        }
        return [current[key] for key in sorted(current)]

    def answered_at(self, server_id: str) -> float:
        """When that server answered last, -inf if it does not."""
        times = (
            s.answered_at for s in self._others() if s.reply and s.reply.server_id == server_id
        )
        return max(times, default=-inf)

    def silent(self) -> list[tuple[Contact, str]]:
        """Contacts that do not answer, with the reason."""
        return [(c, s.failure) for c, s in self._contact_states.items() if s.failure]

    def _others(self) -> list[ContactState]:
        newest: dict[tuple[str, str], ContactState] = {}
        for state in self._contact_states.values():
            reply = state.reply
            if reply is None or reply.cluster_name != self.facts.cluster_name:
                continue
            key = (reply.server_id, reply.address)
            known = newest.get(key)
            if key != (self.facts.server_id, self.facts.address) and (
                known is None or known.answered_at < state.answered_at
            ):
                newest[key] = state
        return [newest[key] for key in sorted(newest)]

    def _rebuild(self, now: float) -> None:
        answered = {c for c, s in self._contact_states.items() if s.reply is not None}
        silent = {c for c, s in self._contact_states.items() if s.failure}
        self._seats.deal(answered, silent)
        self._sit(now)

    def _sit(self, now: float) -> None:
        old = self._contact_states
        wanted = dict.fromkeys((*self._seats.taken, *self._pinned))
        self._contact_states = {
            contact: old.get(contact) or ContactState(due_at=now) for contact in wanted
        }
        self._touch(now)

    def _touch(self, now: float) -> None:
        # Who sits changes again and again where there are too many; that is no news.
        crowd = self._seats.offered if self._seats.crowded else ()
        key = (
            frozenset((*crowd, *self._pinned) if crowd else self._contact_states),
            tuple((r.server_id, r.address, r.expect, r.cluster_id) for r in self.replies()),
        )
        if key != self._key:
            self._key, self.unchanged_since = key, now


def contradictions(facts: BootstrapFacts, replies: Sequence[ProbeReply]) -> list[str]:
    """Why nobody may found a cluster from this view: one sentence per contradiction.

    ``replies`` are those of other nodes of our cluster name. A held founding is not news here.
    """
    return [
        *_protocol_gaps(facts, replies),
        *_shared_ids(facts, replies),
        *_shared_addresses(facts, replies),
        *_differing_expects(facts, replies),
    ]


def _protocol_gaps(facts: BootstrapFacts, replies: Sequence[ProbeReply]) -> list[str]:
    return [
        f"{reply.address} speaks protocol {reply.protocol_min}-{reply.protocol_max}, "
        f"this node {facts.protocol_min}-{facts.protocol_max}"
        for reply in replies
        if reply.protocol_max < facts.protocol_min or reply.protocol_min > facts.protocol_max
    ]


def _shared_ids(facts: BootstrapFacts, replies: Sequence[ProbeReply]) -> list[str]:
    where: dict[str, list[str]] = {facts.server_id: [facts.address]}
    for reply in replies:
        addresses = where.setdefault(reply.server_id, [])
        if reply.address not in addresses:
            addresses.append(reply.address)
    return [
        duplicate_id_message(server_id, addresses)
        for server_id, addresses in where.items()
        if len(addresses) > 1
    ]


def _shared_addresses(facts: BootstrapFacts, replies: Sequence[ProbeReply]) -> list[str]:
    who: dict[str, list[str]] = {facts.address: [facts.server_id]}
    for reply in replies:
        ids = who.setdefault(reply.address, [])
        if reply.server_id not in ids:
            ids.append(reply.server_id)
    return [
        f"nodes {' and '.join(ids)} both advertise {address}"
        for address, ids in who.items()
        if len(ids) > 1
    ]


def _differing_expects(facts: BootstrapFacts, replies: Sequence[ProbeReply]) -> list[str]:
    wrong = [r for r in replies if not r.initialised and r.expect != facts.expect]
    if not wrong:
        return []
    listed = ", ".join(
        f"{reply.address} {f'expects {reply.expect}' if reply.expect else 'does not know'}"
        for reply in wrong
    )
    return [f"expect differs: this node expects {facts.expect}, {listed}"]
