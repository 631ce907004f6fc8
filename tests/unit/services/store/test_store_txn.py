"""Transactions of the store: what holds, what is refused, and that nothing is done by halves."""

from __future__ import annotations

from typing import Any

import pytest

from braft_core.errors import (
    AnswerTooLarge,
    DuplicateKey,
    FutureRevision,
    InvalidArgument,
    KeyNotFound,
    LeaseNotFound,
    TooManyOps,
)
from braft_core.services.store.limits import MAX_ANSWER_RECORDS, MAX_OPS

ALL = [b"\0", b"\0"]


# ------------------------------------------------------------------ transactions


@pytest.mark.parametrize(
    ("compare", "holds"),
    [
        ([0, 0, b"a", b"", 1], True),
        ([0, 1, b"a", b"", 1], False),
        ([1, 0, b"a", b"", 3], True),
        ([2, 2, b"a", b"", 4], True),
        ([2, 3, b"a", b"", 3], False),
        ([3, 0, b"a", b"", b"3"], True),
        ([3, 1, b"a", b"", b"2"], True),
        ([4, 0, b"a", b"", 0], True),
        # A key that is not there has zeros and no value.
        ([0, 0, b"x", b"", 0], True),
        ([1, 2, b"x", b"", 5], True),
        ([3, 0, b"x", b"", b""], False),
        ([3, 3, b"x", b"", b"y"], False),
        # All keys of a range.
        ([2, 1, b"a", b"\0", 1], True),
        ([2, 1, b"a", b"\0", 2], False),
        ([2, 0, b"x", b"\0", 0], True),
        ([2, 1, b"x", b"\0", -1], True),
    ],
)
def test_compares(five: Any, compare: list[Any], holds: bool) -> None:
    assert five("txn", [compare], [], [])[1] is holds
    assert five("txn", [compare, [0, 0, b"a", b"", 9]], [], [])[1] is False


def test_nested_compares_see_the_state_before_the_transaction(run: Any) -> None:
    nested = [3, [[[0, 0, b"a", b"", 0]], [[1, b"b", b"then", 0, 0]], [[1, b"b", b"else", 0, 0]]]]
    assert run("txn", [], [[1, b"a", b"", 0, 0], nested], [])[2][1][1] is True
    assert run("txn", [], [[1, b"a", b"", 0, 0], nested], [])[2][1][1] is False


@pytest.mark.parametrize(
    ("ops", "key"),
    [
        ([[1, b"a", b"", 0, 0], [1, b"a", b"", 0, 0]], b"a"),
        ([[1, b"a", b"", 0, 0], [2, b"a", b"", 0]], b"a"),
        ([[2, b"a", b"c", 0], [1, b"b", b"", 0, 0]], b"b"),
        ([[2, b"a", b"\0", 0], [1, b"z", b"", 0, 0]], b"z"),
        ([[3, [[], [[1, b"a", b"", 0, 0]], []]], [1, b"a", b"", 0, 0]], b"a"),
        ([[3, [[], [], [[2, b"a", b"b", 0]]]], [1, b"a", b"", 0, 0]], b"a"),
        ([[3, [[], [[1, b"a", b"", 0, 0]] * 2, []]]], b"a"),
    ],
)
def test_a_transaction_writes_a_key_once(run: Any, ops: list[Any], key: bytes) -> None:
    run("put", b"a", b"x")
    before = run.snapshot()
    branches: list[list[Any]]
    for branches in ([ops, []], [[], ops]):
        with pytest.raises(DuplicateKey) as caught:
            run("txn", [], *branches)
        assert caught.value.data == {"key": repr(key)}
    assert run.snapshot() == before


