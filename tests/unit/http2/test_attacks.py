"""Hostile peers of HTTP/2: each costs bounded memory and time, and most lose their connection."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest

from braft_core.http2 import frames
from braft_core.http2.hpack import encode
from braft_core.http2.limits import Limits
from tests.unit.http2.conftest import message, request

CALM = frames.ENHANCE_YOUR_CALM
FIELDS = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/test.Test/Echo")]


def reset(stream: int) -> bytes:
    return frames.rst_stream(stream, frames.CANCEL)


def test_rapid_reset(wire: Callable[..., Any], handlers: Any) -> None:
    peer = wire()
    peer.greet()
    for stream in range(1, 801, 2):
        peer.send(request(stream, "Hang"), message(stream), reset(stream))
    assert peer.goaway() == (CALM, "more than 200 resets in 10 seconds")
    assert handlers.events.count("hangs") <= 201
    assert peer.transport.closed


def test_handlers_of_reset_streams_count(wire: Callable[..., Any], handlers: Any) -> None:
    peer = wire(Limits(max_concurrent_streams=10))
    peer.greet()
    stream = 1
    calls = []
    for _ in range(40):
        calls += [request(stream, "Later"), message(stream), reset(stream)]
        stream += 2
    peer.send(*calls)  # in one turn: no handler has come to its end
    refused = [each for each in peer.frames() if each[0] == frames.RST_STREAM]
    assert len(refused) == 30


def test_resets_of_old_calls_are_no_attack(wire: Callable[..., Any]) -> None:
    peer = wire()
    peer.greet()
    numbers = range(1, 1601, 2)
    peer.send(*(request(number, "Hang") + message(number) for number in numbers))
    peer.at(2)
    peer.send(*map(reset, numbers))
    assert peer.goaway() is None
    assert peer.connection.is_idle() or peer.turn(3) or peer.connection.is_idle()


def test_streams_that_the_server_must_reset(wire: Callable[..., Any]) -> None:
    peer = wire()
    peer.greet()
    for stream in range(1, 801, 2):
        peer.send(request(stream), frames.frame(frames.WINDOW_UPDATE, 0, stream, b"\0\0\0\0"))
    assert peer.goaway() is not None


def test_continuation_flood(wire: Callable[..., Any]) -> None:
    peer = wire()
    peer.greet()
    peer.send(frames.frame(frames.HEADERS, 0, 1, encode(FIELDS)))
    for _ in range(40):
        peer.send(frames.frame(frames.CONTINUATION, 0, 1, b""))
    assert peer.goaway() == (CALM, "a header block is too large")


def test_long_continuations(wire: Callable[..., Any]) -> None:
    peer = wire()
    peer.greet()
    peer.send(frames.frame(frames.HEADERS, 0, 1, encode(FIELDS)))
    for _ in range(2):
        peer.send(frames.frame(frames.CONTINUATION, 0, 1, b"\0" * 16_000))
    assert peer.goaway() == (CALM, "a header block is too large")


def test_hpack_bomb(wire: Callable[..., Any]) -> None:
    peer = wire()
    peer.greet()
    inserted = b"\x40" + encode([(b"bomb", b"x" * 3000)])[1:]
    peer.send(frames.frame(frames.HEADERS, frames.END_HEADERS, 1, encode(FIELDS) + inserted))
    bomb = encode(FIELDS) + b"\xbe" * 16_000
    peer.frames()
    peer.send(frames.frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, 3, bomb))
    [(kind, flags, stream, block)] = peer.frames()
    assert (kind, flags & frames.END_STREAM, stream) == (frames.HEADERS, frames.END_STREAM, 3)
    assert b"431" in block
    peer.send(request(5), message(5, b"still"))
    assert b"still" in peer.output()


def test_a_broken_header_block_ends_the_connection(wire: Callable[..., Any]) -> None:
    peer = wire()
    peer.greet()
    peer.send(frames.frame(frames.HEADERS, frames.END_HEADERS, 1, b"\x80"))
    assert peer.goaway() == (frames.COMPRESSION_ERROR, "a header field has index 0")


@pytest.mark.parametrize(
    ("frame", "what"),
    [
        (frames.frame(frames.PING, 0, 0, b"12345678"), "PING frames"),
        (frames.settings([]), "SETTINGS frames"),
        (frames.frame(frames.SETTINGS, frames.ACK, 0), "SETTINGS frames"),
    ],
)
def test_floods_that_want_answers(wire: Callable[..., Any], frame: bytes, what: str) -> None:
    peer = wire()
    peer.greet()
    for _ in range(20):
        peer.send(frame * 10)
    assert peer.goaway() == (CALM, f"more than 100 {what} in 10 seconds")


def test_pings_between_answers_are_no_flood(wire: Callable[..., Any]) -> None:
    """Clients of gRPC measure the bandwidth with one PING for each burst of data."""
    peer = wire()
    peer.greet()
    for stream in range(1, 601, 2):
        peer.send(request(stream), message(stream), frames.frame(frames.PING, 0, 0, b"12345678"))
    assert peer.goaway() is None


def test_empty_data_flood(wire: Callable[..., Any]) -> None:
    peer = wire()
    peer.greet()
    peer.send(request(1, "Chat"))
    padded = frames.frame(frames.DATA, frames.PADDED, 1, b"\x03abc")
    peer.send((frames.frame(frames.DATA, 0, 1) + padded) * 600)
    assert peer.goaway() == (CALM, "more than 1000 empty DATA frames in 10 seconds")


def test_data_on_closed_streams(wire: Callable[..., Any]) -> None:
    peer = wire()
    peer.greet()
    peer.send(request(1), message(1))
    peer.send(message(1, b"again") * 300)
    assert peer.goaway() == (CALM, "more than 200 frames on closed streams in 10 seconds")


def test_tiny_windows(wire: Callable[..., Any]) -> None:
    """A byte of window at a time makes a frame each: for so long only."""
    peer = wire()
    peer.greet((frames.SETTINGS_INITIAL_WINDOW_SIZE, 1))
    peer.send(request(1, "Big"), message(1, b"100000"))
    for _ in range(200):
        peer.send(frames.window_update(1, 1) * 10)
    assert peer.goaway() == (CALM, "more than 1000 tiny WINDOW_UPDATE frames in 10 seconds")


def test_settings_of_many_windows_cost_one_change(wire: Callable[..., Any]) -> None:
    peer = wire()
    peer.greet((frames.SETTINGS_INITIAL_WINDOW_SIZE, 0))
    for stream in range(1, 401, 2):
        peer.send(request(stream, "Big"), message(stream, b"10"))
    values = [(frames.SETTINGS_INITIAL_WINDOW_SIZE, size % 2) for size in range(2000)]
    peer.send(frames.settings(values))
    sizes = [len(payload) for kind, _, _, payload in peer.frames() if kind == frames.DATA]
    assert sizes == [1] * 200


@pytest.mark.parametrize("stream", [0, 1])
def test_window_overflow(wire: Callable[..., Any], stream: int) -> None:
    peer = wire()
    peer.greet()
    peer.send(request(1, "Chat"))
    peer.frames()
    peer.send(frames.window_update(stream, 2**31 - 1))
    if stream:
        code = struct.pack(">I", frames.FLOW_CONTROL_ERROR)
        assert (frames.RST_STREAM, 0, 1, code) in peer.frames()
    else:
        assert peer.goaway() == (frames.FLOW_CONTROL_ERROR, "the connection's window is too large")


def test_more_data_than_the_windows(wire: Callable[..., Any]) -> None:
    limits = Limits(max_message=16_384, connection_window=65_536, replenish=32_768)
    peer = wire(limits)
    peer.greet()
    peer.send(request(1, "Hang"), request(3, "Chat"))
    for _ in range(3):
        peer.send(frames.frame(frames.DATA, 0, 3, b"\0\0\0\x30\0" + b"x" * 12_000))
    assert any(kind == frames.RST_STREAM for kind, _, _, _ in peer.frames())
    peer.check()


def test_requests_that_never_end_are_bounded(wire: Callable[..., Any]) -> None:
    peer = wire(Limits(max_buffered=200_000))
    peer.greet()
    part = b"\0\0\x01\0\0" + b"x" * 16_000
    for stream in range(1, 201, 2):
        peer.send(request(stream), frames.frame(frames.DATA, 0, stream, part))
        peer.check()
        assert peer.host.buffered <= 200_000
    assert b"too many requests" in peer.output()
    peer.at(61)
    assert peer.host.buffered == 0
    assert peer.connection.is_idle()


def test_small_messages_count_what_they_cost(wire: Callable[..., Any]) -> None:
    peer = wire(Limits(max_buffered=100_000))
    peer.greet()
    peer.send(request(1, "Chat"), request(3, "Chat"))
    peer.connection.receive(message(3, b"", end=False) * 500)
    assert peer.host.buffered == 500 * 69
    peer.connection.receive(message(3, b"", end=False) * 1000)
    assert peer.host.buffered == 0  # the call ended
    peer.turn(5)
    peer.check()


def test_answers_that_the_windows_hold_back_are_bounded(
    wire: Callable[..., Any], handlers: Any
) -> None:
    peer = wire(Limits(max_unread=1_000_000))
    peer.greet((frames.SETTINGS_INITIAL_WINDOW_SIZE, 0))
    for stream in range(1, 201, 2):
        peer.send(request(stream, "Big"), message(stream, b"300000"))
    assert peer.host.unread < 1_500_000
    peer.check()
    peer.send(frames.settings([(frames.SETTINGS_INITIAL_WINDOW_SIZE, 2**31 - 1)]))
    peer.send(frames.window_update(0, 2**31 - 1 - 65_535))
    peer.turn(3)
    ended = {s for _, flags, s, _ in peer.frames() if s and flags & frames.END_STREAM}
    assert len(ended) == 100  # the deferred calls were served
    assert peer.host.unread == peer.host.buffered == 0


def test_a_reset_stream_gives_back_what_it_held(wire: Callable[..., Any]) -> None:
    peer = wire()
    peer.greet((frames.SETTINGS_INITIAL_WINDOW_SIZE, 1_000))
    peer.send(request(1, "Big"), message(1, b"5000"))
    assert sum(len(data) for kind, _, _, data in peer.frames() if kind == frames.DATA) == 1_000
    assert peer.host.unread == 5_005 - 1_000
    peer.send(frames.window_update(1, 500), frames.window_update(0, 100))
    assert sum(len(data) for kind, _, _, data in peer.frames() if kind == frames.DATA) == 500
    peer.check()
    peer.send(reset(1))
    assert peer.host.unread == peer.connection.sender.unread == 0


def test_a_peer_that_opens_no_window_is_cut_off(wire: Callable[..., Any]) -> None:
    peer = wire(Limits(max_unread=100_000))
    peer.greet((frames.SETTINGS_INITIAL_WINDOW_SIZE, 0))
    peer.send(request(1, "Big"), message(1, b"300000"))
    for _ in range(29):
        peer.at(1)
        assert not peer.transport.aborted
        peer.send(frames.frame(frames.PING, 0, 0, b"no data!"))  # is no progress
    peer.at(1)
    assert peer.transport.aborted


def test_a_slow_reader_is_not_read_from(wire: Callable[..., Any], handlers: Any) -> None:
    peer = wire()
    peer.greet((frames.SETTINGS_INITIAL_WINDOW_SIZE, 2**31 - 1))
    peer.send(frames.window_update(0, 2**30))
    peer.transport.stuck = True
    peer.connection.pause_writing()
    assert not peer.transport.reading
    peer.send(*(request(stream, "Big") + message(stream, b"300000") for stream in (1, 3, 5)))
    assert peer.transport.get_write_buffer_size() == 0  # nothing was served
    peer.transport.stuck = False
    peer.connection.resume_writing()
    peer.turn(2)
    assert peer.transport.reading
    assert len(peer.output()) > 900_000


def test_a_reader_that_stops_is_cut_off(wire: Callable[..., Any], handlers: Any) -> None:
    peer = wire()
    peer.greet((frames.SETTINGS_INITIAL_WINDOW_SIZE, 2**31 - 1))
    peer.send(frames.window_update(0, 2**30))
    peer.transport.stuck = True
    peer.send(request(1, "Forever"), message(1, b"x" * 10_000))
    peer.turn(20)
    peer.connection.pause_writing()
    before = peer.transport.get_write_buffer_size()
    peer.turn(50)
    assert peer.transport.get_write_buffer_size() <= before + 20_010
    for _ in range(32):
        peer.at(1)
    assert peer.transport.aborted


def test_a_flood_of_calls_takes_turns(wire: Callable[..., Any]) -> None:
    peer = wire()
    peer.greet()
    calls = b"".join(request(stream) + message(stream) for stream in range(1, 4001, 2))
    peer.connection.receive(calls)
    assert peer.connection.last_stream < 2000
    assert not peer.transport.reading
    peer.turn(10)
    assert peer.connection.last_stream == 3999
    assert peer.transport.reading
    assert peer.goaway() is None


def test_budgets_are_shared_by_connections(wire: Callable[..., Any]) -> None:
    peer = wire(Limits(max_buffered_total=30_000, max_unread_total=150_000))
    other = wire(beside=peer)
    part = b"\0\0\x01\0\0" + b"x" * 16_000
    for each in (peer, other):
        each.greet((frames.SETTINGS_INITIAL_WINDOW_SIZE, 0))
        each.send(request(1), frames.frame(frames.DATA, 0, 1, part))
    assert list(peer.connection.streams) == [1]
    assert list(other.connection.streams) == []  # refused: both together are too much
    for each in (peer, other):
        each.send(request(3, "Big"), message(3, b"100000"))
        each.send(request(5, "Big"), message(5, b"100000"))
    # The first of each connection is served; later ones wait once the total is exceeded.
    assert peer.host.unread == 300_000 + 3 * 5
    other.connection.lost()
    peer.connection.sweep()
    assert peer.host.unread == 200_000 + 2 * 5
    other.turn(3)


def test_half_a_frame_expires(wire: Callable[..., Any]) -> None:
    peer = wire()
    peer.greet()
    peer.send(request(1)[:12])
    peer.at(59)
    assert peer.goaway() is None
    peer.at(2)
    assert peer.goaway() == (frames.NO_ERROR, "the rest of a frame is missing")


def test_half_a_header_block_expires(wire: Callable[..., Any]) -> None:
    peer = wire()
    peer.greet()
    peer.send(frames.frame(frames.HEADERS, 0, 1, encode(FIELDS)))
    peer.at(11)
    assert peer.goaway() == (frames.NO_ERROR, "no request arrived in time")


def test_a_preface_that_does_not_come(wire: Callable[..., Any]) -> None:
    peer = wire()
    peer.send(frames.PREFACE)
    peer.at(11)
    assert peer.transport.closed


def test_half_closed_requests_expire(wire: Callable[..., Any]) -> None:
    peer = wire()
    peer.greet()
    peer.send(request(1), frames.frame(frames.DATA, 0, 1, b"\0\0"), request(3, "Chat"))
    peer.frames()
    peer.at(61)
    assert [stream for _, _, stream, _ in peer.frames()] == [1, 1]
    assert list(peer.connection.streams) == [3]


def test_oversize_frames(wire: Callable[..., Any]) -> None:
    peer = wire()
    peer.greet()
    peer.send(request(1), frames.HEADER.pack(16_385 << 8, 0, 1))
    assert peer.goaway() == (frames.FRAME_SIZE_ERROR, "a frame of 16385 octets")


def test_the_table_of_heads_is_bounded(wire: Callable[..., Any]) -> None:
    peer = wire()
    peer.greet()
    for number in range(200):
        more = (b"unique", b"%d" % number)
        peer.send(request(2 * number + 1, "Echo", more), message(2 * number + 1))
    assert len(peer.connection._heads.known) <= 64
    for number in range(200, 1600):
        peer.send(request(2 * number + 1, "None"), message(2 * number + 1))
    assert len(peer.connection._reset_streams) <= 1024
    assert peer.goaway() is None
