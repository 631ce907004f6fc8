"""The conformance suite of transports.

Derive a test class from :class:`TransportConformance`, give it one factory, and pytest runs every
rule of :class:`braft_core.abc.Transport` against yours::

    class TestMyTransport(TransportConformance):
        def make(self, address):
            return MyTransport(TransportOptions(listen=(address,)))

The nodes of one test run on one event loop. Waiting is bounded by :data:`PATIENCE`.
"""

# The rules are named by their methods, and asserting is what a suite does.
# ruff: noqa: D102, S101

from __future__ import annotations

import asyncio
import functools
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, ClassVar, TypeVar

import pytest

from braft_core import peer
from braft_core.abc import Identity, Transport
from braft_core.errors import (
    BraftError,
    ConfigError,
    Conflict,
    NotLeader,
    Unreachable,
    WrongCluster,
)
from braft_core.peer import PeerReply, PeerRequest
from braft_core.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    Message,
    Request,
    RequestPreVote,
    RequestPreVoteResponse,
    RequestVote,
    RequestVoteResponse,
    Response,
    TimeoutNow,
    TimeoutNowResponse,
)
from braft_core.raft.types import Entry, EntryType

__all__ = ["PATIENCE", "Node", "RecordingHandler", "TransportConformance", "answer_to", "until"]

#: Seconds a rule may take to show.
PATIENCE = 5.0
#: Seconds in which nothing must happen, where a rule is that nothing does.
_QUIET = 0.15

_T = TypeVar("_T")
_Test = Callable[[_T], Awaitable[None]]


async def until(condition: Callable[[], object], what: str = "") -> None:
    """Wait for the condition; fails after :data:`PATIENCE`."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE
    while not condition():
        assert loop.time() < deadline, f"not within {PATIENCE} s: {what or condition}"
        await asyncio.sleep(0.002)


def _on_a_loop(test: _Test[_T]) -> Callable[[_T], None]:
    @functools.wraps(test)
    def run(self: _T) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(6 * PATIENCE):
                await test(self)

        asyncio.run(bounded())

    return run


def answer_to(request: Request) -> Response:
    """A positive response to that request, whose numbers follow from the request's."""
    sender, to = request.to, request.sender
    response: Response
    match request:
        case AppendEntries():
            last = request.prev_log_index + len(request.entries)
            response = AppendEntriesResponse(sender, to, request.term, True, last)
        case RequestVote():
            response = RequestVoteResponse(sender, to, request.term, granted=True)
        case RequestPreVote():
            response = RequestPreVoteResponse(sender, to, request.term - 1, granted=True)
        case TimeoutNow():
            response = TimeoutNowResponse(sender, to)
        case _:
            raise TypeError(f"no answer to {request!r}")
    response.context = request.context
    return response


class RecordingHandler:
    """A :class:`braft_core.abc.TransportHandler` that remembers, and answers if told to."""

    def __init__(self, server_id: str, address: str, cluster_id: str) -> None:
        self.identity = Identity(server_id, address, cluster_id)
        self.requests: list[Request] = []
        self.responses: list[Response] = []
        self.lost: list[str] = []
        self.unreachable: list[str] = []
        self.calls: list[PeerRequest] = []
        #: How a request is answered at once, or ``None``.
        self.answer: Callable[[Request], Response | None] = answer_to
        self.on_called: Callable[[PeerRequest], Awaitable[PeerReply]] = _no_reply
        self.transport: Transport | None = None

    def on_message(self, message: Message) -> None:
        if not isinstance(message, Request):
            self.responses.append(message)
            return
        self.requests.append(message)
        response = self.answer(message)
        if response is not None and self.transport is not None:
            self.transport.reply(response)

    def on_connection_lost(self, server_id: str) -> None:
        self.lost.append(server_id)

    def on_unreachable(self, server_id: str) -> None:
        self.unreachable.append(server_id)

    async def on_call(self, request: PeerRequest) -> PeerReply:
        self.calls.append(request)
        return await self.on_called(request)

    async def on_apply_log(self, data: bytes) -> bytes:
        return data[::-1]

    async def on_details(self) -> dict[str, Any]:
        return {"serverID": self.identity.server_id}


async def _no_reply(request: PeerRequest) -> PeerReply:
    raise BraftError(f"no reply to {request!r} was prepared")


