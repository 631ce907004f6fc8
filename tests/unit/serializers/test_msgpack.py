"""The default serializer: the conformance suite, and properties of msgpack alone."""

from __future__ import annotations

import gc
import math
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgpack
import pytest

from braft_core.errors import DecodeError
from braft_core.serializers.msgpack import MsgpackSerializer
from braft_core.serializers.plain import check_plain
from braft_testing.serializers import SerializerConformance


class TestMsgpack(SerializerConformance):
    def make(self) -> MsgpackSerializer:
        return MsgpackSerializer()


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "incomplete"),
        (b"\xc1", "msgpack"),
        (b"\x01\x02", "extra"),
        (msgpack.packb(msgpack.Timestamp(1)), "Timestamp"),
        (msgpack.packb([msgpack.Timestamp(1, 1)]), "Timestamp"),
        (msgpack.packb({"t": msgpack.Timestamp(-1, 1)}), "Timestamp"),
        (msgpack.packb(msgpack.ExtType(5, b"x")), "extension type 5"),
        (b"\x82\xa1a\x01\xa1a\x02", "twice"),
        (b"\x81\xc4\x01k\x01", "not text"),
        (b"\x81\x01\x02", "int"),
        (b"\xa1\xff", "utf-8"),
        (b"\x91" * 5000 + b"\x01", "msgpack"),
    ],
)
def test_refuses_with_a_reason(data: bytes, word: str) -> None:
    with pytest.raises(DecodeError, match=word) as caught:
        MsgpackSerializer().loads(data)
    assert caught.value.data["size"] == len(data)
    assert caught.value.__cause__ is not None


def test_bytes_that_look_like_a_timestamp_are_kept() -> None:
    serializer = MsgpackSerializer()
    for header in (b"\xd6\xff", b"\xd7\xff", b"\xc7\x0c\xff"):
        value = [header + b"\x00" * 12, {"k": header}]
        assert serializer.loads(serializer.dumps(value)) == value


def test_a_claimed_length_is_bounded_by_the_input() -> None:
    """A small message that claims a huge array must not make the process ask for that memory."""
    for head in (b"\xdd", b"\xdf", b"\xc6", b"\xdb"):
        with pytest.raises(DecodeError):
            MsgpackSerializer().loads(head + struct.pack(">I", 0xFFFFFFFF) + b"\x00" * 100)


def test_nested_claims_do_not_multiply() -> None:
    """Arrays in arrays that each claim the whole input end at the nesting limit."""
    data = (b"\xdd" + struct.pack(">I", 1_000_000)) * 200_000
    started = time.process_time()
    with pytest.raises(DecodeError):
        MsgpackSerializer().loads(data)
    assert time.process_time() - started < 5


def test_nan_and_infinity_travel() -> None:
    serializer = MsgpackSerializer()
    assert math.isnan(serializer.loads(serializer.dumps(math.nan)))
    assert serializer.loads(serializer.dumps(-math.inf)) == -math.inf


def test_accepts_an_encoding_that_is_not_minimal() -> None:
    assert MsgpackSerializer().loads(b"\xcf" + struct.pack(">Q", 1)) == 1


def test_golden_bytes() -> None:
    """Existing logs hold commands in this form, so it must never change."""
    value = ["kv", "put", ["colors", "sky", b"blue", 1, -1, 1 << 40, 0.5, None, True, {"a": []}]]
    golden = (
        "93a26b76a37075749aa6636f6c6f7273a3736b79c404626c756501ffcf0000010000000000"
        "cb3fe0000000000000c0c381a16190"
    )
    assert MsgpackSerializer().dumps(value).hex() == golden
    assert MsgpackSerializer().loads(bytes.fromhex(golden)) == value


LARGE: list[Any] = [
    [[] for _ in range(160_000)],
    {f"key-{number}": [number, "ä" * 9, b"\xc0", {"x": None}] for number in range(20_000)},
    ["x" * 300_000, b"\xff" * 300_000, {"k" * 100_000: [1.5] * 50_000}],
]


