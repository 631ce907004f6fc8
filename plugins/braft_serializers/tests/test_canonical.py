"""A naive encoder of RFC 8949, section 4.2.1, gives the same CBOR as the serializer."""

from __future__ import annotations

import math
import struct
from typing import Any

import pytest
from hypothesis import given, settings

from braft_serializers.cbor import CborSerializer
from braft_testing.serializers import EDGE_VALUES, plain_values


def head(major: int, number: int) -> bytes:
    """Return the shortest form of an argument."""
    if number < 24:
        return bytes([major << 5 | number])
    for code, form in enumerate((">B", ">H", ">I", ">Q"), 24):
        if number < 1 << 8 * struct.calcsize(form):
            return bytes([major << 5 | code]) + struct.pack(form, number)
    raise AssertionError(number)


def number(value: float) -> bytes:
    """Return the shortest of the three widths that keeps the value."""
    if math.isnan(value):
        return bytes.fromhex("f97e00")
    for code, form in ((0xF9, ">e"), (0xFA, ">f")):
        try:
            packed = struct.pack(form, value)
        except OverflowError:
            continue
        if struct.unpack(form, packed)[0] == value:
            return bytes([code]) + packed
    return b"\xfb" + struct.pack(">d", value)


def naive(value: Any) -> bytes:
    match value:
        case None:
            return b"\xf6"
        case bool():
            return b"\xf5" if value else b"\xf4"
        case int():
            return head(0, value) if value >= 0 else head(1, -1 - value)
        case float():
            return number(value)
        case bytes():
            return head(2, len(value)) + value
        case str():
            return head(3, len(value.encode())) + value.encode()
        case list():
            return head(4, len(value)) + b"".join(map(naive, value))
        case dict():
            # "sorted in the bytewise lexicographic order of their deterministic encodings"
            pairs = sorted((naive(key), naive(item)) for key, item in value.items())
            return head(5, len(pairs)) + b"".join(key + item for key, item in pairs)
    raise AssertionError(value)


@settings(max_examples=300, derandomize=True, database=None, deadline=None)
@given(plain_values())
def test_bytes_are_those_of_section_4_2_1(value: Any) -> None:
    assert CborSerializer().dumps(value) == naive(value)


@pytest.mark.parametrize("value", [*EDGE_VALUES, math.nan, -math.nan], ids=lambda v: repr(v)[:20])
def test_so_are_the_values_at_the_limits(value: Any) -> None:
    assert CborSerializer().dumps(value) == naive(value)


def test_keys_of_several_lengths_are_in_bytewise_order() -> None:
    keys = ["b", "aa", "a" * 23, "a" * 24, "a" * 256, "", "ä", "z", "aaa"]
    value = dict.fromkeys(keys, 1)
    assert CborSerializer().dumps(value) == naive(value)
