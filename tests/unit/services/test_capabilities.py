"""Comparison of the capabilities of nodes with the needs of entries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braft_core.errors import DecodeError
from braft_core.serializers.command_types import TypeRegistry
from braft_core.serializers.msgpack import MsgpackSerializer
from braft_core.services.capabilities import (
    MAX_BYTES,
    NONE,
    Capabilities,
    Need,
    Signature,
    TypeFields,
    common,
    type_fields,
)
from braft_core.services.cluster import ClusterService, agreement_command, is_agreement
from braft_core.services.envelope import encode_command, read_need, routing_key, with_session

MSGPACK = MsgpackSerializer()

names = st.sampled_from(["kv", "bank", "add", "put"])
signatures = st.builds(
    lambda least, more: Signature(least, None if more is None else least + more),
    st.integers(0, 3),
    st.none() | st.integers(0, 3),
)
types = st.builds(
    TypeFields, st.integers(1, 3), st.frozensets(st.sampled_from(["a", "b", "c"]), max_size=3)
)
capabilities = st.builds(
    Capabilities,
    level=st.integers(1, 3),
    formats=st.frozensets(st.integers(1, 4)),
    serializers=st.frozensets(st.integers(1, 3)),
    services=st.dictionaries(names, st.none() | st.dictionaries(names, signatures)),
    types=st.dictionaries(st.sampled_from(["x.y", "x.z"]), types),
)
needs = st.builds(
    Need,
    st.integers(1, 4),
    st.integers(1, 3),
    names,
    names,
    st.integers(0, 6),
    st.lists(
        st.tuples(
            st.sampled_from(["x.y", "x.z"]),
            st.integers(1, 3),
            st.frozensets(st.sampled_from(["a", "b", "c"]), max_size=2),
        ),
        max_size=2,
    ).map(tuple),
)


@given(st.lists(capabilities, min_size=1, max_size=4), needs)
def test_what_is_common_is_what_each_can_execute(members: list[Capabilities], need: Need) -> None:
    everybody = not any(member.missing(need) for member in members)
    shared = common(members)
    if not shared.missing(need):
        assert everybody
    elif everybody:
        # The common part lacks it only if members have different versions of a type.
        assert len({member.types.get(name) for member in members for name, *_ in need.types}) > 1


@given(st.lists(capabilities, min_size=1, max_size=4))
def test_no_member_lacks_what_is_common(members: list[Capabilities]) -> None:
    shared = common(members)
    assert not any(member.lacks(shared) for member in members)
    assert common([*members, members[0]]) == shared
    assert common(list(reversed(members))) == shared


@given(capabilities)
def test_the_encoding_comes_back(known: Capabilities) -> None:
    data = known.encode()
    assert Capabilities.decode(data) == known
    assert Capabilities.decode(data).encode() == data
    assert common([known]) == known
    assert not known.lacks(known)


@given(st.binary(max_size=64) | capabilities.map(lambda known: known.encode()[:-1]))
def test_anything_else_is_one_kind_of_error(data: bytes) -> None:
    try:
        Capabilities.decode(data)
    except DecodeError:
        return
    pytest.fail(f"{data!r} was read")


def test_a_long_encoding_is_not_even_read() -> None:
    with pytest.raises(DecodeError, match="accepted are"):
        Capabilities.decode(bytes(MAX_BYTES + 1))


def test_a_later_version_may_append_to_it() -> None:
    import msgpack

    parts = msgpack.unpackb(NONE.encode())
    assert Capabilities.decode(msgpack.packb([*parts, {"more": 1}])) == NONE


KNOWN = Capabilities(
    level=1,
    formats=frozenset({1, 2}),
    serializers=frozenset({1}),
    services={"bank": {"pay": Signature(1, 2)}, "any": None},
    types={"orders.place": TypeFields(2, frozenset({"item"}))},
)


@pytest.mark.parametrize(
    ("need", "lacks"),
    [
        (Need(1, 1, "bank", "pay", 1), ""),
        (Need(3, 1, "bank", "pay", 1), "command format 3"),
        (Need(1, 2, "bank", "pay", 1), "serializer 'cbor' (of braft-serializers)"),
        (Need(1, 9, "bank", "pay", 1), "the serializer with tag 9"),
        (Need(1, 1, "kv", "pay", 1), "service 'kv'"),
        (Need(1, 1, "bank", "lend", 1), "command bank.lend"),
        (Need(1, 1, "bank", "pay", 3), "command bank.pay with 3 argument(s)"),
        (Need(1, 1, "any", "thing", 99), ""),
        (Need(1, 1, "any", "x", 0, (("orders.x", 1, frozenset()),)), "command type 'orders.x'"),
        (
            Need(1, 1, "any", "x", 0, (("orders.place", 3, frozenset()),)),
            "version 3 of command type 'orders.place'",
        ),
        (
            Need(1, 1, "any", "x", 0, (("orders.place", 2, frozenset({"item", "size"})),)),
            "size of command type 'orders.place'",
        ),
        (Need(1, 1, "any", "x", 0, (("orders.place", 1, frozenset({"old"})),)), ""),
    ],
)
def test_what_is_missing_is_named(need: Need, lacks: str) -> None:
    assert KNOWN.missing(need) == lacks


def test_what_a_poorer_node_lacks_is_listed() -> None:
    richer = Capabilities(
        2,
        frozenset({1, 2, 5}),
        frozenset({1, 3}),
        {"bank": {"pay": Signature(1, 3), "lend": Signature(0, 0)}, "kv": {}, "any": None},
        {"orders.place": TypeFields(3, frozenset({"item"}))},
    )
    assert KNOWN.lacks(richer) == [
        "feature level 2",
        "command format 5",
        "serializer 'json' (of braft-serializers)",
        "command bank.lend",
        "command bank.pay",
        "service 'kv'",
        "version 3 of command type 'orders.place'",
    ]
    assert richer.lacks(KNOWN) == []


texts = st.text(min_size=0, max_size=40)


@given(texts, texts, st.lists(st.integers(), max_size=20), st.booleans())
def test_a_routing_key_stands_for_the_need(
    service: str, command: str, args: list[Any], session: bool
) -> None:
    data = encode_command(MSGPACK, service, command, [arg % 1000 for arg in args])
    if session:
        data = with_session(data, (bytes(16), 3, 1))
    need = read_need({1: MSGPACK}, data)
    assert need == Need(5 if session else 1, 1, service, command, len(args))
    key = routing_key(data)
    short = all(0 < len(name.encode()) <= 31 for name in (service, command)) and len(args) <= 15
    assert (key is not None) == short
    if key is not None:
        twin = encode_command(MSGPACK, service, command, ["x"] * len(args))
        assert routing_key(with_session(twin, (bytes(range(16)), 9, 9)) if session else twin) == key
        more = encode_command(MSGPACK, service, command, ["x"] * (len(args) + 1))
        assert routing_key(more) != key


@given(st.binary(max_size=40))
def test_no_bytes_make_a_routing_key_fail(data: bytes) -> None:
    routing_key(data)


@dataclass
class Order:
    item: str
    size: int = 1


def test_registered_types_are_described() -> None:
    registry = TypeRegistry()
    registry.register(Order, "orders.order", version=2, removed=["colour"])
    assert type_fields(registry) == {
        "orders.order": TypeFields(2, frozenset({"item", "size", "colour"}))
    }


def test_agreements_are_distinguished_from_commands_of_callers() -> None:
    assert is_agreement(agreement_command(KNOWN))
    assert is_agreement(agreement_command(NONE))
    assert not is_agreement(encode_command(MSGPACK, "kv", "put", ["$cluster", "agree", b""]))
    assert ClusterService().command_signatures() == {"agree": (1, 1), "checkpoint": (0, 0)}
