"""Hostile callers and servers: malformed, forged and missing messages."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from braft_core import peer
from braft_core.abc import TransportTiming
from braft_core.errors import AccessDenied, Unreachable
from braft_core.peer import PeerReply, PeerRequest
from braft_core.raft import AppendEntries, Entry, RequestPreVote, RequestVote
from braft_tcp import connection, outbound
from braft_tcp.frames import HEADER, Channel, Frame, FrameReader, Hello, Kind, encode_hello
from braft_testing.transport import PATIENT_TIMING, Node, answer_to, until

SECRET = "s3cret-token-s3cret"
MEMBER = Hello(Channel.BULK, "cl", "a", "b")


async def hello(_request: PeerRequest) -> PeerReply:
    return peer.DetailsReply(b"{}")


def frame(kind: int, body: bytes = b"", request_id: int = 0) -> bytes:
    return HEADER.pack(len(body), kind, request_id) + body


def append(index: int, size: int = 1) -> AppendEntries:
    entries = [Entry(index, 1, 0, b"x" * size)]
    return AppendEntries("b", "s", 1, index - 1, 1, entries, 0, request_id=index)


async def talk(node: Node, *data: bytes) -> list[Frame]:
    """Send that and read until the node closes the connection, which it must."""
    host, _, port = node.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    frames = FrameReader(1 << 20)
    heard = []
    try:
        for part in data:
            writer.write(part)
        async with asyncio.timeout(20):
            while received := await reader.read(65536):
                frames.feed(received)
                while (one := frames.next()) is not None:
                    heard.append(one)
    except ConnectionResetError:
        pass
    finally:
        writer.close()
    return heard


async def still_serves(started: Any, node: Node) -> None:
    node.handler.on_called = hello
    async with started("friend", keyring=node.transport.options.keyring) as friend:
        reply = await friend.transport.call(node.address, peer.DetailsRequest(), 20)
        assert reply == peer.DetailsReply(b"{}")


GREETED = frame(Kind.HELLO, encode_hello(MEMBER))
CORPUS = {
    "http2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(64),
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(32),
    "zeros": bytes(100),
    "huge hello": struct.pack("!IBQ", 0xFFFFFFFF, Kind.HELLO, 0),
    "no hello first": frame(Kind.APPEND_ENTRIES, b"x"),
    "no magic": frame(Kind.HELLO, b"x" * 40),
    "hello twice": GREETED + GREETED,
    "huge frame": GREETED + struct.pack("!IBQ", 0x7FFFFFFF, Kind.APPEND_ENTRIES, 1),
    "no append": GREETED + frame(Kind.APPEND_ENTRIES, b"\xff\xff\xff"),
    "empty append": GREETED + frame(Kind.APPEND_ENTRIES),
    "wrong channel": GREETED + frame(Kind.CALL, b"\x05Probe"),
    "unknown kind": GREETED + frame(250, b"?"),
    "end before begin": frame(Kind.HELLO, encode_hello(MEMBER._replace(channel=Channel.SNAPSHOT)))
    + frame(Kind.END, bytes(4)),
    "garbled snapshot": frame(Kind.HELLO, encode_hello(MEMBER._replace(channel=Channel.SNAPSHOT)))
    + frame(Kind.INSTALL_SNAPSHOT, b"\xff"),
    "call without method": frame(Kind.HELLO, encode_hello(MEMBER._replace(channel=Channel.CALLS)))
    + frame(Kind.CALL, b"\x09ab"),
    "control": frame(Kind.HELLO, encode_hello(MEMBER._replace(channel=Channel.CONTROL)))
    + frame(Kind.INSTALL_SNAPSHOT, b""),
}


@pytest.mark.parametrize("name", CORPUS)
def test_garbage_ends_its_connection_and_nothing_else(started: Any, name: str) -> None:
    async def scenario() -> None:
        async with started("b") as b:
            await talk(b, CORPUS[name])
            assert b.transport.counters["refused_garbage"] == 1
            assert b.handler.requests == []
            await still_serves(started, b)

    asyncio.run(scenario())


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(list(Channel)), st.binary(min_size=1, max_size=400))
def test_any_bytes_after_a_hello_leave_the_node_alive(
    started: Any, channel: Channel, data: bytes
) -> None:
    async def scenario() -> None:
        async with started("b") as b:
            host, _, port = b.address.rpartition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(frame(Kind.HELLO, encode_hello(MEMBER._replace(channel=channel))) + data)
            writer.write_eof()
            async with asyncio.timeout(20):
                await reader.read()
            writer.close()
            assert b.handler.requests == []
            await still_serves(started, b)

    asyncio.run(scenario())


def test_a_caller_that_says_nothing_is_cut_off(
    started: Any,
) -> None:
    timing = replace(PATIENT_TIMING, first_bytes=0.1)

    async def scenario() -> None:
        async with started("b", timing=timing) as b:
            assert await talk(b, GREETED[:20]) == []

    asyncio.run(scenario())


def test_a_silent_connection_is_asked_and_then_taken_for_dead(started: Any) -> None:
    timing = replace(PATIENT_TIMING, ping_after=0.2, dead_after=4.0)

    async def scenario() -> None:
        async with started("b", rpc_timeout=0.4, timing=timing) as b:
            heard = [f.kind for f in await talk(b, GREETED)]
            assert heard == [Kind.WELCOME, Kind.PING]
            assert b.handler.lost == ["a"]

    asyncio.run(scenario())


class Pipe(asyncio.Transport):
    """Records what is written, and whether the connection was aborted."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.cut = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def write(self, data: Any) -> None:
        self.written += data

    def abort(self) -> None:
        self.cut = True


