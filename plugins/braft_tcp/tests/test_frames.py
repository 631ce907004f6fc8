"""Frames and hellos: any bytes, in pieces of any size."""

from __future__ import annotations

import itertools

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from braft_core.errors import DecodeError
from braft_tcp.frames import (
    HEADER,
    MAGIC,
    Channel,
    Frame,
    FrameReader,
    Hello,
    Kind,
    decode_hello,
    encode_hello,
)

LIMIT = 300
HELLO = Hello(Channel.BULK, "cl", "a", "b", b"n" * 32, "name")
FIELDS = msgpack.unpackb(encode_hello(HELLO)[len(MAGIC) :])

frames = st.builds(Frame, st.integers(0, 255), st.integers(0, 2**64 - 1), st.binary(max_size=LIMIT))


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in itertools.pairwise(edges)]


def read(reader: FrameReader, parts: list[bytes]) -> list[Frame]:
    found = []
    for part in parts:
        reader.feed(part)
        while (frame := reader.next()) is not None:
            found.append(frame)
    return found


@given(st.lists(frames, max_size=8), st.lists(st.integers(0, 10_000), max_size=20))
def test_frames_are_the_same_in_whatever_pieces_they_come(
    sent: list[Frame], cuts: list[int]
) -> None:
    data = b"".join(HEADER.pack(len(f.body), f.kind, f.request_id) + f.body for f in sent)
    assert read(FrameReader(LIMIT), pieces(data, cuts)) == sent


@given(st.binary(max_size=2000), st.lists(st.integers(0, 10_000), max_size=8))
def test_any_bytes_are_frames_or_one_error(data: bytes, cuts: list[int]) -> None:
    reader = FrameReader(LIMIT)
    try:
        found = read(reader, pieces(data, cuts))
    except DecodeError:
        return
    assert all(len(frame.body) <= LIMIT for frame in found)


def test_a_length_beyond_the_limit_is_refused_before_its_body_comes() -> None:
    reader = FrameReader(LIMIT)
    reader.feed(HEADER.pack(LIMIT + 1, Kind.HELLO, 0))
    with pytest.raises(DecodeError, match="at most 300"):
        reader.next()


def test_large_frames_in_small_pieces_do_not_mix() -> None:
    reader = FrameReader(1 << 20)
    bodies = [bytes([number]) * 200_000 for number in range(5)]
    data = b"".join(HEADER.pack(len(body), Kind.CHUNK, 1) + body for body in bodies)
    parts = [data[at : at + 1448] for at in range(0, len(data), 1448)]
    assert [frame.body for frame in read(reader, parts)] == bodies


def test_a_hello_comes_back_with_every_field() -> None:
    assert decode_hello(encode_hello(HELLO)) == HELLO


def test_a_hello_with_more_keys_is_read() -> None:
    later = MAGIC + msgpack.packb({**FIELDS, "later": 1})
    assert decode_hello(later) == HELLO


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        MAGIC,
        MAGIC + b"\xc1",
        MAGIC + msgpack.packb([1, 2]),
        MAGIC + msgpack.packb({**FIELDS, "lane": 99}),
        MAGIC + msgpack.packb({**FIELDS, "lane": None}),
        MAGIC + msgpack.packb({**FIELDS, "sender": b"a"}),
        MAGIC + msgpack.packb({**FIELDS, "version_min": True}),
        MAGIC + msgpack.packb({"lane": 1}),
        MAGIC + b"\x81\xa4lane\xa1\xff",
        encode_hello(HELLO)[:-1],
        encode_hello(HELLO) + b"x",
    ],
)
def test_what_is_no_hello_is_one_error(body: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_hello(body)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_hello_or_one_error(body: bytes) -> None:
    try:
        decode_hello(MAGIC + body)
    except DecodeError:
        return
