"""Encoded commands of each serializer: damaged, truncated, nested, with huge claimed lengths."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from braft_core.abc import Serializer
from braft_core.errors import DecodeError
from braft_core.serializers.command_types import TypeRegistry
from braft_core.serializers.msgpack import MsgpackSerializer
from braft_core.serializers.typed_values import to_plain
from braft_core.services.envelope import TYPED, decode_command
from braft_serializers.cbor import CborSerializer
from braft_serializers.json import JsonSerializer

SERIALIZERS: list[Serializer] = [MsgpackSerializer(), CborSerializer(), JsonSerializer()]
KNOWN = {each.tag: each for each in SERIALIZERS}
by_serializer = pytest.mark.parametrize("serializer", SERIALIZERS, ids=lambda each: each.name)


def decoded_or_refused(data: bytes) -> None:
    try:
        service, command, args = decode_command(KNOWN, data)
    except DecodeError:
        return
    assert (type(service), type(command), type(args)) == (str, str, list)


@by_serializer
def test_damaged_typed_commands_make_a_value_or_a_decode_error(
    serializer: Serializer, registry: TypeRegistry, typed_values: st.SearchStrategy[Any]
) -> None:
    @settings(
        max_examples=150,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(typed_values, st.integers(0, 1 << 16), st.integers(0, 255), st.booleans())
    def check(value: Any, position: int, byte: int, cut: bool) -> None:
        plain = ["s", "c", [to_plain(value, registry=registry)]]
        data = bytearray(bytes((TYPED, serializer.tag)) + serializer.dumps(plain))
        place = 2 + position % (len(data) - 2)
        if cut:
            del data[place:]
        else:
            data[place] = byte
        decoded_or_refused(bytes(data))

    check()


CORPUS = {
    "msgpack list of 2**32": (1, b"\xdd\xff\xff\xff\xff"),
    "msgpack bytes of 2**32": (1, b"\xc6\xff\xff\xff\xff"),
    "msgpack map of 2**32": (1, b"\xdf\xff\xff\xff\xff"),
    "msgpack lists in lists": (1, b"\x91" * 100_000),
    "msgpack timestamp": (1, b"\x93\xa1s\xa1c\x91\xd6\xff\x00\x00\x00\x00"),
    "msgpack extension": (1, b"\x93\xa1s\xa1c\x91\xc7\x01\x05x"),
    "cbor list of 2**64": (2, b"\x9b" + b"\xff" * 8),
    "cbor text of 2**63": (2, b"\x7b\x7f" + b"\xff" * 7),
    "cbor lists in lists": (2, b"\x81" * 100_000),
    "cbor endless list": (2, b"\x9f" + b"\x00" * 1000),
    "cbor shared reference": (2, b"\x83as\x61ac\x81\xd8\x1d\x00"),
    "cbor bignum": (2, b"\x83\x61s\x61c\x81\xc2\x58\x40" + b"\xff" * 64),
    "cbor regular expression": (2, b"\x83\x61s\x61c\x81\xd8\x23\x65(a+)+"),
    "json lists in lists": (3, b"[" * 100_000),
    "json digits": (3, b'["s","c",[' + b"9" * 100_000 + b"]]"),
    "json exponent": (3, b'["s","c",[1e999999999]]'),
    "json surrogate": (3, b'["s","c",["\\ud800"]]'),
    "typed decimal of a huge exponent": (
        3,
        b'["s","c",[{"@":["decimal","1E+99999999999999999999"]}]]',
    ),
    "typed python object": (3, b'["s","c",[{"@":["os.system",1,{"command":"true"}]}]]'),
    "typed tag of yaml": (3, b'["s","c",[{"@":["!!python/object/apply:os.system",1]}]]'),
}


@pytest.mark.parametrize("name", CORPUS)
@pytest.mark.parametrize("form", [1, TYPED])
def test_hostile_bytes_are_refused_and_cost_no_memory(name: str, form: int) -> None:
    tag, data = CORPUS[name]
    tracemalloc.start()
    try:
        if form == TYPED or not name.startswith("typed"):
            with pytest.raises(DecodeError):
                decode_command(KNOWN, bytes((form, tag)) + data)
        else:
            decode_command(KNOWN, bytes((form, tag)) + data)
        assert tracemalloc.get_traced_memory()[1] < 100 * len(data) + 1_000_000
    finally:
        tracemalloc.stop()
