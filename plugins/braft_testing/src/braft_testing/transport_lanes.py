"""Conformance suite for transports: the lanes to one peer.

AppendEntries with entries travel in one lane, heartbeats and votes in another, peer calls in a
third. The rules say what each lane guarantees about order, bounds and losses. Part of
:class:`braft_testing.transport.TransportConformance`, which derives from it.
"""

# Method names state the rules, and the suite consists of asserts.
# ruff: noqa: D102, S101

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from braft_core import peer
from braft_core.errors import Unreachable
from braft_core.peer import PeerReply, PeerRequest
from braft_core.raft.messages import AppendEntries, Request, RequestVote
from braft_testing import transport_nodes
from braft_testing.transport_nodes import (
    Node,
    TransportSuite,
    answer_to,
    append,
    on_a_loop,
    prompt,
    silent,
    until,
)

__all__ = ["LaneRules"]

#: Seconds to wait where a rule says that nothing happens.
_QUIET = 0.15
#: Messages of a burst: more than a lane may hold.
_BURST = 600
#: Messages that a lane may hold at most, on both sides together.
_HELD = 400


def _indexes(node: Node) -> list[int]:
    """Return the first indexes of the appends that arrived, in the order of their arrival."""
    return [
        request.entries[0].index
        for request in node.handler.requests
        if isinstance(request, AppendEntries) and request.entries
    ]


def _send_burst(node: Node) -> int:
    """Send "b" more appends than a lane holds, of two sizes; return how many were taken."""
    dropped = node.transport.counters["dropped"]
    for number in range(1, _BURST + 1):
        size = 16 if number % 10 == 0 else 64 << 10
        node.transport.send(append(node.id, "b", number * 10, size=size))
    return _BURST - (node.transport.counters["dropped"] - dropped)


def _answer_all(node: Node) -> None:
    """Answer what waits, and what comes, at once."""
    node.handler.answer = answer_to
    for request in [*node.handler.requests]:
        node.transport.reply(answer_to(request))


