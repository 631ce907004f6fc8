"""Compaction, events, quota and alarms of the store."""

from __future__ import annotations

import random
from typing import Any

import pytest

from braft_core.errors import (
    Compacted,
    FutureRevision,
    InvalidArgument,
    NoSpace,
)
from braft_core.services.store import StoreService

ALL = [b"\0", b"\0"]


# ------------------------------------------------------------------ compaction and events


def test_compaction_keeps_what_can_be_seen(run: Any) -> None:
    run("put", b"a", b"1")  # 2
    run("put", b"a", b"2")  # 3
    run("put", b"b", b"1")  # 4
    run("delete", b"b")  # 5
    run("put", b"a", b"3")  # 6
    assert run("compact", 5) == 5
    assert run.query("range", *ALL, 0, 5)[3] == [(b"a", b"2", 2, 3, 0, 2, 0)]
    # The events at the compaction itself stay.
    assert [record[:2] for record, _ in run.query("events", 5)[2]] == [(b"b", None), (b"a", b"3")]
    assert len(run.service._keyspace.index._keys[b"b"]) == 7
    run("compact", 6)
    assert b"b" not in run.service._keyspace.index._keys
    assert run.query("events", 6)[2] == [[(b"a", b"3", 2, 6, 0, 3, 0), None]]


def test_what_cannot_be_compacted(run: Any) -> None:
    run("put", b"a", b"1")
    run("compact", 2)
    for revision in (0, 1, 2):
        with pytest.raises(Compacted) as old:
            run("compact", revision)
        assert old.value.data == {"revision": revision, "compacted": 2}
    with pytest.raises(FutureRevision):
        run("compact", 3)
    with pytest.raises(InvalidArgument):
        run("compact", -1)
    with pytest.raises(InvalidArgument):
        run("compact", "2")


