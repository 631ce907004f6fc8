"""Which connection is evicted for a new one."""

from __future__ import annotations

from itertools import count

import pytest

from braft_core.http.connection_table import (
    MAX_CONNECTIONS,
    MIN_CONNECTIONS,
    PROTECTED_SECONDS,
    ConnectionSlot,
    ConnectionTable,
    Limits,
    Phase,
    connection_limits,
)

#: Seconds; each connection comes one after the one before.
TIME = count()


def admitted(
    table: ConnectionTable, address: str, phase: Phase, closed: list[str], name: str
) -> ConnectionSlot:
    slot = table.admit(address, next(TIME))
    assert slot is not None
    slot.close = lambda: closed.append(name)
    slot.move(phase)
    return slot


def test_idle_ones_go_first_then_slow_ones_the_oldest_of_each() -> None:
    table, closed = ConnectionTable(Limits(4, 4, 2)), list[str]()
    admitted(table, "a", Phase.PROCESSING, closed, "working")
    admitted(table, "a", Phase.TRANSFERRING, closed, "slow")
    admitted(table, "a", Phase.IDLE, closed, "idle")
    admitted(table, "a", Phase.IDLE, closed, "idle later")
    for expected in ("idle", "idle later", "slow"):
        admitted(table, "a", Phase.PROCESSING, closed, "new")
        assert closed.pop() == expected
        assert len(table) == 4
    assert table.admit("a", next(TIME)) is None, "the node works for all of them"


def test_the_address_with_the_most_gives_way() -> None:
    table, closed = ConnectionTable(Limits(4, 4, 2)), list[str]()
    admitted(table, "one", Phase.IDLE, closed, "one")
    for number in range(3):
        admitted(table, "many", Phase.TRANSFERRING, closed, f"many {number}")
    admitted(table, "two", Phase.TRANSFERRING, closed, "two")
    assert closed == ["many 0"]


def test_one_address_has_a_limit_of_its_own() -> None:
    table, closed = ConnectionTable(Limits(10, 2, 5)), list[str]()
    for number in range(3):
        admitted(table, "a", Phase.IDLE, closed, str(number))
    assert (closed, len(table)) == (["0"], 2)


def test_a_connection_that_gave_way_counts_no_more() -> None:
    table, closed = ConnectionTable(Limits(1, 1, 1)), list[str]()
    first = admitted(table, "a", Phase.IDLE, closed, "first")
    second = admitted(table, "a", Phase.PROCESSING, closed, "second")
    assert table.is_full
    first.move(Phase.PROCESSING)
    table.release(first)
    assert (len(table), table.processing) == (1, 1)
    table.release(second)
    table.release(second)
    assert (len(table), table.processing, list(table.slots())) == (0, 0, [])


@pytest.mark.parametrize(
    ("descriptors", "total"),
    [(64, MIN_CONNECTIONS), (1024, 256), (65_536, MAX_CONNECTIONS), (1 << 30, MAX_CONNECTIONS)],
)
def test_limits_follow_the_limit_of_open_files(descriptors: int, total: int) -> None:
    limits = connection_limits(descriptors)
    assert limits.total == total
    assert limits.processing < limits.address <= total


def test_each_has_a_moment_to_say_what_it_wants() -> None:
    table = ConnectionTable(Limits(1, 1, 1))
    first = table.admit("a", 0.0)
    assert first is not None
    assert table.admit("b", PROTECTED_SECONDS / 2) is None
    assert not first.gone
    assert table.admit("b", PROTECTED_SECONDS) is not None
    assert first.gone
