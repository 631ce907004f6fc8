"""Functions that run in one process at a time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from braft_core import Node
from braft_core.errors import (
    BraftError,
    InvalidArgument,
    InvalidRequest,
    LockLost,
    NoLeader,
    NotAcquired,
    OutcomeUnknown,
    Stopped,
)
from braft_core.recipes import Lock
from braft_core.recipes import singletons as recipe
from braft_testing.processes import PATIENCE


def test_a_function_runs_in_one_thread_at_a_time(node: Node) -> None:
    inside: list[int] = []

    def work(lock: Lock) -> int:
        inside.append(lock.token)
        assert len(inside) == 1
        node.store.put("x", b"", if_held=lock)
        inside.remove(lock.token)
        return lock.token

    tokens: list[int] = []
    threads = [
        threading.Thread(target=lambda: tokens.append(node.singleton(work, name="one")))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert tokens == sorted(set(tokens))
    assert len(tokens) == 3
    node.store.delete("x")


def test_it_is_called_again_when_the_lock_was_lost(node: Node) -> None:
    tokens: list[int] = []

    async def work(lock: Lock) -> str:
        tokens.append(lock.token)
        if len(tokens) < 3:
            lock.lease.lose("a test")
            await asyncio.sleep(PATIENCE)
        return "done"

    assert asyncio.run(node.asingleton(work, name="again")) == "done"
    assert len(set(tokens)) == 3
    tokens.clear()

    def plain(lock: Lock) -> str:
        tokens.append(lock.token)
        if len(tokens) < 3:
            lock.lease.lose("a test")
            if len(tokens) == 2:
                lock.check()
        return "done"

    assert node.singleton(plain, name="again") == "done"
    assert len(set(tokens)) == 3


def test_errors_of_the_function_go_on(node: Node) -> None:
    def fail(lock: Lock) -> None:
        raise OutcomeUnknown("mine")

    def lose_another(lock: Lock) -> None:
        raise LockLost("of another lock")

    async def afail(lock: Lock) -> None:
        fail(lock)

    async def alose_another(lock: Lock) -> None:
        lose_another(lock)

    for function, error in ((fail, OutcomeUnknown), (lose_another, LockLost)):
        with pytest.raises(error):
            node.singleton(function, name="fails")
    for afunction, error in ((afail, OutcomeUnknown), (alose_another, LockLost)):
        with pytest.raises(error):
            asyncio.run(node.asingleton(afunction, name="fails"))


def test_a_cancelled_singleton_leaves_the_lock(node: Node) -> None:
    async def cancel() -> None:
        begun = asyncio.Event()

        async def work(lock: Lock) -> None:
            begun.set()
            await asyncio.sleep(PATIENCE)

        task = asyncio.create_task(node.asingleton(work, name="cancelled"))
        await begun.wait()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        async with node.lock("cancelled"):
            pass

    asyncio.run(cancel())


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (NoLeader("x"), True),
        (OutcomeUnknown("x"), True),
        (NotAcquired("x"), True),
        (Stopped("x"), False),
        (InvalidRequest("x"), False),
        (InvalidArgument("x"), False),
    ],
)
def test_what_may_pass_is_waited_for(node: Node, error: BraftError, passes: bool) -> None:
    errors: list[BraftError] = []

    class Failing(Lock):
        def _acquiring(self) -> Any:
            if not errors:
                errors.append(error)
                raise error
            return super()._acquiring()

    def make() -> Lock:
        return Failing(node.store, lambda: 0.0, "failing")

    async def work(lock: Lock) -> str:
        return "done"

    def run() -> None:
        assert recipe.singleton(make, lambda lock: "done", pause=0.001) == "done"

    def arun() -> None:
        assert asyncio.run(recipe.asingleton(make, work, pause=0.001)) == "done"

    calls: list[Callable[[], None]] = [run, arun]
    for call in calls:
        errors.clear()
        if passes:
            call()
        else:
            with pytest.raises(type(error)):
                call()
