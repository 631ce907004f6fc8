"""Locks: one holder at a time, tokens that rise, and what is left of one that was lost."""

# ruff: noqa: PT012, ASYNC110 - bodies of statements are tested; a count of keys has no event

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import wraps
from typing import Any

import pytest

from braft_core import Node
from braft_core.errors import (
    BraftError,
    InvalidArgument,
    InvalidRequest,
    LeaseLost,
    LockLost,
    NotAcquired,
)
from braft_core.recipes import Lock
from braft_core.recipes.line import line_of
from braft_core.store import Get, Key, Put
from braft_testing.internals import internals
from braft_testing.processes import PATIENCE, wait_for

PREFIX = "_braft/lock/"


def on_loop(test: Callable[[Node], Coroutine[Any, Any, None]]) -> Callable[[Node], None]:
    """Run the test in its own event loop."""

    @wraps(test)
    def run(node: Node) -> None:
        asyncio.run(test(node))

    return run


def test_a_statement_holds_a_lock_and_frees_it_at_once(node: Node) -> None:
    with node.lock("one") as first:
        first.check()
        assert 0 < first.remaining <= 10
        entry = node.store.get(first.key)
        assert entry is not None
        assert (entry.key, entry.created) == (first.key, first.token)
        assert first.key == b"_braft/lock/one/%x" % first.lease.id
        with pytest.raises(NotAcquired, match="'one' was not acquired within 0 s: lease") as caught:
            node.lock("one", wait=0).acquire()
        assert caught.value.data == {"name": "one", "wait": 0.0}
        with node.lock("another", wait=0):
            pass
    assert node.store.get(first.key) is None
    with node.lock("one", wait=0) as second:
        assert second.token > first.token
    assert not second.lost.is_set()
    with pytest.raises(InvalidRequest, match="is not held"):
        second.check()
    with pytest.raises(InvalidRequest, match="was used before"):
        second.acquire()


def test_the_first_who_asks_gets_it_first(node: Node) -> None:
    order: list[int] = []
    threads = []

    def take(number: int) -> None:
        with node.lock("queue") as lock:
            order.append(number)
            tokens.append(lock.token)

    tokens: list[int] = []
    with node.lock("queue"):
        for number in range(4):
            thread = threading.Thread(target=take, args=(number,))
            thread.start()
            threads.append(thread)
            wait_for(lambda n=number: node.store.count(PREFIX) == n + 2, PATIENCE, "it waits")  # type: ignore[misc]
    for thread in threads:
        thread.join(PATIENCE)
    assert order == [0, 1, 2, 3]
    assert tokens == sorted(tokens)


@on_loop
async def test_tasks_take_turns(node: Node) -> None:
    inside = 0

    async def work() -> int:
        nonlocal inside
        async with node.lock("turns") as lock:
            inside += 1
            assert inside == 1
            await asyncio.sleep(0)
            inside -= 1
            return lock.token

    tokens = await asyncio.gather(*(work() for _ in range(6)))
    assert len(set(tokens)) == 6


@on_loop
async def test_a_wait_ends_in_time(node: Node) -> None:
    async with node.lock("busy"):
        with pytest.raises(NotAcquired, match=r"within 0\.05 s"):
            await node.lock("busy", wait=0.05).aacquire()
        await node.store.aput("other", b"")


@on_loop
async def test_one_in_the_middle_of_the_line_leaves_without_harm(node: Node) -> None:
    lock = await node.lock("middle").aacquire()
    waiting = [asyncio.create_task(node.lock("middle").aacquire())]
    while await node.store.acount(PREFIX) < 2:
        await asyncio.sleep(0)
    waiting.append(asyncio.create_task(node.lock("middle").aacquire()))
    while await node.store.acount(PREFIX) < 3:
        await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.wait(waiting[:1])
    await asyncio.sleep(0.05)
    assert not waiting[1].done()  # the one before it went, not the holder
    await lock.arelease()
    last = await asyncio.wait_for(waiting[1], PATIENCE)
    await last.arelease()


@on_loop
async def test_the_body_is_cancelled_when_the_lock_is_lost(node: Node) -> None:
    lock = node.lock("lost")
    with pytest.raises(LockLost, match="'lost' is lost") as caught:
        async with lock:
            node.store.leases.revoke(lock.lease.id)
            lock.lease.lose("it has expired or was revoked")
            await asyncio.sleep(PATIENCE)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)
    assert caught.value.data == {"name": "lost", "token": lock.token, "lease": lock.lease.id}
    assert isinstance(caught.value, LeaseLost)


@on_loop
async def test_a_loss_strikes_only_the_body(node: Node) -> None:
    """Also where it comes with the body's last step, or the body handles it."""
    with pytest.raises(LockLost):
        async with node.lock("late") as lock:
            lock.lease.lose("a test")
    await asyncio.sleep(0)
    with pytest.raises(LockLost):
        async with node.lock("late") as lock:
            lock.lease.lose("a test")
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(PATIENCE)
    await asyncio.sleep(0)
    with pytest.raises(ValueError, match="of the body"):
        async with node.lock("late") as lock:
            lock.lease.lose("a test")
            try:
                await asyncio.sleep(PATIENCE)
            finally:
                raise ValueError("of the body")
    await asyncio.sleep(0)
    reached = False
    with pytest.raises(LockLost):
        async with node.lock("late", cancel=False) as lock:
            lock.lease.lose("a test")
            await lock.lost
            await asyncio.sleep(0)
            reached = True
    assert reached