@pytest.mark.parametrize(
    "ops",
    [
        [[2, b"a", b"c", 0], [2, b"b", b"d", 0]],
        [[3, [[], [[1, b"a", b"", 0, 0]], [[1, b"a", b"", 0, 0]]]]],
        [[3, [[], [[1, b"a", b"", 0, 0]], [[2, b"a", b"", 0]]]]],
        [[1, b"c", b"", 0, 0], [2, b"a", b"c", 0]],
        [[0, b"a"], [1, b"a", b"", 0, 0], [0, b"a"]],
    ],
)
def test_what_may_overlap(run: Any, ops: list[Any]) -> None:
    run("put", b"b", b"x")
    assert run("txn", [], ops, [])[1] is True


def test_a_transaction_has_128_operations_at_most(run: Any) -> None:
    puts = [[1, b"%d" % number, b"", 0, 0] for number in range(MAX_OPS + 1)]
    assert len(run("txn", [], puts[1:], puts[1:])[2]) == MAX_OPS
    compares = [[0, 3, b"x", b"", 5]] * (MAX_OPS + 1)
    run("txn", compares[1:], [], [])
    nested = [3, [[], puts[:64], puts[:64]]]
    for arguments in ([[], puts, []], [[], [], puts], [compares, [], []], [[], [nested], []]):
        with pytest.raises(TooManyOps) as caught:
            run("txn", *arguments)
        assert caught.value.data == {"count": MAX_OPS + 1, "limit": MAX_OPS}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([1, [], []], "a transaction is"),
        ([[], [5], []], "an operation is 5"),
        ([[], [[4, b"a"]], []], "an operation is"),
        ([[], [[3, [[], []]]], []], "a transaction is"),
        ([[], [[1]], []], "a put has a key, value, lease and flags"),
        ([[], [[2, b"a", b"", 0, 0]], []], "a delete has a key, end and flags"),
        ([[[5, 0, b"a", b"", 0]], [], []], "a compare is"),
        ([[[0, 4, b"a", b"", 0]], [], []], "a compare is"),
        ([[[0, 0, b"", b"", 0]], [], []], "key is b''"),
        ([[[0, 0, b"a", b"", b"1"]], [], []], "operand of a compare of key b'a' is b'1'"),
        ([[[3, 0, b"a", b"", 1]], [], []], "value of key b'a' is 1"),
    ],
)
def test_bad_transactions(run: Any, arguments: list[Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        run("txn", *arguments)


@pytest.mark.parametrize(
    ("op", "error"),
    [
        ([1, b"x", b"", 55, 0], LeaseNotFound),
        ([1, b"x", b"", 0, 2], KeyNotFound),
        ([0, *ALL, 0, 99], FutureRevision),
    ],
)
def test_half_of_a_transaction_is_never_done(run: Any, op: list[Any], error: type) -> None:
    run("put", b"a", b"x")
    before = run.snapshot()
    with pytest.raises(error):
        run("txn", [], [[1, b"b", b"", 0, 0], [2, b"a", b"", 0], op], [])
    assert run.snapshot() == before
    # The branch that is not taken may have what only the state makes wrong.
    assert run("txn", [], [], [op])[1] is True


def test_the_answer_of_a_command_is_bounded(run: Any) -> None:
    for number in range(MAX_ANSWER_RECORDS // 100 + 1):
        puts = [[1, b"%d-%d" % (number, each), b"", 0, 0] for each in range(100)]
        run("txn", [], puts, [])
    for command, arguments in (
        ("delete", [*ALL, 1]),
        ("txn", [[], [[0, *ALL]], []]),
        ("txn", [[], [[2, *ALL, 1]], []]),
    ):
        with pytest.raises(AnswerTooLarge) as caught:
            run(command, *arguments)
        assert caught.value.data == {"count": 10_100, "limit": 10_000}
    assert run("txn", [], [[0, *ALL, 10], [0, *ALL, 0, 0, None, None, 2]], [])[2][1][1] == 10_100
    assert len(run.query("range", *ALL)[3]) == 10_100
    assert run("delete", *ALL)[1] == 10_100
