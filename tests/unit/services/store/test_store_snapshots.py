"""Snapshots of the store: captured at once, written in slices, and refused if they are none."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest

from braft_core.errors import (
    DecodeError,
)
from braft_core.services.store import StoreService

ALL = [b"\0", b"\0"]


# ------------------------------------------------------------------ snapshots


def filled(run: Any) -> Any:
    run("grant", 7, 60)
    for number in range(5_000):
        run("put", b"k%d" % number, b"v" * 20, 7 if number % 10 == 0 else 0)
    for number in range(100):
        run("put", b"hot", b"%d" % number)
    run("delete", b"k1", b"k2")
    return run


def test_a_snapshot_comes_in_small_slices_and_shows_its_revision(run: Any) -> None:
    filled(run)
    revision, want = run.query("status")["revision"], run.snapshot()
    capture = run.service.snapshot()
    first = capture.next(1 << 18)
    run("delete", *ALL)
    run("put", b"a", b"later")
    run("compact", revision + 2)
    run("put", b"k1", b"later")
    assert run.query("count", *ALL)[1] == 2
    slices = [first, *capture]
    assert b"".join(slices) == want
    assert len(slices) > 3
    # The versions go once nothing needs them.
    keyspace = run.service._keyspace
    assert len(keyspace.index._keys) > 5_000
    for number in range(200):
        run("put", b"a", b"%d" % number)
    assert len(keyspace.index._keys) == 2


def test_many_versions_of_one_key_come_in_several_slices(run: Any) -> None:
    for number in range(8_000):
        run("put", b"hot", b"%d" % number)
    whole, sizes = run.snapshot(), []
    capture = run.service.snapshot()
    run("put", b"hot", b"later")
    while (piece := capture.next(10_000)) is not None:
        sizes.append(len(piece))
        run("put", b"hot", b"later still")
    assert sum(sizes) == len(whole)
    assert len(sizes) > 20
    assert max(sizes[1:]) < 10_000


def test_a_capture_that_is_dropped_holds_nothing(run: Any) -> None:
    filled(run)
    capture = run.service.snapshot()
    capture.next(1)
    del capture
    gc.collect()
    run("delete", *ALL)
    run("put", b"a", b"")
    run("compact", run.query("status")["revision"])
    for _ in range(200):
        run("put", b"a", b"")
    assert len(run.service._keyspace.index._keys) == 1


def test_a_restore_leaves_a_capture_as_it_is(run: Any) -> None:
    filled(run)
    want, capture = run.snapshot(), run.service.snapshot()
    begun = capture.next(1)
    run.service.restore(StoreService().snapshot())
    run("put", b"k3", b"other")
    assert b"".join([begun, *capture]) == want


def _snapshot(*records: Any, count: int | None = None, **head: Any) -> Iterator[bytes]:
    values = [
        {
            "format": 1,
            "revision": 9,
            "compacted": 3,
            "quota": 1 << 20,
            "clock": [0, 0, 0, 0],
            "alarms": [],
            "members": [],
            **head,
        },
        *records,
        len(records) if count is None else count,
    ]
    return iter([b"".join(map(msgpack.packb, values))])


RECORD = [b"a", b"x", 2, 5, 0, 2, 0]


@pytest.mark.parametrize(
    ("records", "head"),
    [
        ([RECORD], {"revision": 4}),
        ([RECORD], {"compacted": 10}),
        ([RECORD], {"quota": -1}),
        ([RECORD], {"format": 2}),
        ([RECORD], {"clock": None}),
        ([RECORD], {"alarms": [[0, 9]]}),
        ([RECORD], {"alarms": [[0]]}),
        ([RECORD], {"members": None}),
        ([RECORD], {"members": [["a", "b", "c"]]}),
        ([RECORD, RECORD], {}),
        ([[b"b", *RECORD[1:]], RECORD], {}),
        ([[*RECORD[:6], 7]], {}),
        ([["a", *RECORD[1:]]], {}),
        ([[b"", *RECORD[1:]]], {}),
        ([[b"a", b"x", 6, 5, 0, 1, 0]], {}),
        ([[b"a", b"x", 5, 5, 0, 0, 0]], {}),
        ([[b"a", b"x", 5, 5, 0, 2, 0]], {}),
        ([[b"a", b"x", 4, 5, 0, 1, 0]], {}),
        ([[b"a", None, 1, 5, 0, 0, 0]], {}),
        ([[b"a", None, 0, 10, 0, 0, 0]], {}),
        ([[7, 1, 1], RECORD], {}),
        ([[7, 60_000_000_000, 5], [7, 60_000_000_000, 5]], {}),
        ([RECORD, 5], {}),
        ([RECORD[:5]], {}),
        ([RECORD], {"count": 2}),
        ([RECORD, 1], {}),
    ],
)
def test_what_is_no_snapshot_is_refused(records: list[Any], head: dict[str, Any]) -> None:
    for read in (StoreService().check_snapshot, StoreService().restore):
        with pytest.raises(DecodeError, match=r"store|leases"):
            read(_snapshot(*records, **head))


def test_a_snapshot_is_read_in_any_pieces() -> None:
    whole = b"".join(_snapshot([7, 60_000_000_000, 5], [*RECORD[:6], 7]))
    store = StoreService()
    store.restore(whole[at : at + 1] for at in range(len(whole)))
    assert store.query("lease", [7])[2] == [b"a"]
    for end in range(len(whole)):
        with pytest.raises(DecodeError):
            store.check_snapshot(iter([whole[:end]]))
    for junk in (b"", b"\xc1", whole + b"\xc1", whole + whole):
        with pytest.raises(DecodeError):
            store.check_snapshot(iter([junk]))