def _silent(_request: Request) -> None:
    return None


class Node:
    """A transport with its handler."""

    def __init__(self, transport: Transport, handler: RecordingHandler) -> None:
        self.transport = transport
        self.handler = handler
        handler.transport = transport

    @property
    def id(self) -> str:
        return self.handler.identity.server_id

    @property
    def address(self) -> str:
        return self.handler.identity.address

    def meets(self, other: Node) -> None:
        """Tell it where the other node is."""
        self.transport.set_peer(other.id, other.address)


def _append(sender: str, to: str, first: int, count: int = 1, size: int = 16) -> AppendEntries:
    entries = [
        Entry(index, 3, EntryType.COMMAND, index.to_bytes(8, "big") * (size // 8))
        for index in range(first, first + count)
    ]
    return AppendEntries(sender, to, 3, first - 1, 3, entries, first - 1, request_id=first)


def _requests(sender: str, to: str) -> list[Request]:
    """Every kind of request, no two fields alike."""
    entries = [
        Entry(12, 5, EntryType.NOOP, b""),
        Entry(13, 5, EntryType.COMMAND, bytes(range(256)), b"\x00ext", 1_700_000_000_123_456_789),
        Entry(14, 5, EntryType.BARRIER, b"", b"", 1),
        Entry(15, 2**40, EntryType.CONFIGURATION, b"c" * 3000, b"", 999_999_999),
    ]
    return [
        AppendEntries(sender, to, 6, 11, 4, entries, 9, request_id=101),
        AppendEntries(sender, to, 7, 16, 5, [], 15, request_id=102),
        AppendEntries(sender, to, 8, 0, 0, [], 0, request_id=103),
        RequestVote(sender, to, 9, 21, 8, leadership_transfer=True, request_id=104),
        RequestVote(sender, to, 2**62, 22, 7, request_id=105),
        RequestPreVote(sender, to, 10, 23, 9, request_id=106),
        TimeoutNow(sender, to, request_id=107),
    ]


def _plain(message: Any) -> Any:
    """A message without what belongs to one side alone."""
    fields = {name: getattr(message, name) for name in type(message).__slots__}
    fields.pop("context")
    fields.pop("request_id")
    if "entries" in fields:
        fields["entries"] = [tuple(entry) for entry in fields["entries"]]
    return type(message), fields


_CALLS: list[tuple[PeerRequest, PeerReply]] = [
    (
        peer.ProbeRequest("a", "name", "", "h:1"),
        peer.ProbeReply("b", "name", "cl", 3, True, "l", "h:3", "h:2", 1, 2, 5, False),
    ),
    (peer.FoundRequest("name", "cl", b"\x80cfg", "a"), peer.FoundReply(True, "cl", b"c", "why")),
    (peer.JoinRequest("a", "h:1", "name", "cl", True), peer.JoinReply("cl", b"\xffcfg")),
    (peer.AnnounceRequest("a", "h:1", "cl"), peer.AnnounceReply("b", "h:2")),
    (peer.ProposeRequest((b"1", b"", b"\xff"), 500), peer.ProposeReply((b"x", b""))),
    (peer.ProposeRequest((), 0), peer.ProposeReply(())),
    (peer.ReadIndexRequest("cl"), peer.ReadIndexReply(2**40, 7)),
    (
        peer.ChangeMembershipRequest("add_voter", "c", "h:3", 900),
        peer.AdminReply(b"cfg", "b"),
    ),
    (peer.TransferLeadershipRequest("c", 900), peer.AdminReply(b"", "c")),
    (peer.DetailsRequest(), peer.DetailsReply('{"ü": 1}'.encode())),
]


class TransportConformance:
    """What every transport must do. Each ``test_*`` method is one rule."""

    #: Whether :meth:`sever` can break connections.
    can_sever: ClassVar[bool] = False

    def make(self, address: str) -> Transport:
        """Return a new, unstarted transport that will listen on ``address``."""
        raise NotImplementedError("derive from TransportConformance and define make()")

    def new_address(self) -> str:
        """An address that nobody listens on."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return f"127.0.0.1:{probe.getsockname()[1]}"

    async def sever(self, first: Node, second: Node) -> None:
        """Break the connections between two nodes abruptly, as the death of a process does."""
        raise NotImplementedError("define sever() if can_sever is set")

    async def start(self, server_id: str, address: str = "", cluster_id: str = "cl") -> Node:
        """A started node."""
        address = address or self.new_address()
        node = Node(self.make(address), RecordingHandler(server_id, address, cluster_id))
        await node.transport.start(node.handler)
        return node

    @asynccontextmanager
    async def pair(
        self, cluster: str = "cl", other: str = "cl"
    ) -> AsyncIterator[tuple[Node, Node]]:
        """Nodes ``a`` and ``b`` of those clusters, who know each other's address."""
        a = await self.start("a", cluster_id=cluster)
        b = await self.start("b", cluster_id=other)
        a.meets(b)
        b.meets(a)
        try:
            yield a, b
        finally:
            await a.transport.stop()
            await b.transport.stop()

    async def connected(self, a: Node, b: Node) -> None:
        """Wait until bulk messages of ``a`` reach ``b`` and are answered; then forget them."""
        await self._repeat(a, b, lambda: a.handler.responses)
        for handler in (a.handler, b.handler):
            for record in (handler.requests, handler.responses, handler.unreachable):
                record.clear()

    async def _repeat(self, a: Node, b: Node, condition: Callable[[], object]) -> None:
        """Send bulk messages, dropped at first, until the condition holds; let them land."""
        loop = asyncio.get_running_loop()
        deadline, sent = loop.time() + PATIENCE, 0
        while not condition():
            assert loop.time() < deadline, f"{a.id} and {b.id} do not connect"
            a.transport.send(_append(a.id, b.id, 1_000_000))
            sent += 1
            await asyncio.sleep(0.02)
        await asyncio.sleep(_QUIET)

    @staticmethod
    async def _arrives(node: Node, request: Request) -> None:
        await until(lambda: node.handler.requests, repr(request))

    # ---------------------------------------------------------------- delivery

    @_on_a_loop
    async def test_every_request_arrives_with_every_field_in_both_directions(self) -> None:
        async with self.pair() as (a, b):
            await self.connected(a, b)
            await self.connected(b, a)
            for one, other in ((a, b), (b, a)):
                for request in _requests(one.id, other.id):
                    other.handler.requests.clear()
                    one.transport.send(request)
                    await self._arrives(other, request)
                    assert [_plain(m) for m in other.handler.requests] == [_plain(request)]

    @_on_a_loop
    async def test_every_response_comes_home_with_every_field_and_the_request_id(self) -> None:
        async with self.pair() as (a, b):
            await self.connected(a, b)
            b.handler.answer = _silent
            for request in _requests("a", "b"):
                b.handler.requests.clear()
                a.handler.responses.clear()
                a.transport.send(request)
                await until(lambda: b.handler.requests, repr(request))
                response = answer_to(b.handler.requests[0])
                if isinstance(response, AppendEntriesResponse):
                    response.success, response.no_retry_backoff = False, True
                elif not isinstance(response, TimeoutNowResponse):
                    response.granted = request.request_id % 2 == 0  # type: ignore[union-attr]
                b.transport.reply(response)
                await until(lambda: a.handler.responses, repr(response))
                assert [_plain(m) for m in a.handler.responses] == [_plain(response)]
                assert a.handler.responses[0].request_id == request.request_id

    @_on_a_loop
    async def test_appends_stay_in_order(self) -> None:
        async with self.pair() as (a, b):
            await self.connected(a, b)
            sent = 0
            while sent < 200:
                if sent - len(a.handler.responses) < 8:
                    sent += 1
                    a.transport.send(_append("a", "b", sent * 10, count=sent % 3 + 1, size=800))
                else:
                    await asyncio.sleep(0)
            await until(lambda: len(a.handler.responses) == 200, "200 responses")
            expected = [10 * n for n in range(1, 201)]
            got = [m.entries[0].index for m in b.handler.requests]  # type: ignore[union-attr]
            assert got == expected
            assert [m.request_id for m in a.handler.responses] == expected

    @_on_a_loop
    async def test_responses_given_in_another_order_find_their_requests(self) -> None:
        async with self.pair() as (a, b):
            await self.connected(a, b)
            b.handler.answer = _silent
            for number in range(1, 6):
                a.transport.send(_append("a", "b", number * 10))
            await until(lambda: len(b.handler.requests) == 5, "5 requests")
            for request in reversed(b.handler.requests):
                b.transport.reply(answer_to(request))
            await until(lambda: len(a.handler.responses) == 5, "5 responses")
            last_logs = {m.request_id: m.last_log for m in a.handler.responses}  # type: ignore[union-attr]
            assert last_logs == {number * 10: number * 10 for number in range(1, 6)}

    @_on_a_loop
    async def test_a_heartbeat_overtakes_a_blocked_bulk_lane(self) -> None:
        async with self.pair() as (a, b):
            await self.connected(a, b)
            b.handler.answer = lambda r: answer_to(r) if r.heartbeat else None  # type: ignore[union-attr]
            for number in range(1, 9):
                a.transport.send(_append("a", "b", number * 10, size=1 << 20))
            a.transport.send(AppendEntries("a", "b", 3, 0, 0, [], 0, request_id=77))
            await until(lambda: a.handler.responses, "the heartbeat's response")
            assert [m.request_id for m in a.handler.responses] == [77]

    @_on_a_loop
    async def test_what_was_sent_does_not_change_later(self) -> None:
        async with self.pair() as (a, b):
            await self.connected(a, b)
            entries = [Entry(10, 3, EntryType.COMMAND, b"kept")]
            a.transport.send(AppendEntries("a", "b", 3, 9, 3, entries, 0, request_id=1))
            entries.clear()
            await until(lambda: b.handler.requests, "the request")
            assert len(b.handler.requests[0].entries) == 1  # type: ignore[union-attr]

    # ---------------------------------------------------------------- who is who

    async def _nothing_arrives(self, a: Node, b: Node, to: str) -> None:
        for request in (_append("a", to, 5), RequestVote("a", to, 9, 4, 3, request_id=2)):
            a.transport.send(request)
        await until(lambda: to in a.handler.unreachable, "the sender is told")
        await asyncio.sleep(_QUIET)
        assert b.handler.requests == []
        assert a.handler.responses == []
        assert a.handler.lost == b.handler.lost == []

    @_on_a_loop
    async def test_another_cluster_is_refused(self) -> None:
        async with self.pair("cl", "another") as (a, b):
            await self._nothing_arrives(a, b, "b")

    @_on_a_loop
    async def test_a_server_that_was_not_meant_refuses(self) -> None:
        async with self.pair() as (a, b):
            a.transport.set_peer("c", b.address)
            await self._nothing_arrives(a, b, "c")

    @_on_a_loop
    async def test_a_node_without_cluster_refuses_until_it_joins(self) -> None:
        async with self.pair("cl", "") as (a, b):
            await self._nothing_arrives(a, b, "b")
            b.handler.identity.cluster_id = "cl"
            await self.connected(a, b)

    # ---------------------------------------------------------------- trouble

    @_on_a_loop
    async def test_requests_to_an_unreachable_peer_are_dropped_and_told_once(self) -> None:
        a = await self.start("a")
        try:
            a.transport.set_peer("b", self.new_address())
            for number in range(1, 50):
                a.transport.send(_append("a", "b", number))
            await until(lambda: a.handler.unreachable, "the sender is told")
            await asyncio.sleep(_QUIET)
            assert a.handler.unreachable == ["b"]
            assert a.handler.lost == []
        finally:
            await a.transport.stop()

    @_on_a_loop
    async def test_a_request_to_an_unknown_server_is_told_and_harmless(self) -> None:
        a = await self.start("a")
        try:
            a.transport.send(_append("a", "nobody", 1))
            await until(lambda: a.handler.unreachable == ["nobody"], "the sender is told")
        finally:
            await a.transport.stop()

    @_on_a_loop
    async def test_an_unreachable_peer_does_not_delay_another(self) -> None:
        async with self.pair() as (a, b):
            await self.connected(a, b)
            a.transport.set_peer("c", self.new_address())
            for number in range(1, 100):
                a.transport.send(_append("a", "c", number * 10, size=4096))
            a.transport.send(_append("a", "b", 10))
            async with asyncio.timeout(1):
                await until(lambda: a.handler.responses, "the other peer's response")

    @_on_a_loop
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

    async def _told(self, a: Node, to: str) -> None:
        for number in range(1, 1000):
            a.transport.send(_append("a", to, number * 10))
            await asyncio.sleep(0.005)
            if to in a.handler.unreachable:
                return
        raise AssertionError(f"{a.id} was never told that {to} is unreachable")

    @_on_a_loop
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

    @_on_a_loop
    async def test_a_broken_connection_is_reported_on_both_sides(self) -> None:
        if not self.can_sever:
            pytest.skip("this transport's suite cannot break connections (can_sever is False)")
        async with self.pair() as (a, b):
            await self.connected(a, b)
            await self.connected(b, a)
            await self.sever(a, b)
            await until(lambda: "b" in a.handler.lost and "a" in b.handler.lost, "both are told")
            await self.connected(a, b)

    @_on_a_loop
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

    @_on_a_loop
    async def test_every_call_carries_request_and_reply_with_every_field(self) -> None:
        async with self.pair() as (a, b):
            for request, reply in _CALLS:

                async def serve(_request: PeerRequest, reply: PeerReply = reply) -> PeerReply:
                    return reply

                b.handler.on_called = serve
                assert await a.transport.call(b.address, request, PATIENCE) == reply
                assert b.handler.calls.pop() == request

    @_on_a_loop
    async def test_calls_are_answered_before_there_is_a_cluster(self) -> None:
        async with self.pair("", "") as (a, b):
            request, reply = _CALLS[0]

            async def serve(_request: PeerRequest) -> PeerReply:
                return reply

            b.handler.on_called = serve
            assert await a.transport.call(b.address, request, PATIENCE) == reply

    @_on_a_loop
    async def test_errors_of_the_handler_reach_the_caller(self) -> None:
        async with self.pair() as (a, b):
            for error in (
                NotLeader("ask ü instead", leader="c", term=7, nothing=None),
                Conflict("revision is 5", revision=5),
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

    @_on_a_loop
    async def test_a_call_that_acts_on_a_cluster_is_refused_by_another(self) -> None:
        async with self.pair("cl", "another") as (a, b):
            with pytest.raises(WrongCluster):
                await a.transport.call(b.address, peer.ProposeRequest((b"x",), 100), PATIENCE)
            assert b.handler.calls == []

    @_on_a_loop
    async def test_a_call_without_answer_times_out_as_maybe_received(self) -> None:
        async with self.pair() as (a, b):

            async def serve(_request: PeerRequest) -> PeerReply:
                await asyncio.sleep(4 * PATIENCE)
                raise AssertionError("the call was not cancelled")

            b.handler.on_called = serve
            started = asyncio.get_running_loop().time()
            with pytest.raises(Unreachable) as caught:
                await a.transport.call(b.address, peer.DetailsRequest(), 0.2)
            assert caught.value.data["sent"] is True
            assert asyncio.get_running_loop().time() - started < PATIENCE / 2

    @_on_a_loop
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

    @_on_a_loop
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

    @_on_a_loop
    async def test_a_taken_address_is_an_error_that_names_it(self) -> None:
        a = await self.start("a")
        try:
            with pytest.raises(ConfigError, match=a.address):
                await self.start("b", a.address)
        finally:
            await a.transport.stop()

    @_on_a_loop
    async def test_stop_is_quick_idempotent_and_leaves_nothing(self) -> None:
        before = asyncio.all_tasks()
        async with self.pair() as (a, b):
            await self.connected(a, b)
            b.handler.answer = _silent
            a.transport.send(_append("a", "b", 10))
            a.transport.send(RequestVote("a", "b", 9, 4, 3, request_id=2))
            await until(lambda: len(b.handler.requests) == 2, "requests under way")
            for node in (a, b, a):
                started = asyncio.get_running_loop().time()
                await node.transport.stop()
                assert asyncio.get_running_loop().time() - started < 0.5
            a.transport.send(_append("a", "b", 20))
            a.transport.reply(answer_to(b.handler.requests[0]))
            a.transport.remove_peer("b")
        await until(lambda: asyncio.all_tasks() == before, "no task is left")

    @_on_a_loop
    async def test_an_address_is_free_again_after_stop(self) -> None:
        a = await self.start("a")
        for _ in range(3):
            await a.transport.stop()
            a = await self.start("a", a.address)
        await a.transport.stop()

    @_on_a_loop
    async def test_stop_without_start_is_harmless(self) -> None:
        await self.make(self.new_address()).stop()