def test_a_connection_that_was_not_read_for_long_is_asked_before_it_is_taken_for_dead() -> None:
    async def scenario() -> None:
        held = connection.Connection(lambda *_frame: None, lambda _error: None, TransportTiming())
        pipe = Pipe()
        held.connection_made(pipe)
        held.hold()
        now = asyncio.get_running_loop().time()
        held.heard = now - 60  # while the node was answering
        held.watch(now)
        held.release()
        held.watch(now)
        assert (pipe.cut, pipe.written) == (False, b"")
        held.watch(now + 14)
        assert (pipe.cut, pipe.written) == (False, frame(Kind.PING))
        held.watch(now + 18)
        assert pipe.cut

    asyncio.run(scenario())


@pytest.mark.slow  # a pause of the machine of 4 s makes it look dead
def test_a_connection_that_answers_pings_lives(started: Any) -> None:
    timing = replace(PATIENT_TIMING, ping_after=0.05, dead_after=4.0)

    async def scenario() -> None:
        async with started("b", timing=timing) as b, started("a") as a:
            a.meets(b)
            number = 0

            def exchange() -> object:
                nonlocal number
                number += 1
                request = append(number)
                request.to = "b"
                a.transport.send(request)
                return a.handler.responses

            await until(exchange)
            await asyncio.sleep(5.0)
            assert a.handler.lost == b.handler.lost == []

    asyncio.run(scenario())


# ---------------------------------------------------------------------- admission


