"""Transactions and answers as JSON: exact both ways, and strict about what comes from outside."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from braft_core.abc import CommandContext
from braft_core.errors import InvalidArgument, Rejected
from braft_core.services.store import StoreService
from braft_core.store import Delete, Get, Key, Operation, Put, Txn
from braft_core.store.json_form import (
    MAX_NUMBER,
    answer_json,
    bytes_of,
    lease_of,
    read_answer,
    read_record,
    read_txn,
    record_json,
    txn_json,
)

KEYS = st.sampled_from([b"a", b"b", b"\xff\x00", "ü".encode()])
VALUES = st.binary(max_size=4)
CONDITIONS = st.one_of(
    st.builds(lambda key, number: Key(key).version == number, KEYS, st.integers(0, 2)),
    st.builds(lambda key, number: Key(key).created < number, KEYS, st.integers(0, 9)),
    st.builds(lambda key, number: Key(prefix=key).revision > number, KEYS, st.integers(0, 9)),
    st.builds(lambda key, value: Key(key).value != value, KEYS, VALUES),
    st.builds(lambda key: Key(start=key).lease == MAX_NUMBER, KEYS),
)
FLAT: st.SearchStrategy[Operation] = st.one_of(
    st.builds(Put, KEYS, VALUES),
    st.builds(Get, KEYS),
    st.builds(lambda end: Get(start=b"a", end=end, limit=1), st.sampled_from([b"b", b"\xff"])),
    st.builds(lambda prefix: Get(prefix=prefix), st.sampled_from([b"", b"a"])),
    st.builds(Delete, KEYS),
    st.builds(lambda: Delete(prefix=b"")),
)
TXNS = st.recursive(
    st.builds(Txn, st.lists(CONDITIONS, max_size=2), st.lists(FLAT, max_size=3), st.just(())),
    lambda inner: st.builds(
        Txn,
        st.lists(CONDITIONS, max_size=2),
        st.lists(FLAT | inner, max_size=3),
        st.lists(FLAT | inner, max_size=3),
    ),
    max_leaves=6,
)


def through_json(value: Any) -> Any:
    return json.loads(json.dumps(value, allow_nan=False))


@given(txn=TXNS)
@settings(max_examples=150, deadline=None)
def test_a_transaction_and_its_answer_are_the_same_after_json(txn: Txn) -> None:
    arguments = txn.arguments()
    carried = read_txn(through_json(txn_json(*arguments)))
    service = StoreService()
    service.put(b"a", b"1")
    try:
        answer = service.apply("txn", arguments, CommandContext(1, 1, 1))
    except Rejected as error:
        with pytest.raises(type(error)):
            service.apply("txn", carried, CommandContext(1, 1, 1))
        return
    other = StoreService()
    other.put(b"a", b"1")
    assert other.apply("txn", carried, CommandContext(1, 1, 1)) == answer
    back = read_answer(through_json(answer_json(carried[1], carried[2], answer)))
    assert txn.read(back) == txn.read(answer)


def test_an_entry_is_the_same_after_json_but_for_its_place_in_the_revision() -> None:
    record = [b"\x00k", b"\xff", 5, 7, 3, 2, MAX_NUMBER]
    carried = through_json(record_json(record))
    assert carried["lease"] == str(MAX_NUMBER)
    assert read_record(carried | {"added": "by a later version"}) == [*record[:4], 0, *record[5:]]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "a transaction is"),
        ({"if": []}, "'if'; accepted: when, then, otherwise"),
        ({"when": 1}, "when is 1; accepted: a list"),
        ({"when": [{"key": "YQ=="}]}, "target is None"),
        ({"when": [{"key": "YQ==", "target": "age", "result": "==", "value": 0}]}, "'age'"),
        ({"when": [{"key": "YQ==", "target": "version", "result": "=", "value": 0}]}, "'='"),
        (
            {"when": [{"key": "YQ==", "target": "version", "result": "==", "value": True}]},
            "value is True; accepted: a number",
        ),
        (
            {"when": [{"key": "YQ==", "target": "lease", "result": "==", "value": 1}]},
            "value is 1; accepted: the id of a lease as decimal text, 0",
        ),
        ({"then": [{}]}, "op is None; accepted: get, put, delete, txn"),
        ({"then": [{"op": []}]}, "op is"),
        ({"then": ["put"]}, "op is 'put'|a put is"),
        ({"then": [{"op": "put", "key": "YQ=="}]}, "value is None; accepted: base64"),
        ({"then": [{"op": "put", "key": "a", "value": ""}]}, "key is 'a'; accepted: base64"),
        ({"then": [{"op": "put", "key": "YQ==", "value": "", "ttl": 1}]}, "'ttl'"),
        ({"then": [{"op": "get"}]}, "accepted: a key, or a prefix"),
        ({"then": [{"op": "get", "key": "YQ==", "prefix": "YQ=="}]}, "accepted: a key, or"),
        ({"then": [{"op": "get", "start": "YQ==", "end": ""}]}, "end is b''"),
        ({"then": [{"op": "delete", "start": "", "end": "AA=="}]}, "end is b'.x00'; accepted"),
        ({"then": [{"op": "delete", "key": "YQ==", "limit": 1}]}, "'limit'"),
        ({"then": [{"op": "get", "key": "YQ==", "limit": -1}]}, "limit is -1"),
        ({"otherwise": [{"op": "txn", "then": [{"op": "x"}]}]}, "op is 'x'"),
    ],
)
def test_what_is_wrong_is_named(given: Any, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        read_txn(given)


@pytest.mark.parametrize(
    "text", ["", "0", "-1", "\N{SUPERSCRIPT ONE}", "1.0", str(MAX_NUMBER + 1), 1, None]
)
def test_the_id_of_a_lease_is_decimal_text(text: Any) -> None:
    with pytest.raises(InvalidArgument, match="id of a lease"):
        lease_of("lease", text)
    assert lease_of("lease", str(MAX_NUMBER)) == MAX_NUMBER


def test_base64_is_strict() -> None:
    for text in ("YQ", "YQ==\n", "Y Q==", "é", 1):
        with pytest.raises(InvalidArgument, match="base64"):
            bytes_of("key", text)
