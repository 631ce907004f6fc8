"""Which of the places that discovery names are probed, where there are more than a cluster needs.

Discovery is open to strangers: on a network with mDNS anybody may announce thousands of nodes.
Every place that is probed costs a connection, memory and time, so only so many have a seat. A flood
must not keep honest nodes out. Therefore

- who has answered keeps its seat, up to a number: a stranger can answer as well;
- seats are dealt out host by host, so that many names of one host are worth as much as one of
  another, and no host has more than a few of them;
- who has had a seat and did not answer gives it up to somebody who has had none, until all have
  had their turn.

Pure. Members of the cluster need no seat: their addresses are in its configuration.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable
from itertools import islice, zip_longest

from braft_core.abc import Contact

__all__ = ["MOST_CONTACTS", "MOST_OFFERED", "MOST_PER_HOST", "ProbeSlots"]

#: Contacts that are probed.
MOST_CONTACTS = 64
#: Of these, how many may be of one host where there are more contacts than seats.
MOST_PER_HOST = 16
#: ProbeSlots that nobody keeps, so that who comes late has a turn.
MOST_ROTATING = 16
#: Contacts of one listing that are looked at.
MOST_OFFERED = 1024


class ProbeSlots:
    """The seats of one node. ``salt`` is its secret, so that nobody can choose to come first."""

    def __init__(self, salt: str, most: int = MOST_CONTACTS) -> None:
        self._salt = salt.encode()
        self._most = most
        self._offered: tuple[Contact, ...] = ()
        self._tried: set[Contact] = set()
        #: Who has a seat, in the order of the listing.
        self.taken: tuple[Contact, ...] = ()
        #: Who got one from somebody that did not answer.
        self.successors: frozenset[Contact] = frozenset()

    @property
    def crowded(self) -> bool:
        """Whether there are more contacts than seats."""
        return len(self._offered) > self._most

    @property
    def offered(self) -> tuple[Contact, ...]:
        """The contacts of the last listing that were looked at."""
        return self._offered

    def offer(self, contacts: Iterable[Contact]) -> None:
        """Take a listing in. It is cut at a number of contacts that no cluster has."""
        self._offered = tuple(dict.fromkeys(islice(contacts, MOST_OFFERED)))
        self._tried.intersection_update(self._offered)

    def deal(self, answered: Collection[Contact], silent: Collection[Contact]) -> None:
        """Decide who sits, given who of those that sit has answered and who has not."""
        if not self.crowded:
            self.taken, self.successors = self._offered, frozenset()
            self._tried.clear()
            return
        first = not self.taken
        self._tried.update(silent)
        offered = set(self._offered)
        keeps = [c for c in self.taken if c in offered and c not in silent]
        heard = _few_of_a_host(c for c in keeps if c in answered)[: self._most - MOST_ROTATING]
        waiting = _few_of_a_host(c for c in keeps if c not in answered)
        self._tried.update(c for c in keeps if c in answered)
        chosen = self._fill([*heard, *waiting])
        if not offered - chosen.keys() - self._tried:
            self._tried.clear()  # all have had their turn: begin again
            chosen = self._fill(list(chosen))
        newcomers = chosen.keys() - set(self.taken)
        self.successors = frozenset() if first else (self.successors & chosen.keys()) | newcomers
        self.taken = tuple(contact for contact in self._offered if contact in chosen)

    def _fill(self, chosen: list[Contact]) -> dict[Contact, None]:
        seats = dict.fromkeys(chosen[: self._most])
        free = [c for c in self._offered if c not in seats and c not in self._tried]
        counts: dict[str, int] = {}
        for contact in seats:
            counts[contact.host] = counts.get(contact.host, 0) + 1
        for contact in _host_by_host(free, self._rank):
            if len(seats) == self._most:
                break
            if counts.get(contact.host, 0) < MOST_PER_HOST:
                counts[contact.host] = counts.get(contact.host, 0) + 1
                seats[contact] = None
        return seats

    def _rank(self, text: str) -> bytes:
        return hashlib.blake2b(text.encode(), key=self._salt[:64], digest_size=8).digest()


def _few_of_a_host(contacts: Iterable[Contact]) -> list[Contact]:
    counts: dict[str, int] = {}
    few = []
    for contact in contacts:
        counts[contact.host] = counts.get(contact.host, 0) + 1
        if counts[contact.host] <= MOST_PER_HOST:
            few.append(contact)
    return few


def _host_by_host(contacts: Iterable[Contact], rank: Callable[[str], bytes]) -> Iterable[Contact]:
    """Yield one contact of each host, then a second of each, and so on."""
    hosts: dict[str, list[Contact]] = {}
    for contact in contacts:
        hosts.setdefault(contact.host, []).append(contact)
    rows = [
        sorted(hosts[host], key=lambda contact: rank(str(contact)))
        for host in sorted(hosts, key=rank)
    ]
    for turn in zip_longest(*rows):
        yield from (contact for contact in turn if contact is not None)
