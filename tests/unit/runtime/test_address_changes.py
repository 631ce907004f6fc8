"""When a node that follows its host's addresses advertises another one."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from braft_core.runtime.address_changes import AddressTracker

HOME, AWAY, LINK, SIX = "192.0.2.1", "198.51.100.7", "169.254.3.4", "2001:db8::1"
LO = "127.0.0.1"
Look = tuple[tuple[str, ...], str]

#: First advertised address, results of each check (all addresses, the best), resulting changes.
CASES: dict[str, tuple[str, list[Look], list[str]]] = {
    "nothing changes": (HOME, [((LO, HOME), HOME)] * 3, ["", "", ""]),
    "a better one appears": (HOME, [((LO, HOME, AWAY), AWAY)] * 3, ["", "", ""]),
    "no address at the start": (
        LO,
        [((LO,), LO), ((LO, HOME), HOME), ((LO, HOME), HOME)],
        ["", "", HOME],
    ),
    "another address": (HOME, [((LO, AWAY), AWAY)] * 3, ["", AWAY, ""]),
    "gone for one look": (
        HOME,
        [((LO, AWAY), AWAY), ((LO, HOME, AWAY), HOME), ((LO, AWAY), AWAY)],
        ["", "", ""],
    ),
    "all gone": (HOME, [((LO,), LO)] * 3, ["", "", ""]),
    "gone, and back": (HOME, [((LO,), LO), ((LO,), LO), ((LO, HOME), HOME)], ["", "", ""]),
    "gone, then another": (
        HOME,
        [((LO,), LO), ((LO, AWAY), AWAY), ((LO, AWAY), AWAY)],
        ["", "", AWAY],
    ),
    "the interface has none": (HOME, [((LO,), "")] * 3, ["", "", ""]),
    "still another at the next look": (
        LO,
        [((LO, HOME), HOME), ((LO, AWAY), AWAY), ((LO, AWAY), AWAY)],
        ["", "", AWAY],
    ),
    "self-given, until DHCP": (
        LINK,
        [((LO, LINK), LINK), ((LO, LINK, HOME), HOME), ((LO, LINK, HOME), HOME)],
        ["", "", HOME],
    ),
    "self-given only": (LO, [((LO, LINK), LINK)] * 2, ["", LINK]),
    "not to a self-given one": (HOME, [((LO, HOME, LINK), LINK)] * 2, ["", ""]),
    "no other family": (HOME, [((LO, SIX), SIX)] * 3, ["", "", ""]),
    "twice": (
        HOME,
        [((AWAY,), AWAY), ((AWAY,), AWAY), ((HOME,), HOME), ((HOME,), HOME)],
        ["", AWAY, "", HOME],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_advertised(case: str) -> None:
    at_first, looks, changes = CASES[case]
    tracker = AddressTracker(at_first)
    assert [tracker.update(own, best) for own, best in looks] == changes
    assert tracker.ip == _last(changes) or tracker.ip == at_first


def _last(changes: Sequence[str]) -> str:
    return next((change for change in reversed(changes) if change), "")
