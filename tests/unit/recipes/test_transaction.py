"""Transactions of functions: one step each, whatever others do meanwhile."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from braft_core import Node
from braft_core.errors import (
    Conflict,
    InvalidArgument,
    InvalidRequest,
    LockLost,
    TooManyOps,
)
from braft_core.recipes import Transaction
from braft_core.store import Put


@pytest.fixture(autouse=True)
def _empty(node: Node) -> Any:
    yield
    node.store.delete(prefix="t/")


def test_writes_are_one_revision(node: Node) -> None:
    node.store.put("t/old", b"1")

    def work(t: Transaction) -> str:
        assert t.get("t/old") == b"1"
        assert t.get("t/new") is None
        t.put("t/new", "x")
        t.delete("t/old")
        assert t.get("t/new") == b"x"
        assert t.get("t/old") is None
        t.put(b"t/other", b"y")
        return "done"

    before = node.store.status().revision
    assert node.transaction(work) == "done"
    entries = {entry.key: entry for entry in node.store.scan("t/")}
    assert {key: entry.value for key, entry in entries.items()} == {
        b"t/new": b"x",
        b"t/other": b"y",
    }
    assert {entry.revision for entry in entries.values()} == {before + 1}


def test_all_reads_show_one_revision(node: Node) -> None:
    node.store.txn(then=[_put("t/a", 1), _put("t/b", 1)])
    seen: list[tuple[Any, Any]] = []

    def work(t: Transaction) -> None:
        first = t.get("t/a")
        if not seen:
            node.store.txn(then=[_put("t/a", 2), _put("t/b", 2)])
        seen.append((first, t.get("t/b")))
        t.put("t/sum", b"")

    node.transaction(work)
    assert seen == [(b"1", b"1"), (b"2", b"2")]
    seen.clear()
    node.transaction(lambda t: seen.append((t.get("t/a"), t.get("t/missing"))))
    assert seen == [(b"2", None)]


@pytest.mark.parametrize("missing", [False, True])
def test_a_change_of_what_was_read_repeats_it(node: Node, missing: bool) -> None:
    if not missing:
        node.store.put("t/x", b"0")
    calls = 0

    def work(t: Transaction) -> None:
        nonlocal calls
        calls += 1
        t.get("t/x")
        if calls < 3:
            node.store.put("t/x", b"%d" % calls)
        t.put("t/y", b"%d" % calls)

    node.transaction(work)
    assert calls == 3
    assert node.store.get("t/y").value == b"3"  # type: ignore[union-attr]
    calls = 0
    with pytest.raises(Conflict, match="in each of 2 attempts") as caught:
        node.transaction(work, attempts=2)
    assert caught.value.data == {"attempts": 2}


def test_counting_by_many_loses_nothing(node: Node) -> None:
    def count(t: Transaction) -> None:
        t.put("t/n", b"%d" % (int(t.get("t/n") or b"0") + 1))

    async def acount(t: Transaction) -> None:
        t.put("t/n", b"%d" % (int(await t.aget("t/n") or b"0") + 1))

    async def many() -> None:
        await asyncio.gather(*(node.atransaction(acount, attempts=100) for _ in range(5)))

    threads = [
        threading.Thread(target=node.transaction, args=(count,), kwargs={"attempts": 100})
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    asyncio.run(many())
    for thread in threads:
        thread.join()
    assert node.store.get("t/n").value == b"8"  # type: ignore[union-attr]


def test_an_error_of_the_function_writes_nothing(node: Node) -> None:
    kept: list[Transaction] = []

    def work(t: Transaction) -> None:
        kept.append(t)
        t.put("t/x", b"1")
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        node.transaction(work)
    assert node.store.get("t/x") is None
    node.transaction(kept.append)
    with pytest.raises(InvalidRequest, match="has ended"):
        kept[-1].put("t/x", b"1")


def test_a_fenced_transaction_is_refused_after_the_lock(node: Node) -> None:
    with node.lock("transaction") as lock:
        node.transaction(lambda t: t.put("t/x", b"1"), if_held=lock)
    with pytest.raises(LockLost):
        node.transaction(lambda t: t.put("t/x", b"2"), if_held=lock)
    assert node.store.get("t/x").value == b"1"  # type: ignore[union-attr]


def test_as_many_keys_as_are_accepted(node: Node) -> None:
    def work(t: Transaction, number: int) -> None:
        for key in range(number):
            t.put(f"t/{key}", b"")

    with node.lock("most") as lock:
        node.transaction(lambda t: work(t, 127), if_held=lock)
    assert node.store.count("t/") == 127
    with pytest.raises(TooManyOps, match="more than 127 writes"):
        node.transaction(lambda t: work(t, 128))


def test_what_is_not_accepted_is_named(node: Node) -> None:
    with pytest.raises(InvalidArgument, match="attempts is 0; accepted: a whole number from 1"):
        node.transaction(lambda t: None, attempts=0)
    for wrong in ("", b""):
        with pytest.raises(InvalidArgument, match="the key is empty"):
            node.transaction(lambda t, key=wrong: t.get(key))  # type: ignore[misc]
    with pytest.raises(InvalidArgument, match="the key is 7"):
        node.transaction(lambda t: t.put(7, b""))  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="the value is None"):
        node.transaction(lambda t: t.put("t/x", None))  # type: ignore[arg-type]


KEYS = st.sampled_from(["t/a", "t/b", "t/c"])
STEP = st.tuples(st.sampled_from(["get", "put", "delete"]), KEYS)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(st.lists(STEP, max_size=4), min_size=1, max_size=3),
    between=st.lists(st.tuples(st.integers(0, 3), KEYS), max_size=3),
)
def test_a_transaction_is_like_one_without_others(
    node: Node, steps: list[list[tuple[str, str]]], between: list[tuple[int, str]]
) -> None:
    """Its reads are those of the state before its writes, which others did not change between."""
    node.store.delete(prefix="t/")
    foreign = list(between)
    for number, operations in enumerate(steps):
        reads: dict[str, bytes | None] = {}

        def work(
            t: Transaction,
            operations: list[tuple[str, str]] = operations,
            number: int = number,
            reads: dict[str, bytes | None] = reads,
        ) -> None:
            reads.clear()
            written: dict[str, bytes | None] = {}
            for at, (what, key) in enumerate(operations):
                while foreign and foreign[0][0] == at:
                    node.store.put(foreign.pop(0)[1], b"foreign")
                value = b"%d %d" % (number, at)
                if what == "get":
                    found = t.get(key)
                    if key in written:
                        assert found == written[key]
                    else:
                        reads[key] = found
                elif what == "put":
                    t.put(key, value)
                    written[key] = value
                else:
                    t.delete(key)
                    written[key] = None

        revision = node.store.status().revision
        node.transaction(work)
        puts = {key for what, key in operations if what == "put"}
        made = {entry.revision for entry in node.store.scan("t/") if entry.key.decode() in puts}
        if made and max(made) > revision:
            for key, found in reads.items():
                before = node.store.get(key, at=max(made) - 1)
                assert (before.value if before else None) == found


def _put(key: str, value: int) -> Any:
    return Put(key, b"%d" % value)
