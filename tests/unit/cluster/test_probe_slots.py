"""Who is probed where discovery names more places than a cluster has."""

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
#: 3,000 names of one stranger: ports of its one address.
ONE_STRANGER = [Contact("10.0.0.66", 1000 + n) for n in range(900)]
#: Or as many addresses of a network that it has for itself.
MANY_ADDRESSES = [Contact(f"10.0.{n // 250 + 1}.{n % 250 + 1}", 15000) for n in range(900)]

contacts = st.builds(
    Contact, st.integers(0, 40).map(lambda n: f"10.0.0.{n + 1}"), st.integers(1, 200)
)


def seated(offered: list[Contact], salt: str = "salt") -> ProbeSlots:
    seats = ProbeSlots(salt)
    seats.replace_listed(offered)
    seats.assign(NOBODY, NOBODY)
    return seats


def test_as_many_as_fit_sit_in_their_order() -> None:
    offered = [Contact("10.0.0.1", port) for port in range(1, MAX_SLOTS + 1)]
    assert seated(offered).taken == tuple(offered)
    assert not seated(offered).crowded


def test_a_flood_from_one_address_takes_few_seats() -> None:
    seats = seated([*ONE_STRANGER, *HONEST])
    assert seats.crowded
    assert set(HONEST) <= set(seats.taken)
    assert Counter(c.host for c in seats.taken)["10.0.0.66"] == MAX_PER_HOST


def test_everybody_has_a_turn_in_a_flood_of_addresses_that_do_not_answer() -> None:
    seats = seated([*MANY_ADDRESSES, *HONEST])
    answered: set[Contact] = set()
    for _ in range(len(MANY_ADDRESSES) // (MAX_SLOTS - len(HONEST)) + 2):
        answered |= set(HONEST) & set(seats.taken)
        seats.assign(answered, set(seats.taken) - set(HONEST))
    assert answered == set(HONEST)
    for _ in range(40):
        seats.assign(answered, set(seats.taken) - set(HONEST))
        assert set(HONEST) <= set(seats.taken), "who answered lost its seat"


def test_strangers_that_answer_leave_seats_for_late_nodes() -> None:
    seats = seated(MANY_ADDRESSES)
    seats.replace_listed([*MANY_ADDRESSES, *HONEST])
    met: set[Contact] = set()
    for _ in range(2 * len(MANY_ADDRESSES) // ROTATING_SLOTS):
        seats.assign(set(seats.taken), NOBODY)
        met |= set(HONEST) & set(seats.taken)
    assert met == set(HONEST)


def test_nobody_can_choose_to_come_first() -> None:
    assert seated(MANY_ADDRESSES, "one").taken != seated(MANY_ADDRESSES, "another").taken


def test_a_listing_is_cut() -> None:
    seats = ProbeSlots("salt")
    seats.replace_listed(Contact("10.0.0.1", port) for port in range(1, 60_000))
    assert len(seats.listed) == MAX_LISTED


def test_who_leaves_the_listing_leaves_its_seat() -> None:
    seats = seated([*MANY_ADDRESSES, *HONEST])
    seats.replace_listed(HONEST)
    seats.assign(set(HONEST), NOBODY)
    assert seats.taken == tuple(HONEST)
    assert not seats.replacements


@given(st.lists(st.tuples(st.lists(contacts, max_size=200), st.randoms()), max_size=8))
def test_seats_are_never_too_many_and_never_of_a_stranger_to_the_list(
    listings: list[tuple[list[Contact], random.Random]],
) -> None:
    seats = ProbeSlots("salt")
    for offered, luck in listings:
        seats.replace_listed(offered)
        answered = {c for c in seats.taken if luck.random() < 0.3}
        silent = {c for c in seats.taken if c not in answered and luck.random() < 0.5}
        seats.assign(answered, silent)
        assert len(seats.taken) == len(set(seats.taken)) <= MAX_SLOTS
        assert set(seats.taken) <= set(offered)
        assert seats.replacements <= set(seats.taken)
        if not seats.crowded:
            assert set(seats.taken) == set(offered)
        else:
            hosts = Counter(c.host for c in seats.taken)
            assert max(hosts.values()) <= MAX_PER_HOST
