"""Elections: one leader at a time, whom everybody sees."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from braft_core import Node
from braft_core.errors import InvalidArgument, InvalidRequest, LeadershipLost, NotAcquired
from braft_core.recipes import ElectionLeader
from braft_testing.processes import PATIENCE


def test_candidates_lead_in_the_order_in_which_they_came(node: Node) -> None:
    looking = node.election("first")
    assert looking.leader() is None
    with node.election("first", value="a") as one:
        assert looking.leader() == ElectionLeader(b"a", one.token, one.lease.id, one.token)
        with pytest.raises(NotAcquired, match=r"election 'first' .* value b'a'"):
            node.election("first", value="b", wait=0).campaign()
        revision = one.proclaim("changed")
        leader = looking.leader()
        assert leader == ElectionLeader(b"changed", one.token, one.lease.id, revision)
        next_one = node.election("first", value="b")
        threading.Timer(0.05, one.resign).start()
        next_one.campaign()
        assert next_one.token > one.token
        with pytest.raises(LeadershipLost, match="'first' is lost: a later holder"):
            one.proclaim("too late")
        with pytest.raises(LeadershipLost):
            node.store.put("x", b"", if_held=one)
        next_one.resign()
    assert looking.leader() is None
    with pytest.raises(InvalidRequest, match="not acquired yet"):
        looking.proclaim("x")
    with pytest.raises(InvalidRequest, match="was used before"):
        one.campaign()


def test_an_observer_sees_each_leader_and_what_it_proclaims(node: Node) -> None:
    async def observe() -> None:
        leaders = node.election("seen").observe()
        first = asyncio.ensure_future(anext(leaders))
        await asyncio.sleep(0.02)
        assert not first.done()
        async with node.election("seen", value="a") as one:
            assert (await first).value == b"a"
            second = asyncio.ensure_future(anext(leaders))
            await asyncio.sleep(0.02)
            waiting = asyncio.ensure_future(node.election("seen", value="b").acampaign())
            await one.aproclaim("a2")
            assert (await second)[:2] == (b"a2", one.token)
        two = await waiting
        assert (await anext(leaders))[:2] == (b"b", two.token)
        third = asyncio.ensure_future(anext(leaders))
        await asyncio.sleep(0.02)
        third.cancel()
        await asyncio.wait([third])
        await two.aresign()

    asyncio.run(observe())
    with node.election("seen", value="c") as leader:
        for seen in node.election("seen").observe():
            assert seen == leader.leader()
            break


def test_a_leader_s_body_is_cancelled_on_loss(node: Node) -> None:
    async def lead() -> None:
        async with node.election("lost", value=b"\xff") as term:
            term.lease.lose("a test")
            await asyncio.sleep(PATIENCE)

    with pytest.raises(LeadershipLost, match="election 'lost' is lost"):
        asyncio.run(lead())


@pytest.mark.parametrize("value", [7, None, "\ud800"])
def test_a_value_is_bytes_or_text(node: Node, value: Any) -> None:
    with pytest.raises(InvalidArgument, match="the value is"):
        node.election("value", value=value)
    with pytest.raises(InvalidArgument, match="the name for election is"):
        node.election("")
