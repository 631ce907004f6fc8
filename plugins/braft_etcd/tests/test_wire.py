"""The codec agrees with google.protobuf on every message, and bounds what it makes."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.message import DecodeError as ProtobufError
from hypothesis import given
from hypothesis import strategies as st

from braft_etcd.wire import Message, Values, WireError, decode, encode
from braft_etcd.wire.decoding import MAX_DEPTH, MAX_PARTS
from braft_etcd.wire.json import dump, from_plain, load, to_plain
from braft_etcd.wire.messages import SCHEMA, message
from braft_etcd.wire.schema import Field

_TYPES = {"bytes": 12, "string": 9, "bool": 8, "int64": 3, "uint64": 4, "uint32": 13, "int32": 5}
_ENUM, _MESSAGE = 14, 11


def _field(field: Field, proto: descriptor_pb2.FieldDescriptorProto) -> None:
    proto.name, proto.number = field.name, field.number
    proto.label = 3 if field.repeated else 1
    if field.message is not None:
        proto.type, proto.type_name = _MESSAGE, f".{field.message.name}"
    elif field.kind == "enum":
        # Prefixed, since the names of enumerations share a scope.
        proto.type, proto.type_name = _ENUM, f".enums.{_enum_name(field)}"
    else:
        proto.type = _TYPES[field.kind]
    if field.oneof:
        proto.oneof_index = 0


def _enum_name(field: Field) -> str:
    return "E" + "".join(field.enum.values())


def _google() -> Callable[[str], Any]:
    """Build the same messages for google.protobuf; return its class by a message's name."""
    file = descriptor_pb2.FileDescriptorProto(name="enums.proto", package="enums", syntax="proto3")
    for names in {tuple(field.enum.values()) for each in SCHEMA for field in each.fields}:
        if names:
            enum = file.enum_type.add(name="E" + "".join(names))
            for number, name in enumerate(names):
                enum.value.add(name=f"{enum.name}_{name}", number=number)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    # One file for each package; those that others use come first.
    files: dict[str, descriptor_pb2.FileDescriptorProto] = {}
    for each in SCHEMA:
        package, _, name = each.name.rpartition(".")
        if package not in files:
            made = descriptor_pb2.FileDescriptorProto(
                name=f"{package}.proto",
                package=package,
                syntax="proto3",
                dependency=["enums.proto", *(f"{known}.proto" for known in files)],
            )
            files[package] = made
        proto = files[package].message_type.add(name=name)
        if each.oneof:
            proto.oneof_decl.add(name="one")
        for field in each.fields:
            _field(field, proto.field.add())
    for made in files.values():
        pool.Add(made)
    return lambda name: message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


_class = _google()
_MESSAGES = sorted(SCHEMA, key=lambda each: each.name)
messages = pytest.mark.parametrize("kind", _MESSAGES, ids=lambda each: each.name)

_BITS = {"int64": 64, "uint64": 64, "uint32": 32}
#: Drawing messages by strategies takes seconds each; a generator that Hypothesis seeds does not.
seeds = st.integers(0, (1 << 32) - 1).map(random.Random)


def _number(draw: random.Random, kind: str) -> int:
    bits = _BITS[kind]
    number = draw.getrandbits(draw.choice((0, 1, 7, 8, 14, 31, 32, bits)) % (bits + 1))
    return number - (1 << bits) if kind == "int64" and number >> (bits - 1) else number


def _scalar(draw: random.Random, field: Field) -> Any:
    if field.kind == "enum":
        return draw.choice(sorted(field.enum))
    if field.kind == "bool":
        return draw.random() < 0.5
    if field.kind == "bytes":
        return draw.randbytes(draw.choice((0, 1, 5, 127, 128, 300)))
    if field.kind == "string":
        return "".join(draw.choices("aß€😀", k=draw.choice((0, 1, 40))))
    return _number(draw, field.kind)


def _values(draw: random.Random, kind: Message, depth: int = 4) -> Values:
    """Draw a message as :func:`decode` returns it."""
    values = kind.new()
    chosen = draw.choice(("", *kind.oneof))
    for field in kind.fields:
        if field.oneof and field.name != chosen:
            continue
        if field.message is None:
            many = [_scalar(draw, field) for _ in range(draw.randrange(4))]
        else:
            count = draw.randrange(3) if depth else 0
            many = [_values(draw, field.message, depth - 1) for _ in range(count)]
        if field.repeated:
            values[field.name] = many
        elif many:
            values[field.name] = many[0]
    return values


def _fill(target: Any, kind: Message, values: Values) -> None:
    for field in kind.fields:
        value = values[field.name]
        if value is None:
            continue
        if field.message is not None:
            for each in value if field.repeated else [value]:
                inner = getattr(target, field.name)
                inner = inner.add() if field.repeated else inner
                inner.SetInParent()
                _fill(inner, field.message, each)
        elif field.repeated:
            getattr(target, field.name).extend(value)
        else:
            setattr(target, field.name, value)


def _read(source: Any, kind: Message) -> Values:
    values = kind.new()
    for field in kind.fields:
        found = getattr(source, field.name)
        if field.repeated:
            values[field.name] = [
                _read(each, field.message) if field.message else each for each in found
            ]
        elif field.message is not None:
            if source.HasField(field.name):
                values[field.name] = _read(found, field.message)
        elif not field.oneof or source.HasField(field.name):
            values[field.name] = found
    return values


@given(seeds)
def test_both_write_the_same_bytes_and_read_them(draw: random.Random) -> None:
    kind = draw.choice(_MESSAGES)
    values = _values(draw, kind)
    theirs = _class(kind.name)()
    _fill(theirs, kind, values)
    encoded = encode(kind, values)
    assert encoded == theirs.SerializeToString(deterministic=True)
    assert decode(kind, encoded) == values


