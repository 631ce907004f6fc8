"""Typed values survive every serializer unchanged, and hostile bytes create no object."""

from __future__ import annotations

import datetime
import decimal
import enum
import subprocess
import sys
import uuid
import zoneinfo
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from braft_core.abc import Serializer
from braft_core.errors import DecodeError
from braft_core.serializers.command_types import TypeRegistry
from braft_core.serializers.msgpack import MsgpackSerializer
from braft_core.serializers.typed_values import MAX_ITEMS, from_plain, to_plain
from braft_serializers.cbor import CborSerializer
from braft_serializers.json import JsonSerializer
from braft_testing.serializers import plain_values

SERIALIZERS = [MsgpackSerializer(), CborSerializer(), JsonSerializer()]
EXAMPLES = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def described(value: Any) -> Any:
    """Return the value with the types of all its parts, so that 1, 1.0 and True differ."""
    kind = type(value).__name__
    if isinstance(value, dict):
        return kind, sorted(repr((described(k), described(v))) for k, v in value.items())
    if isinstance(value, set | frozenset):
        return kind, sorted(repr(described(item)) for item in value)
    if isinstance(value, list | tuple):
        return kind, [described(item) for item in value]
    if isinstance(value, enum.Enum):
        return kind, value.name
    if kind in ATTRIBUTES:
        return kind, [described(getattr(value, slot)) for slot in ATTRIBUTES[kind]]
    return kind, repr(value)


ATTRIBUTES = {"Order": ["item", "count"], "Line": ["_price", "note"], "Point": ["x", "y"]}


@pytest.mark.parametrize("serializer", SERIALIZERS, ids=lambda each: each.name)
def test_typed_values_come_back_with_their_types(
    serializer: Serializer, registry: TypeRegistry, typed_values: st.SearchStrategy[Any]
) -> None:
    @EXAMPLES
    @given(typed_values)
    def check(value: Any) -> None:
        plain = to_plain(value, registry=registry)
        back = from_plain(serializer.loads(serializer.dumps(plain)), registry=registry)
        assert back == value
        assert described(back) == described(value)

    check()


def test_plain_values_stand_for_themselves() -> None:
    @EXAMPLES
    @given(plain_values())
    def check(value: Any) -> None:
        if not _looks_typed(value):
            assert to_plain(value) == value
        assert from_plain(to_plain(value)) == value

    check()


def _looks_typed(value: Any) -> bool:
    if isinstance(value, dict):
        return list(value) == ["@"] or any(map(_looks_typed, value.values()))
    return isinstance(value, list) and any(map(_looks_typed, value))


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (1 << 64, ["int", "10000000000000000"]),
        (-(1 << 63) - 1, ["int", "-8000000000000001"]),
        (decimal.Decimal("1.10"), ["decimal", "1.10"]),
        (uuid.UUID(int=1), ["uuid", b"\0" * 15 + b"\1"]),
        (datetime.date(2024, 2, 29), ["date", "2024-02-29"]),
        (datetime.time(1, 2, 3, 4, fold=1), ["time", "01:02:03.000004", 1]),
        (
            datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC),
            ["datetime", "2024-01-01T00:00:00+00:00", 0],
        ),
        (datetime.timedelta(-1, 5, 6), ["timedelta", -1, 5, 6]),
        ((1, (2,)), ["tuple", [1, {"@": ["tuple", [2]]}]]),
        ({3, 1, 2, -1}, ["set", [1, 2, 3, -1]]),
        (frozenset({"b", "a"}), ["frozenset", ["a", "b"]]),
        ({2: "b", 1: "a"}, ["map", [[1, "a"], [2, "b"]]]),
        ({"@": 1}, ["map", [["@", 1]]]),
    ],
    # Parallel workers need equal test names, and sets have no stable order.
    ids=lambda value: repr(sorted(value) if isinstance(value, frozenset) else value),
)
def test_the_forms_in_logs(value: object, plain: object) -> None:
    """Compare with golden forms, which existing logs hold."""
    assert to_plain(value) == {"@": plain}
    assert from_plain({"@": plain}) == value


def test_tuples_may_be_lists_as_in_plain_values_but_not_within_typed_ones(
    registry: TypeRegistry,
) -> None:
    assert to_plain((1, [(2,)]), keep_tuples=False) == [1, [[2]]]
    assert to_plain([{(1, 2)}], keep_tuples=False) == [{"@": ["set", [{"@": ["tuple", [1, 2]]}]]}]


@pytest.mark.parametrize("serializer", SERIALIZERS, ids=lambda each: each.name)
def test_equal_sets_and_maps_have_equal_bytes(serializer: Serializer) -> None:
    one = [{"a", "bb", 10, 2.5}, {3: "x", 1: "y"}]
    other = [{2.5, 10, "bb", "a"}, {1: "y", 3: "x"}]
    assert serializer.dumps(to_plain(one)) == serializer.dumps(to_plain(other))


