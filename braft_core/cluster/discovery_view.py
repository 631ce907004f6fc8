"""Table of discovered contacts, their latest probe replies, and how long it has been unchanged.

Owns the contact table, when each contact is probed, and which replies contradict each other. Pure:
time in seconds is passed in.

Several contacts may be one node (its Raft port, its discovery port, several host names), so nodes
are counted by server id. A reply counts until a later probe of the same contact fails or discovery
no longer lists the contact.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from math import inf

from braft_core.abc import Contact
from braft_core.cluster.bootstrap_facts import BootstrapFacts
from braft_core.cluster.messages import duplicate_id_message
from braft_core.cluster.probe_slots import ProbeSlots
from braft_core.peer import ProbeReply

__all__ = ["ContactState", "DiscoveryView", "contradictions"]

#: Most contacts that are probed at a time.
MAX_PROBED = 16


@dataclass(slots=True)
class ContactState:
    """The latest probe results of one contact."""

    reply: ProbeReply | None = None
    answered_at: float = -inf
    failure: str = ""
    #: How many probes have failed since the last success.
    failures: int = 0
    asked_at: float | None = None
    due_at: float = -inf
    #: Whether to probe again as soon as the probe under way has ended.
    again: bool = False

    def ended(self, now: float, pause: float) -> None:
        """Note the end of the probe under way; the next one follows after ``pause`` seconds."""
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
        self._slots = ProbeSlots(facts.salt)
        self._timing = facts.timing
        self._pinned: tuple[Contact, ...] = ()
        self._contact_states: dict[Contact, ContactState] = {}
        self._key: object = None
        #: Since when the contacts and the replies are unchanged and discovery works.
        self.unchanged_since = inf
        #: Why the last listing failed, "" if it succeeded.
        self.listing_failure = ""
        #: Whether discovery has answered at least once.
        self.ever_listed = False
        #: When discovery answered for the first time.
        self.first_listed = inf

    # -- inputs ------------------------------------------------------------------------------

    def listed(self, now: float, contacts: Iterable[Contact]) -> None:
        """Replace the contacts by the complete set that discovery listed."""
        self._slots.replace_listed(contacts)
        if self.listing_failure or not self.ever_listed:
            self._key = None
        self.listing_failure, self.ever_listed = "", True
        self.first_listed = min(self.first_listed, now)
        self._rebuild(now)

    def listing_failed(self, now: float, reason: str) -> None:
        """Note a failure of discovery: keep the contacts, and count the view as changed."""
        self.listing_failure = reason or "unknown error"
        self.unchanged_since = now

    def pin(self, now: float, contacts: Iterable[Contact]) -> None:
        """Also probe these (the members of an accepted proposal), whatever discovery lists."""
        self._pinned = tuple(dict.fromkeys(contacts))
        self._rebuild(now)

    def answered(self, now: float, contact: Contact, reply: ProbeReply) -> None:
        """Store the reply to a probe."""
        state = self._contact_states.get(contact)
        if state is None:
            return
        state.reply, state.answered_at, state.failure = reply, now, ""
        state.failures = 0
        state.ended(now, self._timing.contact_refresh)
        self._touch(now)

    def failed(self, now: float, contact: Contact, reason: str) -> None:
        """Note that a probe failed."""
        state = self._contact_states.get(contact)
        if state is None:
            return
        state.reply, state.failure = None, reason or "no answer"
        state.failures = min(state.failures + 1, 32)
        state.ended(now, self._retry_pause(state.failures))
        self._touch(now)

    def _retry_pause(self, failures: int) -> float:
        timing = self._timing
        return min(timing.contact_retry_max, timing.contact_retry_min * 2.0 ** (failures - 1))

    def take_due(self, now: float) -> list[Contact]:
        """Return the contacts to probe now; each probe then counts as under way.

        At most :data:`MAX_PROBED` are under way. Contacts that answered last time come first, then
        those that have waited longest.
        """
        due, free = [], MAX_PROBED
        for contact, state in self._contact_states.items():
            if state.asked_at is not None and now - state.asked_at < self._timing.probe_lost:
                free -= 1
            elif now >= state.due_at:
                due.append(contact)
        if len(due) > free:
            waits = {c: (s.reply is None, s.due_at) for c, s in self._contact_states.items()}
            due = sorted(due, key=waits.__getitem__)[: max(0, free)]
        for contact in due:
            self._contact_states[contact].asked_at = now
        return due

    def rotate(
        self, now: float, answered: Collection[Contact], silent: Collection[Contact]
    ) -> None:
        """Replace contacts that did not answer a member's probes by others, if there are more."""
        if self._slots.crowded:
            self._slots.assign(answered, silent)
            self._apply_slots(now)

    def note_incoming_probe(self, address: str) -> None:
        """Probe the contact at ``address`` without a pause: its node has just probed us."""
        for contact, state in self._contact_states.items():
            if state.failure and str(contact) == address:
                state.due_at = -inf

    def probe_now(self, server_ids: Sequence[str], address: str = "") -> None:
        """Probe the contacts of these servers, and the contact at ``address``, at once."""
        for contact, state in self._contact_states.items():
            known = state.reply is not None and state.reply.server_id in server_ids
            if known or str(contact) == address:
                state.due_at, state.again = -inf, state.asked_at is not None

    # -- views -------------------------------------------------------------------------------

    @property
    def contacts(self) -> tuple[Contact, ...]:
        """The contacts that discovery listed last; of too many, those that are probed."""
        return self._slots.taken

    @property
    def unprobed(self) -> int:
        """How many of the listed contacts are not probed for now."""
        return len(self._slots.listed) - len(self._slots.taken)

    @property
    def contact_states(self) -> dict[Contact, ContactState]:
        """The state of every contact, in listed order. Read-only for callers."""
        return self._contact_states

    @property
    def settled(self) -> bool:
        """Whether every contact has answered or failed at least once."""
        late = self._slots.replacements
        return all(s.settled for contact, s in self._contact_states.items() if contact not in late)

    def replies(self) -> list[ProbeReply]:
        """Return the current replies of other nodes of our cluster name, newest per node."""
        return [s.reply for s in self._others() if s.reply is not None]

    def foreign(self) -> list[ProbeReply]:
        """Return the current replies of nodes with another cluster name."""
        current = {
            (s.reply.server_id, s.reply.address): s.reply
            for s in self._contact_states.values()
            if s.reply is not None and s.reply.cluster_name != self.facts.cluster_name
        }
        return [current[key] for key in sorted(current)]

    def answered_at(self, server_id: str) -> float:
        """Return when that server answered last, -inf if it does not answer."""
        times = (
            s.answered_at for s in self._others() if s.reply and s.reply.server_id == server_id
        )
        return max(times, default=-inf)

    def silent(self) -> list[tuple[Contact, str]]:
        """Return the contacts that do not answer, each with the reason."""
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
        self._slots.assign(answered, silent)
        self._apply_slots(now)

    def _apply_slots(self, now: float) -> None:
        old = self._contact_states
        wanted = dict.fromkeys((*self._slots.taken, *self._pinned))
        self._contact_states = {
            contact: old.get(contact) or ContactState(due_at=now) for contact in wanted
        }
        self._touch(now)

    def _touch(self, now: float) -> None:
        # With too many contacts the probed ones rotate; that does not change the view.
        crowd = self._slots.listed if self._slots.crowded else ()
        key = (
            frozenset((*crowd, *self._pinned) if crowd else self._contact_states),
            tuple((r.server_id, r.address, r.expect, r.cluster_id) for r in self.replies()),
        )
        if key != self._key:
            self._key, self.unchanged_since = key, now


def contradictions(facts: BootstrapFacts, replies: Sequence[ProbeReply]) -> list[str]:
    """Return why no cluster may be proposed from this view, one text per contradiction.

    :param replies: the current replies of other nodes of our cluster name.
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
