"""``node.store`` over the service itself: what is sent, and what callers get."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from braft_core.abc import CommandContext
from braft_core.errors import (
    Compacted,
    DuplicateKey,
    FutureRevision,
    InvalidArgument,
    LeaseNotFound,
)
from braft_core.services.store import StoreService
from braft_core.store import Delete, Entry, Get, Key, Put, Store, Txn, TxnResult


class Caller:
    """A fake node with a real service."""

    staleness = 0.0

    def __init__(self) -> None:
        self.service = StoreService()
        self.queries: list[tuple[Any, ...]] = []
        self.timeouts: list[float | None] = []

    def execute(self, service: str, command: str, *args: Any, timeout: float | None = None) -> Any:
        assert service == "store"
        self.timeouts.append(timeout)
        return self.service.apply(command, args, CommandContext(1, 1, 1))

    async def aexecute(
        self, service: str, command: str, *args: Any, timeout: float | None = None
    ) -> Any:
        return self.execute(service, command, *args, timeout=timeout)

    def query(self, service: str, query: str, *args: Any, **options: Any) -> Any:
        assert service == "store"
        self.queries.append((query, args, options))
        return self.service.query(query, args)

    async def aquery(self, service: str, query: str, *args: Any, **options: Any) -> Any:
        return self.query(service, query, *args, **options)


@pytest.fixture
def caller() -> Caller:
    return Caller()


@pytest.fixture
def store(caller: Caller) -> Store:
    return Store(caller)


def keys(entries: Any) -> list[bytes]:
    return [entry.key for entry in entries]


def test_put_and_get(store: Store) -> None:
    assert store.put("a/1", b"x") == 2
    assert store.put(b"a/1", "y") == 3
    assert store.get("a/1") == Entry(b"a/1", b"y", 3, 2, 2, 0)
    old = store.get("a/1", at=2)
    assert old is not None
    assert old.value == b"x"
    assert store.get("a/1", at=1) is None
    assert store.get("b") is None


def test_async_variants_do_the_same(store: Store) -> None:
    async def calls() -> list[Any]:
        return [
            await store.aput("a", b"x", timeout=3),
            await store.aget("a", at=2, consistency="stale", timeout=4),
            await store.acount("a"),
            await store.atxn(then=[Put("b", b"")]),
            await store.acompact(3),
            [entry.key async for entry in store.scan()],
            await store.adelete(prefix=""),
        ]

    assert asyncio.run(calls()) == [
        2,
        Entry(b"a", b"x", 2, 2, 1, 0),
        1,
        TxnResult(True, 3, [3]),
        3,
        [b"a", b"b"],
        2,
    ]


def test_options_are_passed_on(store: Store, caller: Caller) -> None:
    store.put("a", b"x", timeout=3)
    store.get("a", consistency="stale", timeout=4)
    list(store.scan(consistency="lease", timeout=5))
    store.count(timeout=6)
    assert caller.timeouts == [3]
    assert [options for _, _, options in caller.queries] == [
        {"consistency": "stale", "timeout": 4},
        {"consistency": "lease", "timeout": 5},
        {"consistency": "linearizable", "timeout": 6},
    ]


def test_leases(store: Store, caller: Caller) -> None:
    class Lease:
        id = 7

    with pytest.raises(LeaseNotFound):
        store.put("a", b"", lease=7)
    caller.execute("store", "grant", 7, 60)
    store.put("a", b"", lease=Lease())
    found = store.get("a")
    assert found is not None
    assert found.lease == 7
    store.put("a", b"")
    found = store.get("a")
    assert found is not None
    assert found.lease == 0


@pytest.fixture
def filled(store: Store) -> Store:
    for key in (b"a", b"b/1", b"b/2", b"b/3", b"c", b"\xff", b"\xff\xff1"):
        store.put(key, b"v")
    return store


@pytest.mark.parametrize(
    ("span", "found"),
    [
        ({}, [b"a", b"b/1", b"b/2", b"b/3", b"c", b"\xff", b"\xff\xff1"]),
        ({"prefix": ""}, [b"a", b"b/1", b"b/2", b"b/3", b"c", b"\xff", b"\xff\xff1"]),
        ({"prefix": "b/"}, [b"b/1", b"b/2", b"b/3"]),
        ({"prefix": b"\xff"}, [b"\xff", b"\xff\xff1"]),
        ({"prefix": "x"}, []),
        ({"start": "b/2"}, [b"b/2", b"b/3", b"c", b"\xff", b"\xff\xff1"]),
        ({"end": "b/2"}, [b"a", b"b/1"]),
        ({"start": "b/", "end": "c"}, [b"b/1", b"b/2", b"b/3"]),
    ],
)
def test_ranges(filled: Store, span: dict[str, Any], found: list[bytes]) -> None:
    assert keys(filled.scan(**span)) == found
    assert filled.count(**span) == len(found)
    answer = filled.txn(then=[Get(**(span or {"prefix": b""}))]).answers[0]
    assert keys(answer) == found
    assert filled.delete(**(span or {"prefix": b""})) == len(found)
    assert filled.count() == 7 - len(found)


def test_all_pages_of_a_scan_show_one_revision(filled: Store, caller: Caller) -> None:
    scan = iter(filled.scan(page=2))
    first = next(scan)
    filled.delete(prefix="b/")
    filled.put("a", b"later")
    assert [first.key, *keys(scan)] == [b"a", b"b/1", b"b/2", b"b/3", b"c", b"\xff", b"\xff\xff1"]
    assert [args[3] for _, args, _ in caller.queries] == [0, 8, 8, 8]
    assert keys(filled.scan(page=2)) == [b"a", b"c", b"\xff", b"\xff\xff1"]
    assert keys(filled.scan("b/", at=8, page=1)) == [b"b/1", b"b/2", b"b/3"]


def test_a_scan_ends_where_its_revision_is_compacted(filled: Store) -> None:
    scan = iter(filled.scan(page=2))
    next(scan)
    filled.put("a", b"later")
    filled.compact(9)
    with pytest.raises(Compacted):
        list(scan)
    with pytest.raises(FutureRevision):
        list(filled.scan(at=99))


def test_large_values_make_small_pages(store: Store, caller: Caller) -> None:
    for number in range(6):
        store.put(f"{number}", b"v" * (1 << 20))
    assert len(list(store.scan())) == 6
    assert len(caller.queries) == 3


def test_transactions(store: Store) -> None:
    put = [Put("a", b"1"), Get("a"), Get("missing"), Get(prefix="a"), Delete("x")]
    done = store.txn(when=[Key("a").version == 0], then=put, otherwise=[Get("a")])
    entry = Entry(b"a", b"1", 2, 2, 1, 0)
    assert done == TxnResult(True, 2, [2, entry, None, [entry], 0])
    assert done
    again = store.txn(when=[Key("a").version == 0], then=put, otherwise=[Get("a")])
    assert again == TxnResult(False, 2, [entry])
    assert not again


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        (Key("a").version == 2, True),
        (Key("a").version != 2, False),
        (Key("a").version > 1, True),
        (Key("a").version < 2, False),
        (Key("a").created == 2, True),
        (Key(b"a").revision == 3, True),
        (Key("a").value == "y", True),
        (Key("a").value != b"y", False),
        (Key("a").lease == 0, True),
        (Key("b").value == b"", False),
        (Key(prefix="a").version > 0, True),
        (Key(start="a", end="z").created < 2, False),
        (Key().revision == 3, True),
    ],
)
def test_conditions(store: Store, condition: Any, holds: bool) -> None:
    store.put("a", b"x")
    store.put("a", b"y")
    assert store.txn([condition]).succeeded is holds


def test_a_transaction_within_one(store: Store) -> None:
    inner = Txn([Key("a").version == 0], [Put("b", b"then")], [Put("b", b"else")])
    done = store.txn(then=[Put("a", b""), inner, Txn(then=[Get("b")])])
    assert done.answers[:2] == [2, TxnResult(True, 2, [2])]
    last = done.answers[2]
    assert isinstance(last, TxnResult)
    assert keys(last.answers) == [b"b"]
    with pytest.raises(DuplicateKey):
        store.txn(then=[Put("a", b""), Put("a", b"")])


def test_a_condition_has_no_truth() -> None:
    with pytest.raises(TypeError, match=r"Key\(b'a'\).version == 0 is compared in the cluster"):
        bool(Key("a").version == 0)
    with pytest.raises(TypeError, match=r"Key\(b'b'..b'c'\).value > b'x'"):
        bool(Key(prefix="b").value > "x")
    with pytest.raises(TypeError):
        hash(Key("a").version)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda store: store.put("", b""), "key is b''"),
        (lambda store: store.put(5, b""), "the key is 5; accepted: bytes, or text"),
        (lambda store: store.put("a", 5), "the value is 5"),
        (lambda store: store.put("\ud800", b""), r"the key is '\\ud800'"),
        (lambda store: store.put("a", b"", lease=-1), "lease of a put is -1"),
        (lambda store: store.get(None), "the key is None"),
        (lambda store: store.get("a", at=-1), "revision of a range is -1"),
        (lambda store: store.scan(page=0), "page is 0; accepted: a number of entries from 1"),
        (lambda store: store.scan("a", start="b"), "prefix 'a' is given together with start"),
        (lambda store: store.count(start="b", end="a"), "reversed"),
        (lambda store: store.delete(), "key is None and the range is"),
        (lambda store: store.delete("a", prefix="b"), "key is 'a' and the range is"),
        (lambda store: store.compact(-1), "revision of a compaction is -1"),
        (lambda store: store.txn([Key("a").version == "1"]), "operand of a compare"),
    ],
)
def test_bad_arguments(store: Store, call: Any, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        call(store)
