"""Which connection goes when there is no room."""

from __future__ import annotations

from itertools import count

import pytest

from braft_core.http.table import LEAST, MOST, YOUNG, Limits, Phase, Slot, Table, limits_for

#: Seconds; each connection comes one after the one before.
TIME = count()


def admitted(table: Table, address: str, phase: Phase, closed: list[str], name: str) -> Slot:
    slot = table.admit(address, next(TIME))
    assert slot is not None
    slot.close = lambda: closed.append(name)
    slot.move(phase)
    return slot


def test_idle_ones_go_first_then_slow_ones_the_oldest_of_each() -> None:
    table, closed = Table(Limits(4, 4, 2)), list[str]()
    admitted(table, "a", Phase.WORKING, closed, "working")
    admitted(table, "a", Phase.MOVING, closed, "slow")
    admitted(table, "a", Phase.IDLE, closed, "idle")
    admitted(table, "a", Phase.IDLE, closed, "idle later")
    for expected in ("idle", "idle later", "slow"):
        admitted(table, "a", Phase.WORKING, closed, "new")
        assert closed.pop() == expected
        assert len(table) == 4
    assert table.admit("a", next(TIME)) is None, "the node works for all of them"


def test_the_address_with_the_most_gives_way() -> None:
    table, closed = Table(Limits(4, 4, 2)), list[str]()
    admitted(table, "one", Phase.IDLE, closed, "one")
    for number in range(3):
        admitted(table, "many", Phase.MOVING, closed, f"many {number}")
    admitted(table, "two", Phase.MOVING, closed, "two")
    assert closed == ["many 0"]


def test_one_address_has_a_limit_of_its_own() -> None:
    table, closed = Table(Limits(10, 2, 5)), list[str]()
    for number in range(3):
        admitted(table, "a", Phase.IDLE, closed, str(number))
    assert (closed, len(table)) == (["0"], 2)


def test_a_connection_that_gave_way_counts_no_more() -> None:
    table, closed = Table(Limits(1, 1, 1)), list[str]()
    first = admitted(table, "a", Phase.IDLE, closed, "first")
    second = admitted(table, "a", Phase.WORKING, closed, "second")
    assert table.is_full
    first.move(Phase.WORKING)
    table.forget(first)
    assert (len(table), table.working) == (1, 1)
    table.forget(second)
    table.forget(second)
    assert (len(table), table.working, list(table.slots())) == (0, 0, [])


@pytest.mark.parametrize(
    ("descriptors", "total"), [(64, LEAST), (1024, 256), (65_536, MOST), (1 << 30, MOST)]
)
def test_limits_follow_the_limit_of_open_files(descriptors: int, total: int) -> None:
    limits = limits_for(descriptors)
    assert limits.total == total
    assert limits.working < limits.address <= total


def test_each_has_a_moment_to_say_what_it_wants() -> None:
    table = Table(Limits(1, 1, 1))
    first = table.admit("a", 0.0)
    assert first is not None
    assert table.admit("b", YOUNG / 2) is None
    assert not first.gone
    assert table.admit("b", YOUNG) is not None
    assert first.gone
