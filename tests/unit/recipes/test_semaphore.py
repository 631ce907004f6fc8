"""Semaphores: as many holders as there are seats."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from braft_core import Node
from braft_core.errors import InvalidArgument, LockLost, NotAcquired
from braft_testing.processes import PATIENCE


def test_no_more_hold_it_than_there_are_seats(node: Node) -> None:
    inside = most = 0

    async def work() -> None:
        nonlocal inside, most
        async with node.semaphore("seats", 3):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.002)
            inside -= 1

    async def many() -> None:
        await asyncio.gather(*(work() for _ in range(9)))

    asyncio.run(many())
    assert most == 3


def test_any_seat_that_becomes_free_is_taken(node: Node) -> None:
    first = node.semaphore("free", 2).acquire()
    second = node.semaphore("free", 2).acquire()
    with pytest.raises(NotAcquired, match="semaphore 'free' was not acquired within 0 s"):
        node.semaphore("free", 2, wait=0).acquire()

    async def wait() -> None:
        waiting = asyncio.ensure_future(node.semaphore("free", 2).aacquire())
        while len([entry async for entry in node.store.scan("_braft/semaphore/free/")]) < 3:  # noqa: ASYNC110 - keys have no event here
            await asyncio.sleep(0)
        await second.arelease()
        third = await waiting
        assert third.token > second.token
        await third.arelease()

    asyncio.run(wait())
    first.release()


def test_the_body_is_cancelled_when_the_seat_is_lost(node: Node) -> None:
    async def work() -> None:
        async with node.semaphore("lost", 2) as seat:
            seat.lease.lose("a test")
            await asyncio.sleep(PATIENCE)

    with pytest.raises(LockLost, match="semaphore 'lost' is lost"):
        asyncio.run(work())


@pytest.mark.parametrize("seats", [0, -1, 1.5, "3", None, True, 10**9])
def test_the_number_of_seats_is_a_number(node: Node, seats: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"seats is .*; accepted: a whole number from 1"):
        node.semaphore("seats", seats)