@pytest.mark.parametrize("value", LARGE, ids=["lists", "dict", "texts"])
def test_what_is_large_is_decoded_bit_by_bit(value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # One call of the decoder holds the interpreter's lock until it returns: half a second for a
    # command of the greatest size.
    data = MsgpackSerializer().dumps(value)
    fed: list[int] = []

    class Watched(msgpack.Unpacker):  # type: ignore[misc]  # it has no type information
        def feed(self, data: bytes) -> None:
            fed.append(len(data))
            super().feed(data)

    monkeypatch.setattr(msgpack, "Unpacker", Watched)
    assert MsgpackSerializer().loads(data) == value
    assert len(fed) > 2
    assert max(fed) <= 64 << 10


@pytest.mark.parametrize("value", LARGE, ids=["lists", "dict", "texts"])
def test_a_large_value_is_encoded_in_short_calls(
    value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = msgpack.packb(value)
    at_once: list[int] = []

    class Watched(msgpack.Packer):  # type: ignore[misc]  # it has no type information
        def pack(self, value: Any) -> bytes:
            at_once.append(check_plain(value))
            return super().pack(value)  # type: ignore[no-any-return]  # as above

    monkeypatch.setattr(msgpack, "Packer", Watched)
    monkeypatch.setattr("braft_core.serializers.msgpack._idle_packers", [])
    assert MsgpackSerializer().dumps(value) == expected
    assert MsgpackSerializer().dumps([1]) == b"\x91\x01"
    assert max(at_once) <= 64 << 10


@pytest.mark.parametrize("tail", [b"\x01", b"\xc1", b"\x93", b"\xc0", b"\xda"])
def test_what_is_behind_a_large_value_is_refused(tail: bytes) -> None:
    with pytest.raises(DecodeError):
        MsgpackSerializer().loads(MsgpackSerializer().dumps(LARGE[0]) + tail)


@pytest.mark.parametrize("cut", [1, 2, 3, 1000, 150_000])
def test_a_large_value_without_its_end_is_refused(cut: int) -> None:
    for value in LARGE:
        with pytest.raises(DecodeError):
            MsgpackSerializer().loads(MsgpackSerializer().dumps(value)[:-cut])


@pytest.mark.parametrize("before", [65_520, 65_530, 131_050])
@pytest.mark.parametrize("head", [b"\xd6\xff", b"\xd7\xff", b"\xc7\x0c\xff"])
def test_a_timestamp_is_found_wherever_it_stands(before: int, head: bytes) -> None:
    size = {b"\xd6\xff": 4, b"\xd7\xff": 8, b"\xc7\x0c\xff": 12}[head]
    count = before - 5
    for more in range(12):
        values = b"\x00" * (count + more) + head + bytes(size)
        data = b"\xdd" + (count + more + 1).to_bytes(4, "big") + values
        with pytest.raises(DecodeError):
            MsgpackSerializer().loads(data)


def test_rules_hold_for_large_values() -> None:
    extension, number, twice = b"\xd4\x05\x00", b"\x81\x01\x00", b"\x82\xa1a\x00\xa1a\x00"
    for refused in (extension, number, twice, b"\xd6\xff" + bytes(4)):
        data = b"\xdd" + (70_001).to_bytes(4, "big") + b"\x00" * 70_000 + refused
        with pytest.raises(DecodeError):
            MsgpackSerializer().loads(data)


@pytest.mark.parametrize("value", [*LARGE, 7, "x", [], {"a": (1, [2])}, b"x" * 1000])
@pytest.mark.parametrize("size", [100, 1 << 18])
def test_encoding_piece_by_piece_gives_the_same_bytes(value: Any, size: int) -> None:
    pieces = list(MsgpackSerializer().dumps_slowly(value, size))
    assert b"".join(pieces) == msgpack.packb(value)
    assert {len(piece) for piece in pieces[:-1]} <= {size}


def test_encoding_piece_by_piece_refuses_before_the_first() -> None:
    with pytest.raises(TypeError, match="not a plain value"):
        MsgpackSerializer().dumps_slowly([0, object()], 100)


def test_threads_that_encode_at_one_time_do_not_share_a_packer() -> None:
    serializer = MsgpackSerializer()
    values = [[f"{number}" * 50, number, b"x" * number] for number in range(200)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(serializer.dumps, values * 5))
    assert found == [msgpack.packb(value) for value in values * 5]


def test_a_finalizer_that_encodes_does_not_disturb_what_is_being_encoded() -> None:
    """Packing a dict makes objects, so the garbage collector may run in the middle of it."""
    serializer, encoded = MsgpackSerializer(), list[bytes]()

    class Garbage:
        def __init__(self) -> None:
            self.cycle = self

        def __del__(self) -> None:
            encoded.append(serializer.dumps("from a finalizer"))

    value = {f"key {number}": {"n": number} for number in range(1000)}
    expected = msgpack.packb(value)
    before = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for _ in range(5):
            Garbage()
            assert serializer.dumps(value) == expected
    finally:
        gc.set_threshold(*before)
    assert set(encoded) <= {msgpack.packb("from a finalizer")}