@on_loop
async def test_a_cancellation_from_elsewhere_goes_on(node: Node) -> None:
    entered = asyncio.Event()

    async def work(lose: bool) -> None:
        async with node.lock("outer") as lock:
            entered.set()
            try:
                await asyncio.sleep(PATIENCE)
            finally:
                if lose:
                    lock.lease.lose("a test")
                    with suppress(asyncio.CancelledError):
                        await asyncio.sleep(0.01)

    for lose in (False, True):
        entered.clear()
        task = asyncio.create_task(work(lose))
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()


@on_loop
async def test_cancelled_at_any_step_it_leaves_nothing(node: Node) -> None:
    """Each run is cancelled some turns of the loop later than the one before."""
    tasks = asyncio.all_tasks()
    for contended in (False, True):
        holder = node.lock("cancelled")
        if contended:
            await holder.aacquire()
        turns = 0
        while True:
            task = asyncio.create_task(_hold(node.lock("cancelled")))
            for _ in range(turns):
                await asyncio.sleep(0)
            if contended and turns > 30:
                await holder.arelease()
                await task
                break
            if task.done():
                break
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            turns += 3
        assert asyncio.all_tasks() == tasks
        while await node.store.acount("_braft/") or await node.store.leases.aids():
            await asyncio.sleep(0.001)
    assert not internals(node).server.watchers._watchers


async def _hold(lock: Lock) -> None:
    async with lock:
        await asyncio.sleep(0)


def test_a_thread_is_told_of_the_loss(node: Node) -> None:
    told: list[BraftError] = []
    with pytest.raises(LockLost, match="a test"), node.lock("thread") as lock:
        lock.on_lost(told.append)
        assert not lock.lost.wait(0)
        lock.lease.lose("a test")
        assert lock.lost.wait(0)
        lock.check()
    wait_for(lambda: told, PATIENCE, "the callback was called")
    assert isinstance(told[0], LockLost)
    with pytest.raises(LockLost), node.lock("thread") as lock:
        lock.lease.lose("a test")
    with pytest.raises(KeyError), node.lock("thread") as lock:
        lock.lease.lose("a test")
        raise KeyError


def test_writes_of_a_former_holder_are_refused(node: Node) -> None:
    store = node.store
    with node.lock("fence") as lock:
        revision = store.put("x", b"1", if_held=lock)
        assert store.get("x").revision == revision  # type: ignore[union-attr]
        done = store.txn([Key("x").value == b"1"], [Put("x", b"2"), Get("x")], if_held=lock)
        assert done
        assert done.answers[1].value == b"2"  # type: ignore[union-attr]
        other = store.txn([Key("x").value == b"1"], [], [Get("x")], if_held=lock)
        assert not other
        assert other.answers[0].value == b"2"  # type: ignore[union-attr]
        assert store.delete("x", if_held=lock) == 1
        assert store.delete("x", if_held=lock) == 0
    with node.lock("fence") as later:
        for write in (
            lambda: store.put("x", b"3", if_held=lock),
            lambda: store.delete("x", if_held=lock),
            lambda: store.txn([], [Put("x", b"3")], if_held=lock),
        ):
            with pytest.raises(LockLost, match="a later holder"):
                write()
        store.put("x", b"4", if_held=later)
    assert store.get("x").value == b"4"  # type: ignore[union-attr]
    store.delete("x")
    with pytest.raises(InvalidRequest, match="not acquired yet"):
        store.put("x", b"5", if_held=node.lock("fence"))


@on_loop
async def test_a_refused_write_reports_the_loss(node: Node) -> None:
    with pytest.raises(LockLost):
        async with node.lock("broken") as lock:
            await node.store.aput("x", b"1", if_held=lock)
            await node.store.adelete(lock.key)  # an operator breaks the lock
            try:
                await node.store.aput("x", b"2", if_held=lock)
            except LockLost:
                assert lock.lost.is_set()
                raise
    assert (await node.store.aget("x")).value == b"1"  # type: ignore[union-attr]
    assert await node.store.adelete("x") == 1


def test_a_lease_that_ends_in_the_line_ends_the_wait(node: Node) -> None:
    with node.lock("line"):
        waiting = node.lock("line")
        threading.Timer(0.05, waiting.lease.lose, ["a test"]).start()
        with pytest.raises(NotAcquired, match="its lease ended while it waited"):
            waiting.acquire()


@pytest.mark.parametrize("name", ["", "x" * 513, b"bytes", 7, None, "\ud800"])
def test_a_name_is_text(node: Node, name: Any) -> None:
    with pytest.raises(
        InvalidArgument, match=r"the name for lock is .*; accepted: text of 1 to 512"
    ):
        node.lock(name)


@pytest.mark.parametrize("ttl", [0, -1, 10**12, "10", None, float("nan"), True])
def test_a_ttl_is_a_number_of_seconds(node: Node, ttl: Any) -> None:
    with pytest.raises(InvalidArgument, match="the ttl of a lease is"):
        node.lock("ttl", ttl=ttl).acquire()


@pytest.mark.parametrize("wait", [-1, "5", float("nan"), True])
def test_a_wait_is_a_number_of_seconds(node: Node, wait: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"wait is .*; accepted: seconds from 0"):
        node.lock("wait", wait=wait)


def test_names_with_slashes_are_names_of_their_own() -> None:
    names = ["a", "a/b", "a%2Fb", "a%", "ä"]
    lines = [line_of("lock", name) for name in names]
    assert len(set(lines)) == len(lines)
    for line in lines:
        assert not [other for other in lines if other != line and other.startswith(line)]
