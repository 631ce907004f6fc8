"""The store: each case with what etcd's clients rely on, and each bad input with its error."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest

from braft_core.abc import Service
from braft_core.errors import (
    AnswerTooLarge,
    BraftError,
    Compacted,
    DuplicateKey,
    FutureRevision,
    InvalidArgument,
    KeyNotFound,
    LeaseNotFound,
    NoSpace,
    Rejected,
    TooManyOps,
    from_wire,
    to_wire,
)
from braft_core.services import store
from braft_core.services.store import StoreService
from braft_testing.services import ServiceConformance

ALL = [b"\0", b"\0"]


class TestConformance(ServiceConformance):
    commands = (
        ("grant", [7, 60]),
        ("put", [b"a", b"1", 7]),
        ("put", [b"b", b"1"]),
        ("put", [b"a", b"2", 0, 5]),
        ("put", [b"missing", b"", 0, 2]),
        ("delete", [b"b", b"", 1]),
        ("txn", [[[0, 0, b"b", b"", 0]], [[1, b"c", b"x", 0, 0], [0, *ALL]], []]),
        ("txn", [[[3, 0, b"c", b"", b"y"]], [], [[3, [[], [[2, b"c", b"", 1]], []]]]]),
        ("compact", [4]),
        ("compact", [99]),
        ("configure", [1 << 20]),
        ("alarm", [1, 5, 2]),
        ("announce", ["id", "name", ["http://host:1"]]),
        ("grant", [8, 60]),
        ("put", [b"e", b"", 8]),
        ("revoke", [8]),
    )
    queries = (
        ("range", ALL),
        ("range", [*ALL, 0, 4]),
        ("range", [*ALL, 0, 2]),
        ("count", ALL),
        ("events", [4, 1000, True]),
        ("changes", [4, 0, 1000]),
        ("hash", []),
        ("status", []),
        ("members", []),
        ("lease", [7]),
        ("leases", []),
    )

    def make(self) -> Service:
        return StoreService()


# ------------------------------------------------------------------ revisions


def test_revisions_begin_at_one_and_rise_with_each_change(run: Any) -> None:
    assert run.query("status")["revision"] == 1
    assert run("put", b"a", b"x") == [2, None]
    assert run("put", b"a", b"x") == [3, None]
    assert run("delete", b"a") == [4, 1, []]


def test_what_changes_nothing_makes_no_revision(run: Any) -> None:
    run("put", b"a", b"x")
    assert run("delete", b"b") == [2, 0, []]
    assert run("txn", [], [], []) == [2, True, []]
    assert run("txn", [[0, 0, b"a", b"", 5]], [[1, b"a", b"y", 0, 0]], []) == [2, False, []]
    assert run("txn", [], [[2, b"b", b"", 0], [0, b"a"]], [])[0] == 2
    assert run("compact", 2) == 2
    assert run("grant", 7, 10) == 10
    assert run.query("status")["revision"] == 2


def test_answers_within_a_transaction_name_the_new_revision_after_its_first_write(
    run: Any,
) -> None:
    run("put", b"a", b"x")
    read, write = [0, b"a"], [1, b"b", b"", 0, 0]
    nested = [3, [[], [read], []]]
    revision, _, answers = run("txn", [], [read, nested, write, read, nested], [])
    assert revision == 3
    assert [answer[0] for answer in answers] == [2, 2, 3, 3, 3]
    assert answers[1][2][0][0] == 2
    assert answers[4][2][0][0] == 3


def test_the_records_of_one_transaction_have_one_revision_and_their_order(run: Any) -> None:
    run("txn", [], [[1, b"b", b"", 0, 0], [1, b"a", b"", 0, 0]], [])
    _, _, events = run.query("events", 1)
    assert [(record[0], record[3], record[4]) for record, _ in events] == [
        (b"b", 2, 0),
        (b"a", 2, 1),
    ]


def test_a_key_that_comes_again_begins_anew(run: Any) -> None:
    run("put", b"a", b"x")
    run("put", b"a", b"y")
    run("delete", b"a")
    run("put", b"a", b"z")
    assert run.query("range", b"a")[3] == [(b"a", b"z", 5, 5, 0, 1, 0)]


# ------------------------------------------------------------------ put


def test_put_keeps_the_value_or_the_lease_if_it_is_to(run: Any) -> None:
    run("grant", 7, 10)
    run("put", b"a", b"x", 7)
    assert run("put", b"a", b"y", 0, 4 | 1) == [3, run.query("range", b"a", b"", 0, 2)[3][0]]
    assert run.query("range", b"a")[3][0][-1] == 7
    run("put", b"a", b"", 0, 2)
    assert run.query("range", b"a")[3] == [(b"a", b"y", 2, 4, 0, 3, 0)]
    assert run.query("lease", 7)[2] == []


@pytest.mark.parametrize("flags", [2, 4, 6])
def test_a_put_that_keeps_something_needs_a_key(run: Any, flags: int) -> None:
    with pytest.raises(KeyNotFound) as caught:
        run("put", b"a", b"" if flags & 2 else b"x", 0, flags)
    assert caught.value.data == {"key": "b'a'"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([b"", b""], r"key is b''; accepted: bytes that are not empty"),
        (["a", b""], r"key is 'a'"),
        ([b"a", "x"], r"value of key b'a' is 'x'; accepted: bytes"),
        ([b"a", b"x", -1], r"lease of a put is -1; accepted: a number of 0 to"),
        ([b"a", b"x", 1.0], r"lease of a put is 1.0"),
        ([b"a", b"x", 0, 8], r"flags of a put is 8; accepted: a number of 0 to 7"),
        ([b"a", b"x", 0, 2], r"keeps the value and has one"),
        ([b"a", b"x", 3, 4], r"keeps the lease and has one"),
    ],
)
def test_bad_puts(run: Any, arguments: list[Any], message: str) -> None:
    before = run.snapshot()
    with pytest.raises(InvalidArgument, match=message):
        run("put", *arguments)
    assert run.snapshot() == before


def test_a_put_with_an_unknown_lease(run: Any) -> None:
    with pytest.raises(LeaseNotFound) as caught:
        run("put", b"a", b"x", 77)
    assert caught.value.data == {"lease": 77}


def test_a_key_has_one_lease(run: Any) -> None:
    run("grant", 7, 10)
    run("grant", 8, 10)
    run("put", b"a", b"x", 7)
    run("put", b"a", b"x", 8)
    assert run.query("lease", 7)[2] == []
    assert run.query("lease", 8)[2] == [b"a"]
    assert run("revoke", 7) == 3
    assert run.keys(*ALL) == [b"a"]
    run("put", b"b", b"x", 8)
    assert run("revoke", 8) == 5
    assert run.keys(*ALL) == []
    assert [record[3:5] for record, _ in run.query("events", 5)[2]] == [(5, 0), (5, 1)]


def test_a_lease_takes_no_key_that_came_again_without_it(run: Any) -> None:
    run("grant", 7, 10)
    run("put", b"a", b"x", 7)
    run("delete", b"a")
    run("put", b"a", b"x")
    assert run.query("lease", 7)[2] == []
    run("revoke", 7)
    assert run.keys(*ALL) == [b"a"]


def test_a_tick_ends_each_lease_in_a_revision_of_its_own(run: Any) -> None:
    run("grant", 7, 2)
    run("grant", 8, 2)
    run("put", b"a", b"x", 8)
    run("put", b"b", b"x", 7)
    for _ in range(8):
        run("tick", 1)
    assert run.query("status")["revision"] == 5
    assert run.query("leases") == []
    assert [record[0] for record, _ in run.query("events", 4)[2]] == [b"b", b"a"]


# ------------------------------------------------------------------ ranges


@pytest.mark.parametrize(
    ("key", "end", "found"),
    [
        (b"b", b"", b"b"),
        (b"bb", b"", b""),
        (b"b", b"d", b"bc"),
        (b"b", b"d\0", b"bcd"),
        (b"bb", b"\0", b"cde"),
        (b"\0", b"\0", b"abcde"),
        (b"b", b"b", b""),
        (b"x", b"\0", b""),
    ],
)
def test_ranges(five: Any, key: bytes, end: bytes, found: bytes) -> None:
    assert b"".join(five.keys(key, end)) == found
    assert five.query("count", key, end) == [6, len(found)]
    assert five.query("range", key, end)[1] == len(found)


def test_the_count_of_a_range_ignores_limit_and_filters(five: Any) -> None:
    assert five.query("range", *ALL, 2)[1:3] == [5, True]
    assert five.query("range", *ALL, 5)[1:3] == [5, False]
    assert five.query("range", *ALL, 0, 0, None, [3, 4, 0, 0])[1:3] == [5, False]
    assert five.keys(*ALL, 0, 0, None, [3, 4, 0, 0]) == [b"a", b"e"]
    assert five.keys(*ALL, 1, 0, None, [3, 4, 0, 0]) == [b"a"]
    assert five.query("range", *ALL, 1, 0, None, [3, 4, 0, 0])[2] is True
    assert five.query("range", *ALL, 2, 0, None, None, 2)[1:] == [5, False, []]


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ([0, 0], b"abcde"),
        ([0, 1], b"abcde"),
        ([0, 2], b"edcba"),
        ([2, 0], b"caebd"),
        ([2, 1], b"caebd"),
        ([3, 2], b"dbeac"),
        ([4, 1], b"ceadb"),
        ([1, 2], b"abcde"),
    ],
)
def test_sorted_ranges(five: Any, sort: list[int], order: bytes) -> None:
    assert b"".join(five.keys(*ALL, 0, 0, sort)) == order
    # Everything is sorted before it is limited.
    assert b"".join(five.keys(*ALL, 2, 0, sort)) == order[:2]


def test_keys_alone(five: Any) -> None:
    assert five.query("range", b"a", b"", 0, 0, None, None, 1)[3] == [(b"a", b"", 3, 3, 0, 1, 0)]


def test_a_range_of_limited_size_goes_on(five: Any) -> None:
    assert five.query("range", *ALL, 0, 0, None, None, 0, 1)[1:3] == [5, True]
    assert len(five.query("range", *ALL, 0, 0, None, None, 0, 300)[3]) == 2
    assert five.query("range", *ALL, 0, 0, None, None, 0, 10_000)[2] is False


def test_old_revisions(five: Any) -> None:
    five("delete", *ALL)
    five("put", b"a", b"new")
    assert five.keys(*ALL) == [b"a"]
    assert five.keys(*ALL, 0, 4) == [b"a", b"c", b"e"]
    assert [five.query("count", *ALL, at)[1] for at in range(1, 9)] == [0, 1, 2, 3, 4, 5, 0, 1]
    assert five.query("range", b"a", b"", 0, 6)[3][0][1] == b"3"


def test_a_count_of_the_past_takes_back_the_few_events_since(run: Any) -> None:
    for number in range(200):
        run("put", b"k%03d" % number, b"")
    at = run.query("status")["revision"]
    run("delete", b"k000", b"k010")
    run("put", b"k005", b"again")
    run("put", b"new", b"")
    run("put", b"k150", b"changed")
    assert run.query("count", *ALL)[1] == 192
    assert run.query("count", *ALL, at)[1] == 200
    assert run.query("count", b"k", b"k005", at)[1] == 5
    assert run.query("count", b"k005", b"k006", at)[1] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([b""], "key is b''"),
        ([b"b", b"a"], r"range from b'b' to b'a' is reversed"),
        ([b"b", "c"], "end of the range from b'b' is 'c'"),
        ([b"b", b"", -1], "limit of a range is -1"),
        ([b"b", b"", 0, -1], "revision of a range is -1"),
        ([b"b", b"", 0, 0, [5, 0]], r"sort of a range is \[5, 0\]"),
        ([b"b", b"", 0, 0, [1, 3]], "sort of a range"),
        ([b"b", b"", 0, 0, 1], "sort of a range is 1"),
        ([b"b", b"", 0, 0, None, [1]], r"filters of a range are \[1\]"),
        ([b"b", b"", 0, 0, None, [1, -1, 0, 0]], "filter of a range is -1"),
        ([b"b", b"", 0, 0, None, None, 4], "flags of a range is 4; accepted: a number of 0 to 3"),
        ([b"b", b"", 0, 0, None, None, 0, -5], "size of a range is -5"),
    ],
)
def test_bad_ranges(run: Any, arguments: list[Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        run.query("range", *arguments)
    with pytest.raises(InvalidArgument, match=message):
        run("txn", [], [], [[0, *arguments]])


def test_revisions_that_cannot_be_read(five: Any) -> None:
    five("compact", 4)
    for query, arguments in (("range", [*ALL, 0]), ("count", ALL), ("hash", [])):
        with pytest.raises(Compacted) as old:
            five.query(query, *arguments, 3)
        assert old.value.data == {"revision": 3, "compacted": 4}
        with pytest.raises(FutureRevision) as new:
            five.query(query, *arguments, 7)
        assert new.value.data == {"revision": 7, "current": 6}
        five.query(query, *arguments, 4)
    with pytest.raises(Compacted):
        five.query("events", 3)
    with pytest.raises(Compacted):
        five.query("changes", 3)
    with pytest.raises(FutureRevision):
        five("txn", [], [[1, b"x", b"", 0, 0], [0, *ALL, 0, 7]], [])


def test_a_transaction_reads_the_revision_before_it(five: Any) -> None:
    answer = five("txn", [], [[1, b"x", b"", 0, 0], [0, *ALL, 0, 6], [0, *ALL]], [])
    assert [len(read[3]) for read in answer[2][1:]] == [5, 6]


# ------------------------------------------------------------------ further rules


def test_a_key_with_one_version_is_nothing_to_the_garbage_collector(run: Any) -> None:
    for number in range(3_000):
        run("put", b"k%d" % number, b"v")
    gc.collect()
    records = list(run.service._keyspace.index._keys.values())
    assert not any(map(gc.is_tracked, records))


def test_all_modules_of_the_store_count_as_its_code() -> None:
    package = Path(store.__file__).parent
    modules = {f"{store.__name__}.{path.stem}" for path in package.glob("*.py")}
    through_classes = {f"{store.__name__}.__init__", f"{store.__name__}.lease_commands"}
    of_no_command = {f"{store.__name__}.contents"}  # it fills a store from outside
    assert set(StoreService.code_modules) == modules - through_classes - of_no_command


def test_errors_cross_the_wire_as_they_are() -> None:
    kinds = [AnswerTooLarge, Compacted, DuplicateKey, FutureRevision, KeyNotFound, NoSpace]
    for kind in [*kinds, TooManyOps]:
        error: BraftError = kind("what is wrong", revision=3)
        again = from_wire(*to_wire(error))
        assert type(again) is kind
        assert isinstance(again, Rejected)
        assert again.data == {"revision": 3}