def test_bytes_do_not_depend_on_the_hash_seed() -> None:
    script = (
        "from braft_core.serializers.typed_values import to_plain\n"
        "print(to_plain({f'k{n}' for n in range(50)} | {1, b'x'}))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


def test_text_keys_are_in_order_of_insertion_except_in_cbor() -> None:
    one, other = {"b": {1}, "a": 2}, {"a": 2, "b": {1}}
    equal = [s.dumps(to_plain(one)) == s.dumps(to_plain(other)) for s in SERIALIZERS]
    assert equal == [False, True, False]


class Sub(int):
    pass


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (object(), "its type is not registered; accepted are"),
        (Sub(1), "type Sub"),
        (bytearray(b"x"), "bytearray"),
        (1 << 70_000, "70001 bits"),
        (decimal.Decimal("1" * 30_000), "30000 characters"),
        (datetime.datetime(2024, 1, 1, tzinfo=zoneinfo.ZoneInfo("UTC")), "named zone"),
        (set(range(MAX_ITEMS + 1)), "16385 items"),
        (dict.fromkeys(range(MAX_ITEMS + 1)), "16385 items"),
        ({"a": [object()]}, "not registered"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_sent_is_named(value: object, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        to_plain(value)


def test_a_cycle_is_nested_too_deep() -> None:
    value: list[Any] = []
    value.append((value,))
    with pytest.raises(TypeError, match="nested deeper"):
        to_plain(value)


def _deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"@": ["tuple", [value]]}
    return value


#: Values that an attacker might put into a log to break a node, or to make it act.
HOSTILE: list[tuple[Any, str]] = [
    ({"@": 1}, "no list"),
    ({"@": []}, "no list"),
    ({"@": [1]}, "no list"),
    ({"@": ["nothing"]}, "form 'nothing', which this braft does not know; it knows date"),
    ({"@": ["os.system", 1, "true"]}, "'os.system', which is not registered in this process"),
    ({"@": ["builtins.eval", 1, {"source": "1"}]}, "not registered"),
    ({"@": ["test.order", 1, ["x"]]}, "a dict of its fields"),
    ({"@": ["test.order", 2, {"item": 1}]}, "version 2 of command type 'test.order'; .* up to 1"),
    ({"@": ["test.order", 0, {"item": 1}]}, "version 0"),
    ({"@": ["test.order", "1", {"item": 1}]}, "instead of"),
    ({"@": ["test.order", 1]}, "instead of"),
    ({"@": ["test.order", 1, {}]}, "lacks 'item', which has no default"),
    ({"@": ["test.order", 1, {"item": 1, "__class__": 2}]}, "has '__class__', which the class"),
    ({"@": ["test.colour", 1, "__class__"]}, "no member '__class__'; it has RED, BLUE"),
    ({"@": ["test.colour", 1, 1]}, "no member"),
    ({"@": ["int", "1"]}, "not written so"),
    ({"@": ["int", "0x" + "f" * 20]}, "not written so"),
    ({"@": ["int", "f" * 20_000]}, "20000 digits"),
    ({"@": ["decimal", "1e5"]}, "not written so"),
    ({"@": ["decimal", "x"]}, "not a typed value"),
    ({"@": ["decimal", "9" * 30_000]}, "30000 characters"),
    ({"@": ["uuid", b"x"]}, "16"),
    ({"@": ["date", "20240101"]}, "not written as"),
    ({"@": ["date", "2024-13-01"]}, "month"),
    ({"@": ["datetime", "2024-01-01T00:00:00", 7]}, "fold"),
    ({"@": ["datetime", "now", 0]}, "isoformat"),
    ({"@": ["time", "01:02", 0]}, "not written as"),
    ({"@": ["timedelta", 10**18, 0, 0]}, "not a typed value"),
    ({"@": ["set", [[1]]]}, "unhashable"),
    ({"@": ["set", [1, 1]]}, "twice"),
    ({"@": ["set", list(range(MAX_ITEMS + 1))]}, "16385 items"),
    ({"@": ["frozenset", 5]}, "instead of"),
    ({"@": ["map", [[1]]]}, "no pair"),
    ({"@": ["map", [[1, 2], [1, 3]]]}, "twice"),
    ({"@": ["map", [[{}, 2]]]}, "unhashable"),
    (_deep(200), "nested deeper"),
]


@pytest.mark.parametrize(("plain", "words"), HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_values_are_decode_errors(plain: Any, words: str, registry: TypeRegistry) -> None:
    for wrapped in (plain, [plain], {"a": {"@": ["tuple", [plain]]}}):
        with pytest.raises(DecodeError, match=words):
            from_plain(wrapped, registry=registry)


def test_no_plain_value_does_more_than_fail(registry: TypeRegistry) -> None:
    names = ["int", "decimal", "uuid", "set", "map", "tuple", "date", "time", "datetime"]
    names += ["timedelta", "frozenset", *registry.names]
    form = st.tuples(st.sampled_from(names), plain_values(), plain_values())

    @EXAMPLES
    @given(form, st.integers(1, 3))
    def check(parts: tuple[Any, ...], length: int) -> None:
        for head in ([], [1]):
            value = {"@": [parts[0], *head, *parts[1:length]]}
            try:
                back = from_plain(value, registry=registry)
            except DecodeError:
                continue
            assert type(back).__name__ in ATTRIBUTES or back == from_plain(
                to_plain(back, registry=registry), registry=registry
            )

    check()
