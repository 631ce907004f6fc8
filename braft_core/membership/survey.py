"""What discovery and probes have shown: the contacts, who answers there, since when it is still.

Owns the contact table, the cadence of probes and the rules by which replies contradict each other.
Pure: time is passed in (seconds, any origin). It must not know what is decided from the view.

Several contacts may be one node (its Raft port, its discovery port, several host names), so nodes
are counted by server id. A reply counts until a later probe of the same contact fails or discovery
no longer lists the contact.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf

from braft_core.abc import Contact
from braft_core.membership.wording import shared_id_sentence
from braft_core.peer import PROTOCOL_MAX, PROTOCOL_MIN, ProbeReply

__all__ = ["FormingFacts", "Sighting", "Survey", "contradictions"]

#: Seconds until a contact that did not answer is probed again.
RETRY_INTERVAL = 0.25
#: Seconds until a contact that answered is probed again.
REFRESH_INTERVAL = 0.5
#: Seconds after which the outcome of a probe is no longer awaited.
LOST_AFTER = 3.0


@dataclass(frozen=True, slots=True)
class FormingFacts:
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
    protocol_min: int = PROTOCOL_MIN
    protocol_max: int = PROTOCOL_MAX


@dataclass(slots=True)
class Sighting:
    """What is known about one contact."""

    reply: ProbeReply | None = None
    answered_at: float = -inf
    failure: str = ""
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


class Survey:
    """The contact table of one node."""

    def __init__(self, facts: FormingFacts) -> None:
        #: Replaced when the node moves.
        self.facts = facts
        self._listed: tuple[Contact, ...] = ()
        self._pinned: tuple[Contact, ...] = ()
        self._sightings: dict[Contact, Sighting] = {}
        self._key: object = None
        #: Since when contacts and answers are unchanged and discovery works.
        self.still_since = inf
        #: Why the last listing failed, "" if it did not.
        self.listing_failure = ""
        #: Whether discovery has answered at least once.
        self.ever_listed = False
        #: When it did for the first time.
        self.first_listed = inf

    # -- inputs ------------------------------------------------------------------------------

    def listed(self, now: float, contacts: Iterable[Contact]) -> None:
        """Discovery answered with the whole current set."""
        self._listed = tuple(dict.fromkeys(contacts))
        if self.listing_failure or not self.ever_listed:
            self._key = None
        self.listing_failure, self.ever_listed = "", True
        self.first_listed = min(self.first_listed, now)
        self._rebuild(now)

    def listing_failed(self, now: float, reason: str) -> None:
        """Discovery failed: the last set stays, and stillness starts anew."""
        self.listing_failure = reason or "unknown error"
        self.still_since = now

    def pin(self, now: float, contacts: Iterable[Contact]) -> None:
        """Probe these as well, whatever discovery says (the members of an accepted founding)."""
        self._pinned = tuple(dict.fromkeys(contacts))
        self._rebuild(now)

    def answered(self, now: float, contact: Contact, reply: ProbeReply) -> None:
        """A probe was answered."""
        sighting = self._sightings.get(contact)
        if sighting is None:
            return
        sighting.reply, sighting.answered_at, sighting.failure = reply, now, ""
        sighting.ended(now, REFRESH_INTERVAL)
        self._touch(now)

    def failed(self, now: float, contact: Contact, reason: str) -> None:
        """A probe failed."""
        sighting = self._sightings.get(contact)
        if sighting is None:
            return
        sighting.reply, sighting.failure = None, reason or "no answer"
        sighting.ended(now, RETRY_INTERVAL)
        self._touch(now)

    def take_due(self, now: float) -> list[Contact]:
        """Contacts to probe now; each is then awaited until its outcome is told."""
        due = []
        for contact, sighting in self._sightings.items():
            waiting = sighting.asked_at is not None and now - sighting.asked_at < LOST_AFTER
            if not waiting and now >= sighting.due_at:
                sighting.asked_at = now
                due.append(contact)
        return due

    def hurry(self, server_ids: Sequence[str], address: str = "") -> None:
        """Probe the contacts of these servers, and the contact with that address, at once."""
        for contact, sighting in self._sightings.items():
            known = sighting.reply is not None and sighting.reply.server_id in server_ids
            if known or str(contact) == address:
                sighting.due_at, sighting.again = -inf, sighting.asked_at is not None

    # -- views -------------------------------------------------------------------------------

    @property
    def contacts(self) -> tuple[Contact, ...]:
        """What discovery listed last."""
        return self._listed

    @property
    def sightings(self) -> dict[Contact, Sighting]:
        """Every contact, in listed order. Not to be changed."""
        return self._sightings

    @property
    def settled(self) -> bool:
        """Whether every contact has answered or failed at least once."""
        return all(sighting.settled for sighting in self._sightings.values())

    def replies(self) -> list[ProbeReply]:
        """Current replies of other nodes of our cluster name, the newest per id and address."""
        return [s.reply for s in self._others() if s.reply is not None]

    def foreign(self) -> list[ProbeReply]:
        """Current replies of nodes of another cluster name."""
        current = {
            (s.reply.server_id, s.reply.address): s.reply
            for s in self._sightings.values()
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
        return [(c, s.failure) for c, s in self._sightings.items() if s.failure]

    def _others(self) -> list[Sighting]:
        newest: dict[tuple[str, str], Sighting] = {}
        for sighting in self._sightings.values():
            reply = sighting.reply
            if reply is None or reply.cluster_name != self.facts.cluster_name:
                continue
            key = (reply.server_id, reply.address)
            known = newest.get(key)
            if key != (self.facts.server_id, self.facts.address) and (
                known is None or known.answered_at < sighting.answered_at
            ):
                newest[key] = sighting
        return [newest[key] for key in sorted(newest)]

    def _rebuild(self, now: float) -> None:
        old = self._sightings
        wanted = dict.fromkeys((*self._listed, *self._pinned))
        self._sightings = {contact: old.get(contact) or Sighting() for contact in wanted}
        self._touch(now)

    def _touch(self, now: float) -> None:
        key = (
            frozenset(self._sightings),
            tuple((r.server_id, r.address, r.expect, r.cluster_id) for r in self.replies()),
        )
        if key != self._key:
            self._key, self.still_since = key, now


def contradictions(facts: FormingFacts, replies: Sequence[ProbeReply]) -> list[str]:
    """Why nobody may found a cluster from this view: one sentence per contradiction.

    ``replies`` are those of other nodes of our cluster name. A held founding is not news here.
    """
    return [
        *_protocol_gaps(facts, replies),
        *_shared_ids(facts, replies),
        *_shared_addresses(facts, replies),
        *_differing_expects(facts, replies),
    ]


def _protocol_gaps(facts: FormingFacts, replies: Sequence[ProbeReply]) -> list[str]:
    return [
        f"{reply.address} speaks protocol {reply.protocol_min}-{reply.protocol_max}, "
        f"this node {facts.protocol_min}-{facts.protocol_max}"
        for reply in replies
        if reply.protocol_max < facts.protocol_min or reply.protocol_min > facts.protocol_max
    ]


def _shared_ids(facts: FormingFacts, replies: Sequence[ProbeReply]) -> list[str]:
    where: dict[str, list[str]] = {facts.server_id: [facts.address]}
    for reply in replies:
        addresses = where.setdefault(reply.server_id, [])
        if reply.address not in addresses:
            addresses.append(reply.address)
    return [
        shared_id_sentence(server_id, addresses)
        for server_id, addresses in where.items()
        if len(addresses) > 1
    ]


def _shared_addresses(facts: FormingFacts, replies: Sequence[ProbeReply]) -> list[str]:
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


def _differing_expects(facts: FormingFacts, replies: Sequence[ProbeReply]) -> list[str]:
    wrong = [r for r in replies if not r.initialised and r.expect != facts.expect]
    if not wrong:
        return []
    listed = ", ".join(
        f"{reply.address} {f'expects {reply.expect}' if reply.expect else 'does not know'}"
        for reply in wrong
    )
    return [f"expect differs: this node expects {facts.expect}, {listed}"]
