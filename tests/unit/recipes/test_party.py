"""Parties: who is here; rendezvous: who waits for whom."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from braft_core import Node
from braft_core.errors import InvalidArgument, LockLost, NotAcquired
from braft_core.recipes import Guest
from braft_testing.processes import PATIENCE


def test_a_party_shows_who_is_here(node: Node) -> None:
    looking = node.party("here")
    assert looking.guests() == []
    with node.party("here", value="a") as one, node.party("here", value="b") as two:
        assert looking.guests() == [
            Guest(b"a", one.token, one.lease.id),
            Guest(b"b", two.token, two.lease.id),
        ]
        two.leave()
        assert [guest.value for guest in looking.guests()] == [b"a"]
    assert looking.guests() == []


def test_a_watch_shows_who_comes_and_goes(node: Node) -> None:
    async def watch() -> None:
        seen = node.party("watched").watch()
        assert await anext(seen) == []
        following = asyncio.ensure_future(anext(seen))
        one = await node.party("watched", value="a").ajoin()
        assert [guest.value for guest in await following] == [b"a"]
        async with node.party("watched", value="b"):
            assert [guest.value for guest in await anext(seen)] == [b"a", b"b"]
        assert [guest.value for guest in await anext(seen)] == [b"a"]
        await one.aleave()
        async for guests in seen:
            assert guests == []
            break

    asyncio.run(watch())
    for guests in node.party("watched").watch():
        assert guests == []
        break


def test_a_guest_that_is_lost_is_cancelled(node: Node) -> None:
    async def join() -> None:
        async with node.party("lost") as guest:
            guest.lease.lose("a test")
            await asyncio.sleep(PATIENCE)

    with pytest.raises(LockLost, match="party 'lost' is lost"):
        asyncio.run(join())


@pytest.mark.parametrize("rounds", [1, 3])
def test_nobody_goes_on_before_all_are_there(node: Node, rounds: int) -> None:
    come = gone = 0

    async def meet() -> None:
        nonlocal come, gone
        for number in range(1, rounds + 1):
            come += 1
            async with node.rendezvous("all", 4):
                assert come >= 4 * number
                gone += 1

    async def many() -> None:
        await asyncio.gather(*(meet() for _ in range(4)))

    asyncio.run(many())
    assert gone == 4 * rounds


def test_one_that_gives_up_does_not_count(node: Node) -> None:
    with pytest.raises(NotAcquired, match=r"within 0 s: 1 of 2 are here"):
        node.rendezvous("two", 2, wait=0).__enter__()

    async def meet() -> None:
        async def come() -> int:
            async with node.rendezvous("two", 2) as meeting:
                return meeting.token

        first = asyncio.ensure_future(come())
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first])
        tokens = await asyncio.gather(come(), come())
        assert len(set(tokens)) == 2

    asyncio.run(meet())
    with node.rendezvous("alone", 1, wait=0):
        pass


@pytest.mark.parametrize("number", [0, "2", None, 10_001])
def test_the_number_of_a_rendezvous_is_a_number(node: Node, number: Any) -> None:
    with pytest.raises(
        InvalidArgument, match=r"n is .*; accepted: a whole number from 1 to 10,000"
    ):
        node.rendezvous("number", number)
