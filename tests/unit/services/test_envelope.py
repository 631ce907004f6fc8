"""Commands and outcomes as bytes."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from braft_core import errors
from braft_core.abc import Serializer
from braft_core.errors import BraftError, Conflict, DecodeError
from braft_core.serializers.msgpack import MsgpackSerializer
from braft_core.serializers.unsupported import UnsupportedEncoding
from braft_core.services.envelope import (
    SESSION_BYTES,
    SessionStamp,
    decode_command,
    decode_outcome,
    decode_session_stamp,
    encode_answer,
    encode_command,
    encode_outcome,
    with_session,
)

MSGPACK = MsgpackSerializer()
KNOWN: dict[int, Serializer] = {1: MSGPACK}

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(st.text(), st.text(), st.lists(plain, max_size=4))
def test_a_command_comes_back(service: str, command: str, args: list[Any]) -> None:
    data = encode_command(MSGPACK, service, command, args)
    assert decode_command(KNOWN, data) == (service, command, args)


@pytest.mark.parametrize("value", [math.nan, [{"a": (1.0, -math.inf)}], {"a": [math.inf]}])
def test_what_http_reads_takes_finite_numbers_alone(value: Any) -> None:
    for service, args in (("kv", ["m", "k", value]), ("distribute", [{"item": value}])):
        with pytest.raises(errors.InvalidRequest, match=r"(nan|inf) in .*accepted: finite numbers"):
            encode_command(MSGPACK, service, "put", args)
    data = encode_command(MSGPACK, "mine", "put", [value])
    assert repr(decode_command(KNOWN, data)[2]) == repr([value]).replace("(", "[").replace(")", "]")


def test_the_format_of_commands_is_for_ever() -> None:
    data = bytes.fromhex("01 01 93 a2 6b76 a3 707574 93 a1 6d a1 6b 05")
    assert encode_command(MSGPACK, "kv", "put", ("m", "k", 5)) == data
    assert decode_command(KNOWN, data) == ("kv", "put", ["m", "k", 5])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not a command: 0 bytes"),
        (b"\x01\x01", "not a command: 2 bytes"),
        (b"\x05\x01\x90", "not a msgpack value"),
        (b"\x01\x09\x90", "serializer with tag 9, which is not installed"),
        (b"\x01\x02\x90", "pip install braft-serializers"),
        (b"\x01\x01\xc1", "not a msgpack value"),
        (b"\x01\x01\x90", r"not \[service, command"),
        (b"\x01\x01\xc0", r"not \[service, command"),
        (b"\x01\x01" + msgpack.packb(["kv", "put", {}]), r"not \[service, command"),
        (b"\x01\x01" + msgpack.packb(["kv", 3, []]), r"not \[service, command"),
        (b"\x01\x01" + msgpack.packb([b"kv", "put", []]), r"not \[service, command"),
        (b"\x01\x01" + msgpack.packb(["kv", "put", [], 1]), r"not \[service, command"),
        (b"\x03\x01" + msgpack.packb(["kv", "put", 1]), r"not \[service, command"),
        (b"\x03\x01" + msgpack.packb(["kv", "put", [{"@": 1}]]), r"no list"),
    ],
)
def test_anything_else_is_a_decode_error(data: bytes, reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        decode_command(KNOWN, data)


def test_the_released_bytes_of_a_command_of_a_session() -> None:
    plain = encode_command(MSGPACK, "kv", "put", ("m", "k", 5))
    session = bytes(range(16))
    data = with_session(plain, SessionStamp(session, sequence=300, first_unacknowledged=298))
    assert data == b"\x05\x01" + session + bytes(6) + b"\x01\x2c" + bytes(3) + b"\x02" + plain[2:]
    assert len(data) == len(plain) + SESSION_BYTES
    assert decode_session_stamp(data) == (session, 300, 298)
    assert decode_command(KNOWN, data) == ("kv", "put", ["m", "k", 5])


@pytest.mark.parametrize("byte", [0, 2, 4, 6, 8, 9, 255])
def test_another_format_is_left_to_a_later_version(byte: int) -> None:
    data = bytes((byte,)) + encode_command(MSGPACK, "kv", "put", [])[1:]
    with pytest.raises(
        UnsupportedEncoding, match=f"format {byte}; this braft reads formats 1, 3, 5, 7"
    ):
        decode_command(KNOWN, data)


def _nested(depth: int) -> Any:
    value: Any = 7
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("depth", [0, 126, 127, 128])
def test_an_answer_of_any_depth_that_a_value_may_have_is_sent(depth: int) -> None:
    assert decode_outcome(encode_answer(_nested(depth))) == _nested(depth)


@pytest.mark.parametrize("depth", [1, 124, 125, 126, 127, 128])
def test_a_typed_answer_is_sent_if_it_can_be_read(depth: int) -> None:
    value = _nested(depth - 1)
    value = [value, Decimal(1)]
    assert decode_outcome(encode_answer(value)) == value


@pytest.mark.parametrize("depth", [1, 125, 126, 127, 128])
def test_facts_of_an_error_may_be_as_deep(depth: int) -> None:
    sent = decode_outcome(encode_answer(Conflict("no", facts=_nested(depth))))
    assert (type(sent), sent.message) == (Conflict, "no")
    assert sent.data["facts"] in (_nested(depth), repr(_nested(depth)))


@pytest.mark.parametrize(
    "value", [_nested(129), object(), {1: _nested(127)}], ids=["deep", "o", "t"]
)
def test_an_answer_that_cannot_be_sent_is_an_answer_all_the_same(value: Any) -> None:
    sent = decode_outcome(encode_answer(value))
    assert type(sent) is errors.Rejected
    assert sent.message.startswith("applied; its answer cannot be sent: ")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x05\x01" + bytes(27),
        b"\x05\x01" + bytes(28),
        b"\x06",
    ],
)
def test_a_place_that_is_none_is_a_decode_error(data: bytes) -> None:
    with pytest.raises(DecodeError, match="not a command of a session"):
        decode_session_stamp(data)


class Careless(MsgpackSerializer):
    """Breaks the rule that bad bytes are a DecodeError."""

    def loads(self, data: bytes) -> Any:
        raise ZeroDivisionError


def test_a_serializer_that_breaks_its_rule_stops_nobody() -> None:
    with pytest.raises(DecodeError, match="serializer 'msgpack' raised ZeroDivisionError"):
        decode_command({1: Careless()}, b"\x01\x01\x90")


@given(st.binary(max_size=60))
def test_no_bytes_do_more_than_fail_to_decode(data: bytes) -> None:
    for candidate in (data, b"\x01\x01" + data, b"\x01\x01\x93" + data):
        try:
            decode_command(KNOWN, candidate)
        except DecodeError:
            continue
    decode_outcome(data)


def test_arguments_that_are_not_plain_are_refused() -> None:
    with pytest.raises(TypeError, match="not a plain value"):
        encode_command(MSGPACK, "kv", "put", [object()])


@given(plain)
def test_a_value_comes_back(value: Any) -> None:
    assert decode_outcome(encode_outcome(value)) == value


@pytest.mark.parametrize("kind", [getattr(errors, name) for name in errors.__all__[:-2]])
def test_every_error_comes_back(kind: type[BraftError]) -> None:
    back = decode_outcome(encode_outcome(kind("what happened", index=7, known=["a"])))
    assert type(back) is kind
    assert back.message == "what happened"
    assert back.data == {"index": 7, "known": ["a"]}


def test_an_error_travels_whatever_hangs_on_it() -> None:
    back = decode_outcome(encode_outcome(Conflict("\udc80 broken", odd={1}, fine=1)))
    assert back.message == "\\udc80 broken"
    assert back.data == {"odd": "{1}", "fine": 1}


@pytest.mark.parametrize("value", [[], [0], [2], [3, 1], [1, 2, "x", {}], [1, "busy", "m"], 5, {}])
def test_what_is_no_outcome_becomes_an_error(value: Any) -> None:
    assert isinstance(decode_outcome(MSGPACK.dumps(value)), DecodeError)


def test_bytes_that_are_nothing_become_an_error() -> None:
    assert isinstance(decode_outcome(b"\xc1"), DecodeError)


def test_a_value_that_is_not_plain_has_no_bytes() -> None:
    with pytest.raises(TypeError):
        encode_outcome(object())
