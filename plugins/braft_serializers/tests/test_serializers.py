"""Both serializers pass the conformance suite and have the properties they document."""

from __future__ import annotations

import json
import math
import tomllib
from pathlib import Path
from typing import Any

import cbor2
import pytest
from hypothesis import given

import braft_serializers
from braft_core import serializers
from braft_core.errors import DecodeError
from braft_serializers.cbor import CborSerializer
from braft_serializers.json import JsonSerializer
from braft_testing.plugins import check_plugin
from braft_testing.serializers import SerializerConformance, plain_values, same


class TestCbor(SerializerConformance):
    def make(self) -> CborSerializer:
        return CborSerializer()


class TestJson(SerializerConformance):
    def make(self) -> JsonSerializer:
        return JsonSerializer()


def test_the_plugin_keeps_the_rules() -> None:
    check_plugin(braft_serializers)


def test_the_distribution_names_its_entry_point() -> None:
    pyproject = Path(__file__).parents[1] / "pyproject.toml"
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    assert project["entry-points"]["braft"] == {"serializers": "braft_serializers"}
    assert "braft-core>=0.1,<0.2" in project["dependencies"]


def test_tags_are_the_ones_in_logs_already() -> None:
    assert (CborSerializer.name, CborSerializer.tag) == ("cbor", 2)
    assert (JsonSerializer.name, JsonSerializer.tag) == ("json", 3)


def test_limits_are_those_of_every_serializer() -> None:
    limits = (serializers.MAX_DEPTH, serializers.INT_MIN, serializers.INT_MAX)
    assert limits == (128, -(2**63), 2**64 - 1)


# CBOR


@pytest.mark.parametrize(
    ("hexadecimal", "word"),
    [
        ("c06a323032302d30312d3031", "tag"),  # a date
        ("c249010000000000000000", "tag"),  # a bignum
        ("c24101", "tag"),  # a bignum that would fit
        ("d81c81d81d00", "tag"),  # a list that contains itself
        ("d9010282", "CBOR"),  # a truncated set
        ("d901028101", "tag"),  # a set
        ("d9d9f701", "tag"),  # self-described CBOR
        ("f7", "plain"),  # undefined
        ("e0", "plain"),  # an unassigned simple value
        ("a10102", "not a str"),  # an int key
        ("a1416101", "not a str"),  # a bytes key
        ("a2616101616102", "Duplicate"),
        ("61ff", "text"),
        ("0102", "more bytes"),
        ("9bffffffffffffffff", "CBOR"),
        ("81" * 5000 + "01", "depth"),
    ],
)
def test_cbor_refuses_what_is_not_plain(hexadecimal: str, word: str) -> None:
    with pytest.raises(DecodeError, match=word):
        CborSerializer().loads(bytes.fromhex(hexadecimal))


def test_cbor_is_canonical() -> None:
    serializer = CborSerializer()
    assert serializer.dumps({"b": 1, "aa": 2, "a": 3}) == serializer.dumps(
        {"a": 3, "aa": 2, "b": 1}
    )
    assert serializer.dumps({"bb": 2.5, "a": (1,)}).hex() == "a261618101626262f94100"


@given(plain_values())
def test_cbor_is_what_other_readers_read(value: Any) -> None:
    assert same(cbor2.loads(CborSerializer().dumps(value)), value)


def test_cbor_accepts_what_is_not_canonical() -> None:
    assert CborSerializer().loads(bytes.fromhex("1b0000000000000001")) == 1
    assert CborSerializer().loads(bytes.fromhex("9f01ff")) == [1]


def test_cbor_reads_more_than_one_buffer() -> None:
    value = [b"x" * 10_000, "y" * 100_000, list(range(5_000))]
    assert CborSerializer().loads(CborSerializer().dumps(value)) == value


def test_cbor_carries_nan() -> None:
    assert math.isnan(CborSerializer().loads(CborSerializer().dumps(math.nan)))


# JSON


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"hi", '{"$b64":"aGk="}'),
        ({"$b64": "aGk="}, '{"$$b64":"aGk="}'),
        ({"$$b64": 1, "x": b""}, '{"$$$b64":1,"x":{"$b64":""}}'),
        ({"$": 1}, '{"$$":1}'),
        (-math.inf, '{"$float":"-inf"}'),
        (["ä", 1.0, -0.0, 1e22, (1,)], '["ä",1.0,-0.0,1e+22,[1]]'),
    ],
)
def test_json_text(value: object, text: str) -> None:
    assert JsonSerializer().dumps(value).decode() == text


@given(plain_values())
def test_json_is_json(value: Any) -> None:
    json.loads(JsonSerializer().dumps(value), parse_constant=pytest.fail)


def test_json_refuses_nan_and_says_what_to_do() -> None:
    with pytest.raises(TypeError, match="NaN has no JSON form; send None, or use the msgpack"):
        JsonSerializer().dumps([math.nan])


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "JSON"),
        ("NaN", "NaN"),
        ("[Infinity]", "Infinity"),
        ("1e999", "range"),
        ("18446744073709551616", "int beyond"),
        ("9" * 10_000, "JSON"),
        ('{"a":1,"a":2}', "twice"),
        ('{"$b64":1}', "no text"),
        ('{"$b64":"?"}', "JSON"),
        ('{"$b64":"aGk"}', "JSON"),
        ('{"$b64":"aGl="}', "canonical"),
        ('{"$b64":"aGk=","x":1}', "no form"),
        ('{"$float":"nan"}', "neither"),
        ('{"$float":1.0}', "neither"),
        ('{"$other":1}', "no form"),
        ('"\\ud800"', "Unicode"),
        ('{"\\udfff":1}', "Unicode"),
        (" 1", "space"),
        ("1\n", "space"),
        ("\ufeff1", "JSON"),
        ("[" * 129 + "]" * 129, "nested deeper"),
        ("[" * 100_000, "JSON"),
        ("1 2", "JSON"),
    ],
)
def test_json_refuses(text: str, word: str) -> None:
    with pytest.raises(DecodeError, match=word):
        JsonSerializer().loads(text.encode())


def test_json_refuses_other_encodings() -> None:
    for encoding in ("utf-16", "utf-32", "latin-1"):
        with pytest.raises(DecodeError):
            JsonSerializer().loads('["ä"]'.encode(encoding))


def test_json_accepts_escapes_of_others() -> None:
    assert JsonSerializer().loads(b'"\\ud83d\\ude00\\u00e4"') == "\U0001f600ä"
