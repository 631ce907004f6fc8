"""Which contacts are probed when discovery lists more than a cluster has."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from braft_core.abc import Contact
from braft_core.cluster.probe_slots import (
    MAX_LISTED,
    MAX_PER_HOST,
    MAX_SLOTS,
    ROTATING_SLOTS,
    ProbeSlots,
)

NOBODY: frozenset[Contact] = frozenset()
HONEST = [Contact(f"10.0.0.{n}", 15000) for n in (1, 2, 3)]
#: 3,000 contacts of one attacker: the ports of its address.
ONE_ATTACKER = [Contact("10.0.0.66", 1000 + n) for n in range(900)]
#: Or as many addresses of its own network.
MANY_ADDRESSES = [Contact(f"10.0.{n // 250 + 1}.{n % 250 + 1}", 15000) for n in range(900)]

contacts = st.builds(
    Contact, st.integers(0, 40).map(lambda n: f"10.0.0.{n + 1}"), st.integers(1, 200)
)


def assigned(offered: list[Contact], salt: str = "salt") -> ProbeSlots:
    slots = ProbeSlots(salt)
    slots.replace_listed(offered)
    slots.assign(NOBODY, NOBODY)
    return slots


def test_contacts_that_fit_get_slots_in_their_order() -> None:
    offered = [Contact("10.0.0.1", port) for port in range(1, MAX_SLOTS + 1)]
    assert assigned(offered).taken == tuple(offered)
    assert not assigned(offered).crowded


def test_a_flood_from_one_address_takes_few_slots() -> None:
    slots = assigned([*ONE_ATTACKER, *HONEST])
    assert slots.crowded
    assert set(HONEST) <= set(slots.taken)
    assert Counter(c.host for c in slots.taken)["10.0.0.66"] == MAX_PER_HOST


def test_every_contact_gets_a_slot_in_a_flood_of_silent_addresses() -> None:
    slots = assigned([*MANY_ADDRESSES, *HONEST])
    answered: set[Contact] = set()
    for _ in range(len(MANY_ADDRESSES) // (MAX_SLOTS - len(HONEST)) + 2):
        answered |= set(HONEST) & set(slots.taken)
        slots.assign(answered, set(slots.taken) - set(HONEST))
    assert answered == set(HONEST)
    for _ in range(40):
        slots.assign(answered, set(slots.taken) - set(HONEST))
        assert set(HONEST) <= set(slots.taken), "an answering contact lost its slot"


def test_answering_attackers_leave_slots_for_late_nodes() -> None:
    slots = assigned(MANY_ADDRESSES)
    slots.replace_listed([*MANY_ADDRESSES, *HONEST])
    met: set[Contact] = set()
    for _ in range(2 * len(MANY_ADDRESSES) // ROTATING_SLOTS):
        slots.assign(set(slots.taken), NOBODY)
        met |= set(HONEST) & set(slots.taken)
    assert met == set(HONEST)


def test_no_contact_can_choose_to_come_first() -> None:
    assert assigned(MANY_ADDRESSES, "one").taken != assigned(MANY_ADDRESSES, "another").taken


def test_a_listing_is_cut() -> None:
    slots = ProbeSlots("salt")
    slots.replace_listed(Contact("10.0.0.1", port) for port in range(1, 60_000))
    assert len(slots.listed) == MAX_LISTED


def test_a_contact_that_leaves_the_listing_leaves_its_slot() -> None:
    slots = assigned([*MANY_ADDRESSES, *HONEST])
    slots.replace_listed(HONEST)
    slots.assign(set(HONEST), NOBODY)
    assert slots.taken == tuple(HONEST)
    assert not slots.replacements


@given(st.lists(st.tuples(st.lists(contacts, max_size=200), st.randoms()), max_size=8))
def test_slots_are_limited_and_belong_to_listed_contacts(
    listings: list[tuple[list[Contact], random.Random]],
) -> None:
    slots = ProbeSlots("salt")
    for offered, luck in listings:
        slots.replace_listed(offered)
        answered = {c for c in slots.taken if luck.random() < 0.3}
        silent = {c for c in slots.taken if c not in answered and luck.random() < 0.5}
        slots.assign(answered, silent)
        assert len(slots.taken) == len(set(slots.taken)) <= MAX_SLOTS
        assert set(slots.taken) <= set(offered)
        assert slots.replacements <= set(slots.taken)
        if not slots.crowded:
            assert set(slots.taken) == set(offered)
        else:
            hosts = Counter(c.host for c in slots.taken)
            assert max(hosts.values()) <= MAX_PER_HOST
