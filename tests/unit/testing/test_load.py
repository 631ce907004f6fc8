"""The writers of the kit detect lost, repeated and stale values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from braft_core.errors import Conflict, OutcomeUnknown
from braft_testing.load import CountingClient, Load
from braft_testing.processes import wait_for


class Table:
    """A correct register; ``spoil`` is called before each put with its number."""

    def __init__(self, spoil: Callable[[Table, int, Any], None] = lambda t, n, v: None) -> None:
        self.entry: tuple[Any, int] = (0, 0)
        self.puts = 0
        self._spoil = spoil

    def store(self, value: Any) -> int:
        self.entry = (value, self.entry[1] + 1)
        return self.entry[1]

    def kv_put(self, map_name: str, key: str, value: Any, if_revision: int | None = None) -> int:
        self.puts += 1
        self._spoil(self, self.puts, value)
        if if_revision != self.entry[1]:
            raise Conflict(f"it is at {self.entry[1]}")
        return self.store(value)

    def kv_entry(self, map_name: str, key: str) -> tuple[Any, int] | None:
        return self.entry if self.entry[1] else None


def count(table: Table) -> CountingClient:
    with CountingClient(table, "m") as counter:
        wait_for(lambda: counter.value >= 20 or bool(counter._broken), 10)
    return counter


def answer_lost(table: Table, number: int, value: Any) -> None:
    """Lose the answer of the third put, and the sixth put itself."""
    if number == 3:
        table.store(value)
    if number in (3, 6):
        raise OutcomeUnknown("no answer")


def committed_late(table: Table, number: int, value: Any) -> None:
    """Commit the third put, whose outcome is unknown, only when the next one comes."""
    if number == 3:
        raise OutcomeUnknown("no answer")
    if number == 4:
        table.store(value)


def applied_twice(table: Table, number: int, value: Any) -> None:
    if number == 3:
        table.store(value)


def forgotten(table: Table, number: int, value: Any) -> None:
    if number == 3:
        table.entry = (1, 1)


def unknown_and_wrong(table: Table, number: int, value: Any) -> None:
    if number == 3:
        table.store(value + 1)
        raise OutcomeUnknown("no answer")


@pytest.mark.parametrize(
    ("spoil", "unknown", "happened"), [(answer_lost, 2, 1), (committed_late, 1, 1)]
)
def test_a_count_continues_after_an_unknown_outcome(
    spoil: Callable[[Table, int, Any], None], unknown: int, happened: int
) -> None:
    counter = count(Table(spoil))
    assert (len(counter.failures), counter.happened) == (unknown, happened)
    counter.check(counter.value)
    with pytest.raises(AssertionError):
        counter.check(counter.value - 1)


@pytest.mark.parametrize("spoil", [applied_twice, forgotten, unknown_and_wrong])
def test_a_step_that_is_lost_or_doubled_fails_the_count(
    spoil: Callable[[Table, int, Any], None],
) -> None:
    with pytest.raises(AssertionError, match="a writer failed"):
        count(Table(spoil))


def test_a_lost_write_and_a_made_up_one_fail_the_load() -> None:
    stored: dict[str, int] = {}

    def put(key: str, value: int) -> None:
        if value == 2:
            raise OutcomeUnknown("no answer")
        stored[key] = value

    with Load([put, put]) as load:
        load.more(20)
        # Only one writer may have made them.
        wait_for(lambda: len(load.unknown) == 2, what="both have come to the lost one")
    load.check(stored)
    assert load.unknown == {"0-2": 2, "1-2": 2}
    load.check(stored | {"0-2": 2})
    assert 0 < load.longest_pause < 5
    with pytest.raises(AssertionError, match="lost 1 of"):
        load.check({key: value for key, value in stored.items() if key != "0-1"})
    with pytest.raises(AssertionError, match="was refused"):
        load.check(stored | {"0-0": 0})