@given(seeds, st.binary(max_size=12))
def test_both_read_the_same_in_any_bytes(draw: random.Random, noise: bytes) -> None:
    kind = draw.choice(_MESSAGES)
    whole, other = (encode(kind, _values(draw, kind, 2)) for _ in range(2))
    cut = draw.randint(0, len(whole))
    mixed = draw.choice((whole + other, whole[:cut] + noise + whole[cut:], noise))
    try:
        ours = decode(kind, mixed)
    except WireError:
        with pytest.raises(ProtobufError):
            _class(kind.name).FromString(mixed)
    else:
        assert ours == _read(_class(kind.name).FromString(mixed), kind)


@given(seeds)
def test_json_comes_back_and_google_reads_it(draw: random.Random) -> None:
    kind = draw.choice(_MESSAGES)
    values = _values(draw, kind)
    assert load(kind, dump(kind, values)) == values
    plain = to_plain(kind, values)
    theirs = _class(kind.name)()
    json_format.ParseDict(_with_long_names(kind, plain), theirs)
    assert _read(theirs, kind) == values


def _with_long_names(kind: Message, plain: dict[str, Any]) -> dict[str, Any]:
    """Return JSON with the names that the enumerations have in the descriptors above."""
    changed = {}
    for name, value in plain.items():
        field = kind.by_name[name]
        items = value if field.repeated else [value]
        if field.kind == "enum":
            items = [f"{_enum_name(field)}_{each}" for each in items]
        elif field.message is not None:
            items = [_with_long_names(field.message, each) for each in items]
        changed[name] = items if field.repeated else items[0]
    return changed


@messages
def test_every_message_is_empty_without_bytes(kind: Message) -> None:
    assert encode(kind, {}) == encode(kind, kind.new()) == b""
    assert decode(kind, b"") == kind.new()


def _nested(levels: int) -> bytes:
    """Return transactions within each other, that many levels of messages deep."""
    data = b""
    for level in range(levels - 1):
        tag = b"\x22" if level % 2 == 0 else b"\x12"  # request_txn, success
        size = len(data)
        data = tag + (bytes((size,)) if size < 128 else bytes((size & 127 | 128, size >> 7))) + data
    return data


def test_messages_in_messages_have_a_limit() -> None:
    kinds = (message("RequestOp"), message("TxnRequest"))
    deepest = _nested(MAX_DEPTH)
    assert decode(kinds[0] if MAX_DEPTH % 2 == 0 else kinds[1], deepest)
    with pytest.raises(WireError, match="levels deep"):
        decode(kinds[1] if MAX_DEPTH % 2 == 0 else kinds[0], _nested(MAX_DEPTH + 1))
    plain: dict[str, Any] = {}
    for _ in range(MAX_DEPTH):
        plain = {"success": [{"request_txn": plain}]}
    with pytest.raises(WireError, match="levels deep"):
        from_plain(message("TxnRequest"), plain)
    with pytest.raises(WireError, match="not JSON"):
        load(message("TxnRequest"), b"[" * 100_000)


@pytest.mark.parametrize(
    ("kind", "part"),
    [("TxnRequest", b"\x12\x00"), ("WatchCreateRequest", b"\x28\x01"), ("RequestOp", b"\x0a\x00")],
)
def test_parts_have_a_limit(kind: str, part: bytes) -> None:
    if kind != "RequestOp":
        with pytest.raises(WireError, match="parts"):
            decode(message(kind), part * (MAX_PARTS + 1))
        assert decode(message(kind), part * 100)
    else:  # one message that comes in parts is merged, and made once
        assert decode(message(kind), part * (MAX_PARTS + 1))["request_range"] is not None


def test_packed_numbers_and_lists_of_json_have_the_same_limit() -> None:
    kind = message("WatchCreateRequest")
    many = MAX_PARTS + 1
    packed = b"\x2a" + bytes((many & 127 | 128, many >> 7)) + b"\x01" * many
    with pytest.raises(WireError, match="parts"):
        decode(kind, packed)
    with pytest.raises(WireError, match="parts"):
        from_plain(kind, {"filters": [1] * many})


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        (b"[]", "not an object"),
        (b'{"key": 5}', "base64"),
        (b'{"key": "*"}', "base64"),
        (b'{"limit": "x"}', "a number of"),
        (b'{"limit": 9223372036854775808}', "a number of"),
        (b'{"limit": 1.5}', "a number of"),
        (b'{"limit": "1_0"}', "a number of"),
        (b'{"limit": true}', "a number of"),
        (b'{"limit": ' + b"9" * 5000 + b"}", "JSON|too large"),
        (b'{"sort_order": "UP"}', "NONE, ASCEND, DESCEND"),
        (b'{"serializable": 1}', "true or false"),
        (b"[" + b"{}," * 100_000 + b"{}]", "more than 131072 objects"),
    ],
)
def test_wrong_json_is_refused_by_name(given_: bytes, said: str) -> None:
    with pytest.raises(WireError, match=said):
        load(message("RangeRequest"), given_)


def test_json_is_read_generously() -> None:
    kind = message("RangeRequest")
    found = load(
        kind,
        b'{"key": "YQ", "rangeEnd": "_-8=", "limit": "7", "sortOrder": "DESCEND",'
        b' "sort_target": 3, "revision": 4.0, "unknown": {}, "count_only": null}',
    )
    assert (found["key"], found["range_end"], found["limit"]) == (b"a", b"\xff\xef", 7)
    assert (found["sort_order"], found["sort_target"], found["revision"]) == (2, 3, 4)
    assert load(kind, b" ") == kind.new()
    with pytest.raises(WireError, match="accepted: text"):
        load(message("AuthenticateRequest"), b'{"name": "\\ud800"}')
