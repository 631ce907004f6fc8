"""Which discovered contacts are probed, if discovery lists more than a cluster needs.

Discovery may be open to attackers: with mDNS, any host on the network may announce thousands of
nodes. Every probed contact costs a connection, memory and time, so the number of slots is limited.
A flood must not keep honest nodes out:

- contacts that answered keep their slots, up to a limit, since an attacker can answer as well;
- slots are assigned host by host, and a host gets only a few, so that many names of one host do
  not displace other hosts;
- contacts that did not answer give their slots to contacts that had none yet, until every contact
  has had a slot.

Pure. Members of the cluster need no slot: their addresses are in its configuration.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable
from itertools import islice, zip_longest

from braft_core.abc import Contact

__all__ = ["MAX_LISTED", "MAX_PER_HOST", "MAX_SLOTS", "ProbeSlots"]

#: Most contacts that are probed.
MAX_SLOTS = 64
#: Most slots of one host, if there are more contacts than slots.
MAX_PER_HOST = 16
#: Slots that even answering contacts do not keep, so that late contacts get one.
ROTATING_SLOTS = 16
#: Most contacts of one listing that are considered.
MAX_LISTED = 1024


class ProbeSlots:
    """The slots of one node.

    :param salt: a secret of this process, so that an attacker cannot choose names that come first.
    :param size: the number of slots.
    """

    def __init__(self, salt: str, size: int = MAX_SLOTS) -> None:
        self._salt = salt.encode()
        self._size = size
        self._listed: tuple[Contact, ...] = ()
        self._tried: set[Contact] = set()
        #: The contacts with a slot, in the order of the listing.
        self.taken: tuple[Contact, ...] = ()
        #: Those that got their slot from a contact that did not answer.
        self.replacements: frozenset[Contact] = frozenset()

    @property
    def crowded(self) -> bool:
        """Whether there are more contacts than slots."""
        return len(self._listed) > self._size

    @property
    def listed(self) -> tuple[Contact, ...]:
        """The contacts of the last listing, up to :data:`MAX_LISTED`."""
        return self._listed

    def replace_listed(self, contacts: Iterable[Contact]) -> None:
        """Store a new listing, cut off at :data:`MAX_LISTED` contacts."""
        self._listed = tuple(dict.fromkeys(islice(contacts, MAX_LISTED)))
        self._tried.intersection_update(self._listed)

    def assign(self, answered: Collection[Contact], silent: Collection[Contact]) -> None:
        """Assign the slots.

        :param answered: contacts with a slot that answered their last probe.
        :param silent: contacts with a slot that did not.
        """
        if not self.crowded:
            self.taken, self.replacements = self._listed, frozenset()
            self._tried.clear()
            return
        first = not self.taken
        self._tried.update(silent)
        listed = set(self._listed)
        keeps = [c for c in self.taken if c in listed and c not in silent]
        heard = _limit_per_host(c for c in keeps if c in answered)[: self._size - ROTATING_SLOTS]
        waiting = _limit_per_host(c for c in keeps if c not in answered)
        self._tried.update(c for c in keeps if c in answered)
        chosen = self._fill([*heard, *waiting])
        if not listed - chosen.keys() - self._tried:
            self._tried.clear()  # every contact has had a slot: start over
            chosen = self._fill(list(chosen))
        newcomers = chosen.keys() - set(self.taken)
        self.replacements = (
            frozenset() if first else (self.replacements & chosen.keys()) | newcomers
        )
        self.taken = tuple(contact for contact in self._listed if contact in chosen)

    def _fill(self, chosen: list[Contact]) -> dict[Contact, None]:
        slots = dict.fromkeys(chosen[: self._size])
        free = [c for c in self._listed if c not in slots and c not in self._tried]
        counts: dict[str, int] = {}
        for contact in slots:
            counts[contact.host] = counts.get(contact.host, 0) + 1
        for contact in _host_by_host(free, self._rank):
            if len(slots) == self._size:
                break
            if counts.get(contact.host, 0) < MAX_PER_HOST:
                counts[contact.host] = counts.get(contact.host, 0) + 1
                slots[contact] = None
        return slots

    def _rank(self, text: str) -> bytes:
        return hashlib.blake2b(text.encode(), key=self._salt[:64], digest_size=8).digest()


def _limit_per_host(contacts: Iterable[Contact]) -> list[Contact]:
    counts: dict[str, int] = {}
    kept = []
    for contact in contacts:
        counts[contact.host] = counts.get(contact.host, 0) + 1
        if counts[contact.host] <= MAX_PER_HOST:
            kept.append(contact)
    return kept


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
