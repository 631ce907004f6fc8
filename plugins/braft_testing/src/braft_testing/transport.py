"""Conformance suite for transports.

Derive a test class from :class:`TransportConformance`, give it one factory, and pytest runs every
rule of :class:`braft_core.abc.Transport` against yours::

    class TestMyTransport(TransportConformance):
        def make(self, address):
            return MyTransport(TransportOptions(listen=(address,)))

The nodes of one test run on one event loop. Waiting is bounded by :data:`PATIENCE`.
"""

# Method names state the rules, and the suite consists of asserts.
# ruff: noqa: D102, S101

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from braft_core import peer
from braft_core.errors import (
    BraftError,
    ConfigError,
    Conflict,
    DecodeError,
    NotLeader,
    Unreachable,
    WrongCluster,
)
from braft_core.peer import PeerReply, PeerRequest
from braft_core.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    Request,
    RequestVote,
    TimeoutNowResponse,
)
from braft_core.raft.types import Entry, EntryType
from braft_testing.transport_lanes import LaneRules
from braft_testing.transport_nodes import (
    PATIENCE,
    PATIENT_TIMING,
    Node,
    RecordingHandler,
    answer_to,
    append,
    listening_node,
    on_a_loop,
    prompt,
    sample_calls,
    sample_requests,
    sever_sockets,
    silent,
    until,
)
from braft_testing.transport_snapshots import SnapshotTransferRules

__all__ = [
    "PATIENCE",
    "PATIENT_TIMING",
    "Node",
    "RecordingHandler",
    "TransportConformance",
    "answer_to",
    "listening_node",
    "sever_sockets",
    "until",
]

#: Seconds to wait where a rule says that nothing happens.
_QUIET = 0.15


def _plain(message: Any) -> Any:
    """Return a message without the fields that only one side uses."""
    fields = {name: getattr(message, name) for name in type(message).__slots__}
    fields.pop("context")
    fields.pop("request_id")
    if "entries" in fields:
        fields["entries"] = [tuple(entry) for entry in fields["entries"]]
    return type(message), fields