def test_a_large_compaction_is_done_in_steps_and_seen_at_once(run: Any) -> None:
    many = 20_000
    for number in range(many):
        run("put", b"k", b"%d" % number)
    size = run.query("status")["size"]
    run("compact", many + 1)
    keyspace = run.service._keyspace
    assert run.query("status")["size"] == 256 + 1 + 5 < size
    assert keyspace.history.has_garbage
    whole = run.snapshot()
    other = StoreService()
    other.restore(iter([whole]))
    assert other.query("status", []) == run.query("status")
    assert other.query("hash", []) == run.query("hash")
    for number in range(many // 50):
        run("put", b"other", b"%d" % number)
        other.apply("put", [b"other", b"%d" % number], None)  # type: ignore[arg-type]
    assert not keyspace.history.has_garbage
    assert keyspace.index._keys[b"k"][0] == b"k"
    assert b"".join(other.snapshot()) == run.snapshot()


@pytest.mark.parametrize("seed", range(4))
def test_the_size_is_that_of_what_is_kept_after_each_compaction(run: Any, seed: int) -> None:
    rng = random.Random(seed)
    for number in range(1_500):
        key = b"k%d" % rng.randrange(20)
        if rng.random() < 0.3:
            run("delete", key, b"z" if rng.random() < 0.1 else b"")
        else:
            run("put", key, b"v" * rng.randrange(50))
        if rng.random() < 0.02:
            status = run.query("status")
            run("compact", rng.randrange(status["compacted"] + 1, status["revision"] + 1))
        if number % 50 == 0:
            other = StoreService()
            other.restore(run.service.snapshot())
            # It adds up the records that it reads.
            assert other.query("status", []) == run.query("status")
            assert other.query("hash", []) == run.query("hash")


def test_events_go_on_where_the_last_answer_ended(run: Any) -> None:
    for number in range(10):
        run("txn", [], [[1, b"%d" % each, b"%d" % number, 0, 0] for each in range(5)], [])
    begin, seen = 1, []
    while True:
        revision, following, events = run.query("events", begin, 600)
        if not events:
            break
        assert len(events) % 5 == 0
        seen += [record for record, _ in events]
        begin = following
    assert (revision, following, len(seen)) == (11, 12, 50)
    assert seen == sorted(seen, key=lambda record: record[3:5])
    # From the future: nothing, and nothing below it either.
    assert run.query("events", 99) == [11, 99, []]


def test_events_show_what_was_replaced(run: Any) -> None:
    run("put", b"a", b"1")
    run("put", b"a", b"2")
    run("delete", b"a")
    _, _, events = run.query("events", 3, 1 << 20, True)
    one, two = (b"a", b"1", 2, 2, 0, 1, 0), (b"a", b"2", 2, 3, 0, 2, 0)
    assert events == [[two, one], [(b"a", None, 0, 4, 0, 0, 0), two]]


# ------------------------------------------------------------------ quota and alarms


def test_the_quota_refuses_puts_and_nothing_else(run: Any) -> None:
    run("configure", 1_000)
    run("put", b"a", b"x" * 200)
    before = run.snapshot()
    for command, arguments in (
        ("put", [b"b", b"x" * 400]),
        ("txn", [[], [[2, b"a", b"", 0], [1, b"b", b"x" * 400, 0, 0]], []]),
    ):
        with pytest.raises(NoSpace) as caught:
            run(command, *arguments)
        assert caught.value.data == {"size": 457, "added": 657, "limit": 1_000}
    assert run.snapshot() == before
    run("delete", b"a")
    run("compact", 3)
    assert run("put", b"b", b"x" * 400)[0] == 4
    assert run("configure", 0) == 0
    with pytest.raises(NoSpace):
        run("put", b"b", b"", 0, 2)


def test_a_value_that_is_kept_counts_for_the_quota(run: Any) -> None:
    run("configure", 1_000)
    run("put", b"a", b"x" * 400)
    with pytest.raises(NoSpace) as caught:
        run("put", b"a", b"", 0, 2)
    assert caught.value.data == {"size": 657, "added": 657, "limit": 1_000}


def test_an_alarm_stops_puts_until_it_is_taken_back(run: Any) -> None:
    assert run("alarm", 1, 0, 1) == [[0, 1]]
    assert run("alarm", 1, 7, 2) == [[7, 2]]
    assert run("alarm", 0) == [[0, 1], [7, 2]]
    assert run.query("status")["alarms"] == [[0, 1], [7, 2]]
    with pytest.raises(NoSpace, match="NOSPACE"):
        run("put", b"a", b"")
    assert run("delete", b"a")[1] == 0
    # The answer is what was taken back.
    assert run("alarm", 2, 0, 1) == [[0, 1]]
    assert run("alarm", 2, 0, 1) == []
    assert run("put", b"a", b"")[0] == 2
    assert run("alarm", 2) == [[7, 2]]


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("alarm", [3]),
        ("alarm", [1, 0, 0]),
        ("alarm", [1, 0, 3]),
        ("alarm", [1, -1, 1]),
        ("configure", [-1]),
        ("configure", ["1"]),
        ("configure", [10, 2]),
        ("announce", ["id", "name", "url"]),
        ("announce", ["id", 5, []]),
        ("announce", ["id", "name", ["x" * 5_000]]),
        ("delete", [b""]),
        ("delete", [b"b", b"a"]),
        ("delete", [b"b", b"", 2]),
    ],
)
def test_bad_arguments(run: Any, command: str, arguments: list[Any]) -> None:
    before = run.snapshot()
    with pytest.raises(InvalidArgument):
        run(command, *arguments)
    assert run.snapshot() == before


def test_addresses_are_noted_and_removed(run: Any) -> None:
    assert run("announce", "one", "a", ["http://a"]) == 1
    assert run("announce", "one", "b", ["http://b"]) == 1
    assert run("announce", "two", "c", ["http://c"]) == 2
    assert run.query("members") == [["one", "b", ["http://b"]], ["two", "c", ["http://c"]]]
    assert run("announce", "one", "", []) == 1


def test_a_piece_splits_only_what_is_larger_than_it(run: Any) -> None:
    run("put", b"a", b"1")  # 2
    run("txn", [], [[1, b"%d" % number, b"", 0, 0] for number in range(9)], [])  # 3
    run("put", b"b", b"1")  # 4
    place, pieces = [1, 0], []
    while True:
        revision, place, events = run.query("changes", *place, 600)
        if not events:
            break
        pieces.append([record[3:5] for record, _ in events])
    # 600 bytes are three events; the revision with nine of them is cut when it has twice that.
    assert pieces == [
        [(2, 0), *((3, sub) for sub in range(4))],
        [(3, sub) for sub in range(4, 9)],
        [(4, 0)],
    ]
    assert (revision, place) == (4, [5, 0])


def test_what_the_events_of_the_compaction_replaced_is_not_shown(run: Any) -> None:
    run("put", b"a", b"1")
    run("put", b"a", b"2")
    run("put", b"a", b"3")
    # A capture keeps the versions from being dropped.
    capture = run.service.snapshot()
    run("compact", 3)
    assert [previous for _, previous in run.query("changes", 3)[2]] == [
        None,
        (b"a", b"2", 2, 3, 0, 2, 0),
    ]
    assert run.query("events", 3, 1000, True)[2] == run.query("changes", 3)[2]
    assert capture.next(1)