class LaneRules(TransportSuite):
    """Rules for the lanes. Each ``test_*`` method is one rule."""

    @on_a_loop
    async def test_a_burst_of_appends_is_bounded_and_what_passes_stays_in_order(self) -> None:
        async with self.pair() as (a, b):
            await self.connected(a, b)
            passed = _send_burst(a)
            assert passed < _HELD, "the lane has no bound"
            await until(lambda: len(a.handler.responses) == passed, "the answers to the rest")
            assert _indexes(b) == sorted(set(_indexes(b)))
            assert [m.request_id for m in a.handler.responses] == _indexes(b)
            assert a.handler.unreachable == ["b"], "the loss is reported once"

    @on_a_loop
    async def test_a_lane_that_was_full_is_free_again_and_reports_the_next_loss(self) -> None:
        async with self.pair() as (a, b):
            await self.connected(a, b)
            for times in (1, 2):
                passed = _send_burst(a)
                await until(lambda n=passed: len(a.handler.responses) == n, "the answers")  # type: ignore[misc]
                last = 100_000 + times
                a.transport.send(append("a", "b", last))
                await until(
                    lambda last=last: a.handler.responses[-1].request_id == last,  # type: ignore[misc]
                    "the lane takes another request",
                )
                assert a.handler.unreachable == ["b"] * times
                a.handler.responses.clear()

    @on_a_loop
    async def test_large_appends_free_their_room_when_they_have_left(self) -> None:
        async with self.pair() as (a, b):
            await self.connected(a, b)
            for number in range(1, 41):  # more bytes than may wait at a time
                a.transport.send(append("a", "b", number * 10, size=1 << 20))
                await until(lambda n=number: len(a.handler.responses) == n, "its answer")  # type: ignore[misc]
            for number in range(41, 45):
                a.transport.send(append("a", "b", number * 10, size=1 << 20))
            await until(lambda: len(a.handler.responses) == 44, "the last answers")
            assert a.handler.unreachable == []

    @on_a_loop
    async def test_a_node_that_does_not_answer_is_not_flooded(self) -> None:
        async with self.pair() as (a, b):
            await self.connected(a, b)
            b.handler.answer = silent
            dropped = a.transport.counters["dropped"]
            for number in range(1, _BURST + 1):
                a.transport.send(append("a", "b", number * 10))
                await asyncio.sleep(0)
            taken = _BURST - (a.transport.counters["dropped"] - dropped)
            await until(lambda: len(b.handler.requests) >= 16, "the first requests")
            await asyncio.sleep(_QUIET)
            assert len(b.handler.requests) < _HELD, "it reads without bound"
            assert _indexes(b) == sorted(set(_indexes(b)))
            # The pause is over once the node answers: nothing that was taken is lost.
            _answer_all(b)
            await until(lambda: len(a.handler.responses) == taken, "the answers to all of them")

    @on_a_loop
    async def test_votes_to_a_node_that_does_not_answer_are_bounded(self) -> None:
        async with self.pair() as (a, b):
            await self.connected(a, b)
            b.handler.answer = silent
            for number in range(1, 201):
                a.transport.send(RequestVote("a", "b", 9, 4, 3, request_id=number))
                await asyncio.sleep(0)
            await until(lambda: "b" in a.handler.unreachable, "the report")
            await asyncio.sleep(_QUIET)
            assert len(b.handler.requests) <= 64
            _answer_all(b)

            def answered() -> bool:
                a.transport.send(RequestVote("a", "b", 9, 4, 3, request_id=500))
                return any(r.request_id == 500 for r in a.handler.responses)

            await until(answered, "the lane takes another request")

    @on_a_loop
    async def test_what_waited_for_a_connection_is_not_sent_on_the_next(self) -> None:
        async with self.pair() as (a, b):
            await self.connected(a, b)
            b.handler.answer = silent
            _send_burst(a)
            await b.transport.stop()
            again = await self.start("b", b.address)
            try:
                first = 10_000_000

                def answered() -> bool:
                    a.transport.send(append("a", "b", first))
                    return any(r.request_id == first for r in a.handler.responses)

                await until(answered, "the next connection")
                await asyncio.sleep(_QUIET)
                assert set(_indexes(again)) == {first}
            finally:
                await again.transport.stop()

    @on_a_loop
    async def test_requests_without_answer_are_reported_when_the_peer_goes(self) -> None:
        async with self.pair() as (a, b):
            await self.connected(a, b)
            b.handler.answer = silent
            a.transport.send(append("a", "b", 10))
            await until(lambda: b.handler.requests, "the request")
            await b.transport.stop()
            await until(lambda: "b" in a.handler.unreachable, "the report", prompt())

    @on_a_loop
    async def test_calls_at_one_time_get_their_own_answers(self) -> None:
        async with self.pair() as (a, b):
            waiting: list[tuple[PeerRequest, asyncio.Future[PeerReply]]] = []

            async def serve(request: PeerRequest) -> PeerReply:
                answer: asyncio.Future[PeerReply] = asyncio.get_running_loop().create_future()
                waiting.append((request, answer))
                return await answer

            b.handler.on_called = serve
            requests = [peer.ProposeRequest((str(n).encode(),), 500) for n in range(20)]
            calls = [
                asyncio.ensure_future(
                    a.transport.call(b.address, request, transport_nodes.PATIENCE)
                )
                for request in requests
            ]
            await until(lambda: len(waiting) == 20, "all calls")
            for request, answer in waiting[1::2] + waiting[::2]:
                assert isinstance(request, peer.ProposeRequest)
                answer.set_result(peer.ProposeReply((*request.commands, b"!")))
            for request, call in zip(requests, calls, strict=True):
                assert await call == peer.ProposeReply((*request.commands, b"!"))

    @on_a_loop
    async def test_calls_under_way_end_with_the_peer_and_may_have_arrived(self) -> None:
        async with self.pair() as (a, b):
            await self._call_ends(a, b, b.transport.stop)

    @on_a_loop
    async def test_calls_under_way_end_with_the_connection_and_may_have_arrived(self) -> None:
        if not self.can_sever:
            pytest.skip("this transport's suite cannot break connections (can_sever is False)")
        async with self.pair() as (a, b):
            await self.connected(a, b)
            await self.connected(b, a)
            await self._call_ends(a, b, lambda: self.sever(a, b))

    @staticmethod
    async def _call_ends(a: Node, b: Node, end: Callable[[], Awaitable[None]]) -> None:
        async def serve(_request: PeerRequest) -> PeerReply:
            await asyncio.sleep(4 * transport_nodes.PATIENCE)
            raise AssertionError("the call was not cancelled")

        b.handler.on_called = serve
        call = asyncio.ensure_future(
            a.transport.call(b.address, peer.DetailsRequest(), 2 * transport_nodes.PATIENCE)
        )
        await until(lambda: b.handler.calls, "the call")
        await end()
        async with asyncio.timeout(transport_nodes.PATIENCE):
            with pytest.raises(Unreachable) as caught:
                await call
        assert caught.value.data["sent"] is True

    @on_a_loop
    async def test_nothing_is_delivered_after_the_stop(self) -> None:
        async with self.pair() as (a, b):
            await self.connected(a, b)
            held: list[Request] = []

            def hold(request: Request) -> None:
                held.append(request)

            b.handler.answer = hold
            for number in range(1, 9):
                a.transport.send(append("a", "b", number * 10))
                a.transport.send(RequestVote("a", "b", 9, 4, 3, request_id=number))
            await until(lambda: held, "a request")
            await a.transport.stop()
            answers = [len(a.handler.responses), len(a.handler.unreachable), len(a.handler.lost)]
            for request in held:
                b.transport.reply(answer_to(request))
            await b.transport.stop()
            arrived = len(b.handler.requests)
            await asyncio.sleep(_QUIET)
            now = [len(a.handler.responses), len(a.handler.unreachable), len(a.handler.lost)]
            assert now == answers
            assert len(b.handler.requests) == arrived
