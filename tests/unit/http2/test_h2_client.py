"""The package h2 as the client, and a fuzzer: whatever arrives in whatever pieces."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Callable
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from braft_core.http2 import frames
from braft_core.http2.head import read_head
from braft_core.http2.hpack import Decoder, encode
from braft_core.http2.limits import Limits
from tests.unit.http2.conftest import Handlers, Wire, message, request

FIELDS = [
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":authority", b"localhost"),
    (b"te", b"trailers"),
    (b"content-type", b"application/grpc"),
]


class H2Client:
    """A client of h2 against a connection without a socket."""

    def __init__(self, wire: Wire, window: int, pieces: int) -> None:
        self.wire = wire
        self._pieces = pieces
        config = h2.config.H2Configuration(client_side=True, header_encoding=None)
        self.h2 = h2.connection.H2Connection(config)
        self.h2.local_settings = h2.settings.Settings(
            client=True,
            initial_values={
                h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window,
                h2.settings.SettingCodes.HEADER_TABLE_SIZE: 0,
            },
        )
        self.h2.initiate_connection()
        self.bodies: dict[int, bytes] = {}
        self.statuses: dict[int, int] = {}
        self.ended: set[int] = set()
        self.failed: list[h2.events.Event] = []

    def call(self, name: str, body: bytes, pieces: int) -> int:
        stream: int = self.h2.get_next_available_stream_id()
        path = (b":path", f"/test.Test/{name}".encode())
        self.h2.send_headers(stream, [*FIELDS[:3], path, *FIELDS[3:]])
        data = b"\0" + struct.pack(">I", len(body)) + body
        size = max(1, min(len(data) // pieces, 16_384))
        for start in range(0, len(data), size):
            self.h2.send_data(stream, data[start : start + size])
        self.h2.end_stream(stream)
        self.bodies[stream] = b""
        return stream

    def exchange(self) -> None:
        """Carry bytes both ways until neither side has more to say."""
        for _ in range(5000):
            sent = self.h2.data_to_send()
            for start in range(0, len(sent), self._pieces):
                self.wire.connection.receive(sent[start : start + self._pieces])
                self.wire.check()
            self.wire.turn(10)
            received = self.wire.output()
            if not sent and not received:
                return
            for event in self.h2.receive_data(received):
                self._event(event)

    def _event(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.DataReceived):
            self.bodies[event.stream_id] += event.data
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived | h2.events.ResponseReceived):
            for name, value in event.headers:
                if name == b"grpc-status":
                    self.statuses[event.stream_id] = int(value)
        elif isinstance(event, h2.events.StreamEnded):
            self.ended.add(event.stream_id)
        elif isinstance(event, h2.events.StreamReset | h2.events.ConnectionTerminated):
            self.failed.append(event)


_calls = st.lists(
    st.tuples(
        st.sampled_from(("Echo", "Later", "Chat", "Add", "Count")),
        st.sampled_from((0, 1, 100, 16_379, 16_384, 40_000)),
        st.integers(1, 5),
    ),
    max_size=6,
)


@settings(max_examples=25, deadline=None)
@given(_calls, st.sampled_from((1_000, 20_000, 100_000)), st.sampled_from((7, 1000, 65_536)))
def test_every_call_gets_its_answer(
    calls: list[tuple[str, int, int]], window: int, pieces: int
) -> None:
    with Wire(Handlers()) as wire:
        _make_calls(wire, calls, window, pieces)


def _make_calls(wire: Wire, calls: list[tuple[str, int, int]], window: int, pieces: int) -> None:
    client = H2Client(wire, window, pieces if sum(call[1] for call in calls) < 20_000 else 16_384)
    client.exchange()
    expected = {}
    for name, size, parts in calls:
        body = b"7" if name == "Count" else b"b" * size
        numbers = range(7)
        messages = {
            "Add": [b"%d" % size],
            "Count": [b"%d" % number for number in numbers],
        }.get(name, [body])
        stream = client.call(name, body, parts)
        expected[stream] = b"".join(b"\0" + struct.pack(">I", len(m)) + m for m in messages)
        client.exchange()
    assert client.failed == []
    assert client.bodies == expected
    assert client.statuses == dict.fromkeys(expected, 0)
    assert client.ended == set(expected)
    assert wire.connection.is_idle()


_numbers = st.sampled_from((0, 1, 2, 3, 5, 7, 2**31 - 1))
_payloads = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        (
            b"",
            b"\0\0\0\0",
            b"\0\0\0\1",
            b"\x7f\xff\xff\xff",
            b"12345678",
            b"\0\0\0\0\5hello",
            b"\0\0\0\0\x0510000",
            struct.pack(">HI", 4, 0),
            struct.pack(">HI", 4, 2**31 - 1),
            struct.pack(">HI", 1, 0),
            struct.pack(">HI", 5, 2**24 - 1),
            encode(FIELDS),
        )
    ),
)
_frames = st.one_of(
    st.builds(frames.frame, st.integers(0, 11), st.integers(0, 255), _numbers, _payloads),
    st.builds(
        request, _numbers, st.sampled_from(("Echo", "Later", "Big", "Chat", "Hang", "Forever"))
    ),
    st.builds(message, _numbers, st.sampled_from((b"", b"100", b"70000"))),
    st.builds(frames.window_update, _numbers, st.sampled_from((0, 1, 1000, 2**31 - 1))),
    st.builds(frames.rst_stream, _numbers, st.integers(0, 13)),
    st.just(frames.settings([(4, 10)])),
)
_steps = st.lists(
    st.one_of(_frames, st.sampled_from(("turn", "sweep", "pause", "resume", "drain"))), max_size=30
)


@settings(max_examples=150, deadline=None)
@given(_steps, st.sampled_from((3, 50, 100_000)))
def test_fuzzed_frames(steps: list[bytes | str], pieces: int) -> None:
    limits = Limits(max_concurrent_streams=4, max_unread=50_000, max_buffered=30_000)
    with Wire(Handlers(), limits) as wire:
        wire.send(frames.PREFACE + frames.settings([]))
        for step in steps:
            _step(wire, step, pieces)
            wire.turn()
            wire.check()
        assert len(wire.frames()) >= 3  # what was sent is whole frames, the preface first


def _step(wire: Wire, step: bytes | str, pieces: int) -> None:
    if isinstance(step, bytes):
        for start in range(0, len(step), pieces):
            wire.connection.receive(step[start : start + pieces])
    elif step == "sweep":
        wire.at(5)
    elif step == "pause":
        wire.connection.pause_writing()
    elif step == "resume":
        wire.connection.resume_writing()
    elif step == "drain":
        wire.connection.drain()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=5), st.booleans())
def test_fuzzed_bytes(parts: list[bytes], greeted: bool) -> None:
    with Wire(Handlers()) as wire:
        if greeted:
            wire.send(frames.PREFACE)
        for part in parts:
            wire.send(part)
            wire.check()


_names = st.sampled_from(
    (
        b":method",
        b":path",
        b":scheme",
        b":authority",
        b"te",
        b"content-type",
        b"content-length",
        b"grpc-timeout",
        b"x-bin",
        b"X",
        b"connection",
        b"host",
        b":x",
        b"",
    )
)
_values = st.sampled_from(
    (
        b"POST",
        b"GET",
        b"/",
        b"/test.Test/Echo",
        b"http",
        b"trailers",
        b"application/grpc",
        b"application/grpc+proto",
        b"1S",
        b"9",
        b"-1",
        b"AAA",
        b"\n",
        b"",
    )
)


@given(st.lists(st.tuples(_names, _values), max_size=8))
def test_any_head_is_read_or_refused(fields: list[tuple[bytes, bytes]]) -> None:
    try:
        head = read_head(fields, {})
    except frames.StreamFailed:
        return
    assert (head.request is None) != (head.refusal is None)


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ((b"grpc-timeout", b"0n"), b"4"),
        ((b"grpc-timeout", b"soon"), b"13"),
        ((b"key-bin", b"***"), b"13"),
    ],
)
def test_calls_that_are_not_served(
    wire: Callable[..., Any], more: tuple[bytes, bytes], status: bytes
) -> None:
    peer = wire()
    peer.greet()
    peer.send(request(1, "Echo", more), message(1, b"unserved"))
    output = peer.output()
    assert b"grpc-status%c%b" % (len(status), status) in output
    assert b"unserved" not in output
    assert peer.connection.is_idle()


def test_a_deadline_ends_the_handler(wire: Callable[..., Any], handlers: Any) -> None:
    peer = wire()
    peer.greet()
    peer.send(request(1, "Hang", (b"grpc-timeout", b"1m")), message(1))
    end = time.monotonic() + 60
    while not peer.connection.is_idle() and time.monotonic() < end:
        peer.loop.run_until_complete(asyncio.sleep(0.001))
    assert b"grpc-status\x014" in peer.output()
    assert peer.connection.is_idle()
    assert "hangs" not in handlers.events or "cancelled True" in handlers.events


def test_large_heads_of_answers_go_on(wire: Callable[..., Any]) -> None:
    peer = wire()
    peer.greet()
    fields = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/large-head")]
    whole = frames.END_HEADERS | frames.END_STREAM
    peer.send(frames.frame(frames.HEADERS, whole, 1, encode(fields)))
    sent = [each for each in peer.frames() if each[0] != frames.DATA]
    assert [(kind, flags) for kind, flags, _, _ in sent] == [
        (frames.HEADERS, 0),
        (frames.CONTINUATION, 0),
        (frames.CONTINUATION, frames.END_HEADERS),
    ]
    decoded = Decoder(max_list_size=2**20).decode(b"".join(payload for *_, payload in sent))
    assert decoded is not None
    assert (b"large", b"x" * 40_000) in decoded


def test_a_long_timeout_is_none(wire: Callable[..., Any]) -> None:
    peer = wire()
    peer.greet()
    peer.send(request(1, "Metadata", (b"grpc-timeout", b"99999999H")), message(1))
    assert b'"deadline": false' in peer.output()


def test_requests_of_http_over_http2(wire: Callable[..., Any]) -> None:
    peer = wire()
    peer.greet()
    fields = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", b"/v3/kv/range?x"),
        (b":authority", b"a:1"),
        (b"content-length", b"4"),
    ]
    end = frames.END_HEADERS
    peer.send(frames.frame(frames.HEADERS, end, 1, encode(fields)))
    peer.send(frames.frame(frames.DATA, frames.END_STREAM, 1, b"{ } "))
    output = peer.output()
    assert b'"path": "/v3/kv/range", "query": "x", "body": 4, "host": "a:1"' in output
    fields = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/parts?2")]
    peer.send(frames.frame(frames.HEADERS, end | frames.END_STREAM, 3, encode(fields)))
    peer.turn(10)
    kinds = [(kind, payload) for kind, _, stream, payload in peer.frames() if stream == 3]
    assert [payload for kind, payload in kinds if kind == frames.DATA] == [
        b"part 0\n",
        b"part 1\n",
        b"",
    ]


def test_graceful_end(wire: Callable[..., Any], handlers: Any) -> None:
    peer = wire()
    peer.greet()
    peer.send(request(1, "Chat"), message(1, b"a", end=False))
    peer.connection.drain()
    peer.turn()
    sent = peer.frames()
    goaways = [payload[:8] for kind, _, _, payload in sent if kind == frames.GOAWAY]
    assert goaways == [struct.pack(">II", 2**31 - 1, 0)]
    # A call that crosses the first GOAWAY is served, one behind the second is not.
    peer.send(request(3), message(3, b"crossing"))
    assert b"crossing" in peer.output()
    peer.send(frames.frame(frames.PING, frames.ACK, 0, b"draining"))
    assert struct.pack(">II", 3, 0) in peer.output()
    peer.send(request(5), message(5, b"late"))
    refused = struct.pack(">I", frames.REFUSED_STREAM)
    assert (frames.RST_STREAM, 0, 5, refused) in peer.frames()
    assert not peer.transport.closed
    peer.send(message(1, b"last"))
    peer.turn(5)
    assert b"last" in peer.output()
    handlers.wait_for("chat ended")
    assert peer.transport.closed