@pytest.mark.parametrize("channel", [Channel.BULK, Channel.CONTROL, Channel.SNAPSHOT])
@pytest.mark.parametrize(
    ("change", "counter"),
    [
        ({"cluster_id": "another"}, "refused_wrong_cluster"),
        ({"to": "c"}, "refused_wrong_target"),
        ({"version_min": 7, "version_max": 9}, "refused_version"),
    ],
)
def test_a_mismatched_hello_is_refused_with_a_reason_and_counted(
    started: Any, channel: Channel, change: dict[str, Any], counter: str
) -> None:
    async def scenario() -> None:
        async with started("b") as b:
            greeting = encode_hello(MEMBER._replace(channel=channel, **change))
            heard = await talk(b, frame(Kind.HELLO, greeting) + frame(Kind.APPEND_ENTRIES, b"x"))
            assert [f.kind for f in heard] == [Kind.REFUSED, Kind.GOAWAY]
            assert msgpack.unpackb(heard[0].body)[0] == counter
            assert dict(b.transport.counters) == {counter: 1}
            assert b.handler.requests == b.handler.lost == []

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("token", "why"),
    [("", "asks for a token"), ("other-other-other-other", "does not know the token")],
)
def test_without_the_token_nothing_is_let_in(
    started: Any, token: str, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")

    async def scenario() -> None:
        async with started("a", token=token) as a, started("b", token=SECRET) as b:
            b.handler.on_called = hello
            with pytest.raises(AccessDenied, match=why) as caught:
                await a.transport.call(b.address, peer.DetailsRequest(), 20)
            assert "BRAFT_TOKEN" in caught.value.message
            assert b.address in caught.value.message
            assert b.handler.calls == []
            a.meets(b)
            await until(lambda: b.transport.counters["refused_token"] >= 3)
            await until(lambda: a.transport.counters["refused_by_peer"] >= 2)
            assert b.handler.requests == []

    asyncio.run(scenario())
    assert SECRET not in caplog.text


def test_nodes_with_the_same_token_talk(started: Any) -> None:
    async def scenario() -> None:
        async with started("b", token=SECRET) as b:
            await still_serves(started, b)

    asyncio.run(scenario())


# ---------------------------------------------------------------------- hostile servers


@asynccontextmanager
async def strange(*answers: bytes) -> AsyncIterator[str]:
    """Run a server that sends that to every caller and then reads; yield its address."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            writer.write(answer)
        while await reader.read(65536):
            pass
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    finally:
        listening.close()
        await listening.wait_closed()


def test_a_node_that_is_stopping_is_unreachable_for_calls(started: Any) -> None:
    async def scenario() -> None:
        async with started("b") as b, started("a") as a:
            b.transport._session.local.stopping = True
            with pytest.raises(Unreachable, match="stopping") as caught:
                await a.transport.call(b.address, peer.DetailsRequest(), 20)
            assert caught.value.data["sent"] is False
            assert b.transport.counters["refused_stopping"] == 1

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "answer",
    [
        b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + bytes(18) + bytes(8192),
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        frame(Kind.RESPONSE, b"x"),
        frame(Kind.REFUSED, b"\xc1"),
        frame(Kind.REFUSED, msgpack.packb([1, 2])),
    ],
)
def test_a_server_of_another_kind_is_named_as_such(started: Any, answer: bytes) -> None:
    async def scenario() -> None:
        async with strange(answer) as address, started("b") as b:
            with pytest.raises(Unreachable, match="BRAFT_TRANSPORT") as caught:
                await b.transport.call(address, peer.DetailsRequest(), 20)
            assert caught.value.data["sent"] is False

    asyncio.run(scenario())


def test_a_peer_that_stops_reading_costs_bounded_memory_and_is_given_up(started: Any) -> None:
    """It accepts the hello and never answers: the queue fills, then everything is dropped."""
    welcome = frame(Kind.WELCOME, msgpack.packb({}))

    async def deaf(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(welcome)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        stopping = asyncio.Event()
        ends.append(stopping)
        await stopping.wait()
        writer.transport.abort()

    ends: list[asyncio.Event] = []

    async def scenario() -> None:
        listening = await asyncio.start_server(deaf, "127.0.0.1", 0)
        address = f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        async with started("b", rpc_timeout=1.0) as b:
            b.transport.set_peer("s", address)
            await until(lambda: len(ends) == 2)
            channel = b.transport._session.peers.links["s"]._bulk
            await until(lambda: channel._connection is not None)
            for index in range(1, 200):
                b.transport.send(append(index, 1 << 20))
            assert channel._waiting_bytes <= 33 << 20
            assert b.transport.counters["dropped"] > 100
            assert b.handler.unreachable == ["s"]
            await until(lambda: channel._connection is None)
            assert b.handler.lost == []
            for end in ends:
                end.set()
        listening.close()
        for end in ends:
            end.set()
        await listening.wait_closed()

    asyncio.run(scenario())


def test_a_vote_may_take_as_long_as_a_slow_disk(
    started: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The voter stores its vote first; with a short timeout no election would ever succeed."""
    timing = replace(PATIENT_TIMING, control_timeout=0.05, vote_timeout=40.0)

    async def scenario() -> None:
        async with started("b") as b, started("a", timing=timing) as a:
            b.handler.answer = lambda _request: None
            a.meets(b)
            control = a.transport._session.peers.links["b"]._control
            await until(lambda: control._connection is not None)
            # Disable the reconnection after silence, which this test is not about.
            monkeypatch.setattr(control._connection, "abort", lambda: None)
            a.transport.send(RequestVote("a", "b", 5, 1, 1, request_id=7))
            a.transport.send(RequestPreVote("a", "b", 6, 1, 1, request_id=8))
            await until(lambda: len(b.handler.requests) == 2)
            # The pre-vote, which is not stored, times out meanwhile.
            await until(lambda: list(control._sent) == [7])
            [vote] = [r for r in b.handler.requests if isinstance(r, RequestVote)]
            response = answer_to(vote)
            assert response is not None
            b.transport.reply(response)
            await until(lambda: a.handler.responses)
            assert a.handler.responses[0].request_id == 7

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("heard", "since", "stalled"),
    [(0.0, 3.0, True), (0.0, 1.0, False), (9.0, 9.5, False), (9.0, 12.0, True), (99.0, 33.0, True)],
)
def test_a_peer_that_answers_heartbeats_may_store_slowly(
    heard: float, since: float, stalled: bool
) -> None:
    """2 s after the last response or heartbeat response, at most 32 s after the former."""

    async def scenario() -> None:
        local: Any = SimpleNamespace(
            options=SimpleNamespace(rpc_timeout=2.0), timing=TransportTiming()
        )
        other: Any = SimpleNamespace(heard=heard)
        channel = outbound.BulkChannel(local, "s", lambda _response: None, other)
        said: list[str] = []
        channel._connection = SimpleNamespace(  # type: ignore[assignment]
            close_gracefully=lambda: said.append("closed"), watch=lambda now: None
        )
        channel._sent.append(1)
        channel.watch(since)
        assert said == ["closed"] * stalled

    asyncio.run(scenario())


def test_a_bulk_response_out_of_order_ends_the_connection(started: Any) -> None:
    welcome = frame(Kind.WELCOME, msgpack.packb({}))

    async def scenario() -> None:
        answers = welcome + frame(Kind.RESPONSE, b"", 99)
        async with strange(answers) as address, started("b") as b:
            b.transport.set_peer("s", address)
            await until(lambda: b.transport.counters["refused_garbage"])
            assert b.handler.responses == []

    asyncio.run(scenario())
