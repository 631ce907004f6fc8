"""The linearizability checker accepts linearizable histories and rejects others."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from braft_testing.simulation.history import History, Kind, Operation, Outcome
from braft_testing.simulation.linearizability import (
    Undecided,
    check_history,
    check_register,
    find_order,
)

INF = math.inf


def op(
    kind: str,
    invoked: float,
    returned: float = INF,
    *,
    value: int = 0,
    expected: int = 0,
    seen: int = 0,
    failed: bool = False,
) -> Operation:
    outcome = Outcome.UNKNOWN if returned == INF else Outcome.OK
    return Operation(
        number=0,
        client="c",
        kind=Kind(kind),
        key="k",
        value=value,
        expected=expected,
        invoked=invoked,
        returned=returned,
        outcome=Outcome.FAILED if failed else outcome,
        seen=seen,
    )


def write(value: int, invoked: float, returned: float = INF, *, failed: bool = False) -> Operation:
    return op("write", invoked, returned, value=value, failed=failed)


def read(seen: int, invoked: float, returned: float = INF) -> Operation:
    return op("read", invoked, returned, seen=seen)


def cas(
    expected: int, value: int, invoked: float, returned: float = INF, *, seen: int = 0
) -> Operation:
    return op("cas", invoked, returned, value=value, expected=expected, seen=seen)


LINEARIZABLE: dict[str, list[Operation]] = {
    "nothing": [],
    "one after the other": [write(1, 0, 1), read(1, 2, 3), write(2, 4, 5), read(2, 6, 7)],
    "the initial value": [read(0, 0, 1)],
    "a read during a write sees the old value": [write(1, 0, 10), read(0, 1, 2)],
    "a read during a write sees the new value": [write(1, 0, 10), read(1, 1, 2)],
    "touching intervals are concurrent": [write(1, 0, 1), read(0, 1, 2)],
    "two writes in either order": [write(1, 0, 9), write(2, 0, 9), read(2, 10, 11)],
    "and in the other": [write(1, 0, 9), write(2, 0, 9), read(1, 10, 11)],
    "an unknown write took effect late": [write(1, 0), read(0, 1, 2), read(1, 3, 4)],
    "an unknown write never took effect": [write(1, 0), read(0, 1, 2), read(0, 3, 4)],
    "a compare-and-swap that held": [write(1, 0, 1), cas(1, 2, 2, 3, seen=1), read(2, 4, 5)],
    "one that did not hold": [write(1, 0, 1), cas(7, 2, 2, 3, seen=1), read(1, 4, 5)],
    "an unknown one that held": [write(1, 0, 1), cas(1, 2, 2), read(2, 4, 5)],
    "an unknown one after an unknown write": [write(1, 0), cas(1, 2, 1), read(2, 4, 5)],
    "a failed write has no effect": [write(1, 0, 1, failed=True), read(0, 2, 3)],
}

NOT_LINEARIZABLE: dict[str, list[Operation]] = {
    "a stale read": [write(1, 0, 1), read(0, 2, 3)],
    "a value from nowhere": [read(5, 0, 1)],
    "a value from the future": [read(1, 0, 1), write(1, 2, 3)],
    "new, then old": [write(1, 0, 10), read(1, 1, 2), read(0, 3, 4)],
    "two readers that disagree on an order": [
        write(1, 0, 9),
        write(2, 0, 9),
        read(1, 10, 11),
        read(2, 12, 13),
    ],
    "an unknown write that took effect and vanished": [write(1, 0), read(1, 1, 2), read(0, 3, 4)],
    "a failed write that took effect": [write(1, 0, 1, failed=True), read(1, 2, 3)],
    "two winners of one compare-and-swap": [cas(0, 1, 0, 5, seen=0), cas(0, 2, 0, 5, seen=0)],
    "a compare-and-swap that saw what was not": [write(1, 0, 1), cas(0, 2, 2, 3, seen=0)],
    "a lost update": [write(1, 0, 1), cas(1, 2, 2, 3, seen=1), read(1, 4, 5)],
    "an unknown one that cannot have held": [write(1, 0, 1), cas(7, 2, 2), read(2, 4, 5)],
}


@pytest.mark.parametrize("name", LINEARIZABLE)
def test_accepts(name: str) -> None:
    assert check_register(LINEARIZABLE[name])


@pytest.mark.parametrize("name", NOT_LINEARIZABLE)
def test_rejects(name: str) -> None:
    assert not check_register(NOT_LINEARIZABLE[name])


def test_registers_are_checked_separately_and_the_broken_one_is_named() -> None:
    history = History()
    for key in ("a", "b"):
        operation = history.invoke("c", Kind.READ, key, 0.0)
        operation.returned, operation.outcome = 1.0, Outcome.OK
        operation.seen = 7 if key == "b" else 0
    assert check_history(history) == "b"


def test_a_search_beyond_its_bound_is_undecided() -> None:
    operations = [write(n, 0, 100) for n in range(1, 12)] + [read(99, 101, 102)]
    with pytest.raises(Undecided):
        check_register(operations, max_states=50)


# -- compared with a naive checker that tries every order -----------------------------------


def naive(operations: list[Operation]) -> bool:
    """Try each subset with all answered operations, in each order that respects time."""
    answered = [o for o in operations if o.outcome is Outcome.OK]
    unknown = [o for o in operations if o.outcome is Outcome.UNKNOWN]
    return any(
        legal(order)
        for count in range(len(unknown) + 1)
        for chosen in itertools.combinations(unknown, count)
        for order in itertools.permutations([*answered, *chosen])
    )


def legal(order: tuple[Operation, ...]) -> bool:
    value = 0
    for position, operation in enumerate(order):
        if any(later.returned < operation.invoked for later in order[position:]):
            return False
        known = operation.outcome is Outcome.OK
        if operation.kind is not Kind.WRITE and known and operation.seen != value:
            return False
        if operation.kind is Kind.WRITE or (
            operation.kind is Kind.CAS and operation.expected == value
        ):
            value = operation.value
    return True


@st.composite
def operation(draw: st.DrawFn) -> Operation:
    invoked = draw(st.integers(0, 6))
    returned = draw(st.one_of(st.just(INF), st.integers(invoked + 1, 8)))
    return op(
        draw(st.sampled_from(("read", "write", "cas"))),
        invoked,
        returned,
        value=draw(st.integers(1, 3)),
        expected=draw(st.integers(0, 3)),
        seen=draw(st.integers(0, 3)),
    )


@settings(max_examples=300, deadline=None)
@given(st.lists(operation(), max_size=5))
def test_agrees_with_trying_every_order(operations: list[Operation]) -> None:
    assert check_register(operations) == naive(operations)


EMPTY: tuple[int, ...] = ()


def taken(operation: Operation, queue: tuple[int, ...]) -> tuple[int, ...] | None:
    """Apply an operation to a queue: a write appends its value, a read takes the first."""
    if operation.kind is Kind.WRITE:
        return (*queue, operation.value)
    return queue[1:] if queue[:1] == (operation.seen,) else None


def test_any_object_with_a_step_function_can_be_checked() -> None:
    puts = [write(1, 0, 2), write(2, 1, 3)]
    assert find_order([*puts, read(2, 4, 5), read(1, 6, 7)], EMPTY, taken) is None
    stuck = read(1, 6, 7)
    assert find_order([*puts, read(1, 4, 5), stuck], EMPTY, taken) is stuck


def test_the_search_for_an_order_of_any_object_is_bounded() -> None:
    with pytest.raises(Undecided):
        find_order([write(n, 0, 9) for n in range(8)] + [read(9, 10, 11)], EMPTY, taken, 100)