class TransportConformance(LaneRules, SnapshotTransferRules):
    """Rules for every transport. Each ``test_*`` method is one rule."""

    async def _arrives(self, node: Node, request: Request) -> None:
        await until(lambda: node.handler.requests, repr(request))

    # ---------------------------------------------------------------- delivery

    @on_a_loop
    async def test_every_request_arrives_with_every_field_in_both_directions(self) -> None:
        async with self.pair() as (a, b):
            await self.connected(a, b)
            await self.connected(b, a)
            for one, other in ((a, b), (b, a)):
                for request in sample_requests(one.id, other.id):
                    other.handler.requests.clear()
                    one.transport.send(request)
                    await self._arrives(other, request)
                    assert [_plain(m) for m in other.handler.requests] == [_plain(request)]

    @on_a_loop
    async def test_every_response_comes_home_with_every_field_and_the_request_id(self) -> None:
        async with self.pair() as (a, b):
            await self.connected(a, b)
            b.handler.answer = silent
            for request in sample_requests("a", "b"):
                b.handler.requests.clear()
                a.handler.responses.clear()
                a.transport.send(request)
                await until(lambda: b.handler.requests, repr(request))
                response = answer_to(b.handler.requests[0])
                if isinstance(response, AppendEntriesResponse):
                    response.success, response.no_retry_backoff, response.lease = False, True, True
                    response.stamp = 2**52 + request.request_id
                elif not isinstance(response, TimeoutNowResponse):
                    response.granted = request.request_id % 2 == 0  # type: ignore[union-attr]
                b.transport.reply(response)
                await until(lambda: a.handler.responses, repr(response))
                assert [_plain(m) for m in a.handler.responses] == [_plain(response)]
                assert a.handler.responses[0].request_id == request.request_id

    @on_a_loop
    async def test_appends_stay_in_order(self) -> None:
        async with self.pair() as (a, b):
            await self.connected(a, b)
            sent = 0
            while sent < 200:
                if sent - len(a.handler.responses) < 8:
                    sent += 1
                    a.transport.send(append("a", "b", sent * 10, count=sent % 3 + 1, size=800))
                else:
                    await asyncio.sleep(0)
            await until(lambda: len(a.handler.responses) == 200, "200 responses")
            expected = [10 * n for n in range(1, 201)]
            got = [m.entries[0].index for m in b.handler.requests]  # type: ignore[union-attr]
            assert got == expected
            assert [m.request_id for m in a.handler.responses] == expected

    @on_a_loop
    async def test_responses_given_in_another_order_find_their_requests(self) -> None:
        async with self.pair() as (a, b):
            await self.connected(a, b)
            b.handler.answer = silent
            for number in range(1, 6):
                a.transport.send(append("a", "b", number * 10))
            await until(lambda: len(b.handler.requests) == 5, "5 requests")
            for request in reversed(b.handler.requests):
                b.transport.reply(answer_to(request))
            await until(lambda: len(a.handler.responses) == 5, "5 responses")
            last_logs = {m.request_id: m.last_log for m in a.handler.responses}  # type: ignore[union-attr]
            assert last_logs == {number * 10: number * 10 for number in range(1, 6)}

    @on_a_loop
    async def test_a_heartbeat_overtakes_a_blocked_bulk_lane(self) -> None:
        async with self.pair() as (a, b):
            await self.connected(a, b)
            b.handler.answer = lambda r: answer_to(r) if r.heartbeat else None  # type: ignore[union-attr]
            for number in range(1, 9):
                a.transport.send(append("a", "b", number * 10, size=1 << 20))
            a.transport.send(AppendEntries("a", "b", 3, 0, 0, [], 0, request_id=77))
            await until(lambda: a.handler.responses, "the heartbeat's response")
            assert [m.request_id for m in a.handler.responses] == [77]

    @on_a_loop
    async def test_what_was_sent_does_not_change_later(self) -> None:
        async with self.pair() as (a, b):
            await self.connected(a, b)
            entries = [Entry(10, 3, EntryType.COMMAND, b"kept")]
            a.transport.send(AppendEntries("a", "b", 3, 9, 3, entries, 0, request_id=1))
            entries.clear()
            await until(lambda: b.handler.requests, "the request")
            assert len(b.handler.requests[0].entries) == 1  # type: ignore[union-attr]

    # ---------------------------------------------------------------- identities

    async def _nothing_arrives(self, a: Node, b: Node, to: str) -> None:
        for request in (append("a", to, 5), RequestVote("a", to, 9, 4, 3, request_id=2)):
            a.transport.send(request)
        await until(lambda: to in a.handler.unreachable, "the report of the peer")
        await asyncio.sleep(_QUIET)
        assert b.handler.requests == []
        assert a.handler.responses == []
        assert a.handler.lost == b.handler.lost == []

    @on_a_loop
    async def test_another_cluster_is_refused(self) -> None:
        async with self.pair("cl", "another") as (a, b):
            await self._nothing_arrives(a, b, "b")

    @on_a_loop
    async def test_a_server_that_was_not_meant_refuses(self) -> None:
        async with self.pair() as (a, b):
            a.transport.set_peer("c", b.address)
            await self._nothing_arrives(a, b, "c")

    @on_a_loop
    async def test_a_node_without_cluster_refuses_until_it_joins(self) -> None:
        async with self.pair("cl", "") as (a, b):
            await self._nothing_arrives(a, b, "b")
            b.handler.identify(cluster_id="cl")
            await self.connected(a, b)

    # ---------------------------------------------------------------- failures

    @on_a_loop
    async def test_requests_to_an_unreachable_peer_are_dropped_and_reported_once(self) -> None:
        a = await self.start("a")
        try:
            a.transport.set_peer("b", self.new_address())
            for number in range(1, 50):
                a.transport.send(append("a", "b", number))
            await until(lambda: a.handler.unreachable, "the report of the peer")
            await asyncio.sleep(_QUIET)
            assert a.handler.unreachable == ["b"]
            assert a.handler.lost == []
        finally:
            await a.transport.stop()

    @on_a_loop
    async def test_a_request_to_an_unknown_server_is_reported_and_harmless(self) -> None:
        a = await self.start("a")
        try:
            a.transport.send(append("a", "nobody", 1))
            await until(
                lambda: a.handler.unreachable == ["nobody"],
                "the report of the peer",
            )
        finally:
            await a.transport.stop()

    @on_a_loop
    async def test_an_unreachable_peer_does_not_delay_another(self) -> None:
        async with self.pair() as (a, b):
            await self.connected(a, b)
            a.transport.set_peer("c", self.new_address())
            for number in range(1, 100):
                a.transport.send(append("a", "c", number * 10, size=4096))
            a.transport.send(append("a", "b", 10))
            await until(lambda: a.handler.responses, "the other peer's response", prompt())

    @on_a_loop
    async def test_a_restarted_peer_is_found_again(self) -> None:
        async with self.pair() as (a, b):
            await self.connected(a, b)
            await b.transport.stop()
            await self._told(a, "b")
            again = await self.start("b", b.address)
            try:
                again.meets(a)
                await self.connected(a, again)
            finally:
                await again.transport.stop()

    @staticmethod
    async def _told(a: Node, to: str) -> None:
        numbers = itertools.count(10, 10)

        def drop() -> bool:
            a.transport.send(append(a.id, to, next(numbers)))
            return to in a.handler.unreachable

        await until(drop, f"{a.id} learns that {to} is unreachable")

    @on_a_loop
    async def test_a_peer_that_moved_is_found_at_its_new_address(self) -> None:
        async with self.pair() as (a, b):
            await self.connected(a, b)
            await b.transport.stop()
            moved = await self.start("b")
            try:
                a.meets(moved)
                await self.connected(a, moved)
                assert a.handler.lost == []
            finally:
                await moved.transport.stop()

    @on_a_loop
    async def test_a_broken_connection_is_reported_on_both_sides(self) -> None:
        if not self.can_sever:
            pytest.skip("this transport's suite cannot break connections (can_sever is False)")
        async with self.pair() as (a, b):
            await self.connected(a, b)
            await self.connected(b, a)
            await self.sever(a, b)
            await until(lambda: "b" in a.handler.lost and "a" in b.handler.lost, "both learn of it")
            await self.connected(a, b)

    @on_a_loop
    async def test_an_orderly_end_is_not_reported_as_loss(self) -> None:
        async with self.pair() as (a, b):
            await self.connected(a, b)
            await self.connected(b, a)
            a.transport.remove_peer("b")
            await asyncio.sleep(_QUIET)
            assert b.handler.lost == []
            a.meets(b)
            await self.connected(a, b)
            await b.transport.stop()
            await asyncio.sleep(_QUIET)
            assert a.handler.lost == b.handler.lost == []

    # ---------------------------------------------------------------- peer calls

    @on_a_loop
    async def test_every_call_carries_request_and_reply_with_every_field(self) -> None:
        async with self.pair() as (a, b):
            for request, reply in sample_calls():

                async def serve(_request: PeerRequest, reply: PeerReply = reply) -> PeerReply:
                    return reply

                b.handler.on_called = serve
                assert await a.transport.call(b.address, request, PATIENCE) == reply
                assert b.handler.calls.pop() == request

    @on_a_loop
    async def test_calls_are_answered_before_there_is_a_cluster(self) -> None:
        async with self.pair("", "") as (a, b):
            request, reply = sample_calls()[0]

            async def serve(_request: PeerRequest) -> PeerReply:
                return reply

            b.handler.on_called = serve
            assert await a.transport.call(b.address, request, PATIENCE) == reply

    @on_a_loop
    async def test_errors_of_the_handler_reach_the_caller(self) -> None:
        async with self.pair() as (a, b):
            for error in (
                NotLeader("ask ü instead", leader="c", term=7, nothing=None),
                Conflict("revision is 5", revision=5),
                DecodeError("the command cannot be read"),
                BraftError("plain", long="x" * 100_000),
            ):

                async def serve(_request: PeerRequest, error: BraftError = error) -> PeerReply:
                    raise error

                b.handler.on_called = serve
                with pytest.raises(BraftError) as caught:
                    await a.transport.call(b.address, peer.DetailsRequest(), PATIENCE)
                assert type(caught.value) is type(error)
                assert caught.value.message == error.message
                if "long" not in error.data:
                    assert caught.value.data == error.data

    @on_a_loop
    async def test_a_call_that_acts_on_a_cluster_is_refused_by_another(self) -> None:
        async with self.pair("cl", "another") as (a, b):
            with pytest.raises(WrongCluster):
                await a.transport.call(b.address, peer.ProposeRequest((b"x",), 100), PATIENCE)
            assert b.handler.calls == []

    @on_a_loop
    async def test_a_call_without_answer_times_out_as_maybe_received(self) -> None:
        async with self.pair() as (a, b):

            async def hello(_request: PeerRequest) -> PeerReply:
                return peer.DetailsReply(b"{}")

            async def serve(_request: PeerRequest) -> PeerReply:
                await asyncio.sleep(4 * PATIENCE)
                raise AssertionError("the call was not cancelled")

            # Now there is a connection, so no time is spent on making one.
            b.handler.on_called = hello
            await a.transport.call(b.address, peer.DetailsRequest(), PATIENCE)
            b.handler.on_called = serve
            started = asyncio.get_running_loop().time()
            with pytest.raises(Unreachable) as caught:
                await a.transport.call(b.address, peer.DetailsRequest(), 0.2)
            assert caught.value.data["sent"] is True
            assert asyncio.get_running_loop().time() - started < PATIENCE / 2

    @on_a_loop
    async def test_a_call_to_nobody_fails_fast_as_never_sent(self) -> None:
        a = await self.start("a")
        try:
            address = self.new_address()
            for _ in range(2):
                started = asyncio.get_running_loop().time()
                with pytest.raises(Unreachable) as caught:
                    await a.transport.call(address, peer.DetailsRequest(), 2 * PATIENCE)
                assert caught.value.data["sent"] is False
                assert asyncio.get_running_loop().time() - started < PATIENCE / 2
        finally:
            await a.transport.stop()

    @on_a_loop
    async def test_a_call_reaches_a_node_that_came_up_after_a_failure(self) -> None:
        a = await self.start("a")
        address = self.new_address()
        with pytest.raises(Unreachable):
            await a.transport.call(address, peer.DetailsRequest(), PATIENCE)
        b = await self.start("b", address)
        try:

            async def serve(_request: PeerRequest) -> PeerReply:
                return peer.DetailsReply(b"{}")

            b.handler.on_called = serve
            reply = await a.transport.call(address, peer.DetailsRequest(), PATIENCE)
            assert reply == peer.DetailsReply(b"{}")
        finally:
            await b.transport.stop()
            await a.transport.stop()

    # ---------------------------------------------------------------- start, stop

    @on_a_loop
    async def test_a_taken_address_is_an_error_that_names_it(self) -> None:
        a = await self.start("a")
        try:
            with pytest.raises(ConfigError, match=a.address):
                await self.start("b", a.address)
        finally:
            await a.transport.stop()

    @on_a_loop
    async def test_stop_is_quick_idempotent_and_leaves_nothing(self) -> None:
        before = asyncio.all_tasks()
        async with self.pair() as (a, b):
            await self.connected(a, b)
            b.handler.answer = silent
            a.transport.send(append("a", "b", 10))
            a.transport.send(RequestVote("a", "b", 9, 4, 3, request_id=2))
            await until(lambda: len(b.handler.requests) == 2, "requests under way")
            for node in (a, b, a):
                started = asyncio.get_running_loop().time()
                await node.transport.stop()
                assert asyncio.get_running_loop().time() - started < prompt()
            a.transport.send(append("a", "b", 20))
            a.transport.reply(answer_to(b.handler.requests[0]))
            a.transport.remove_peer("b")
        await until(lambda: asyncio.all_tasks() == before, "no task is left")

    @on_a_loop
    async def test_an_address_is_free_again_after_stop(self) -> None:
        a = await self.start("a")
        for _ in range(3):
            await a.transport.stop()
            a = await self.start("a", a.address)
        await a.transport.stop()

    @on_a_loop
    async def test_stop_without_start_is_harmless(self) -> None:
        await self.make(self.new_address()).stop()
