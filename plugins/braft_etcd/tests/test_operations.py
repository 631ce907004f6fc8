"""Requests become the store's arguments, or errors with etcd's texts, before anything is asked."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braft_core import errors
from braft_core.errors import BraftError
from braft_core.http2 import CallFailed, Status
from braft_etcd.backend import member_id
from braft_etcd.errors import failed
from braft_etcd.operations import key_value, read_delete, read_put, read_range
from braft_etcd.transactions import MAX_OPS, read_txn
from braft_etcd.wire import Values, decode, encode
from braft_etcd.wire.messages import message


def made(name: str, **fields: Any) -> Values:
    return message(name).new() | fields


def test_a_range_has_what_the_store_takes() -> None:
    assert read_range(made("RangeRequest", key=b"a")) == [b"a", b"", 0, 0, None, None, 0]
    everything = made(
        "RangeRequest",
        key=b"a",
        range_end=b"\0",
        limit=-3,
        revision=-1,
        sort_order=2,
        sort_target=4,
        keys_only=True,
        count_only=True,
        max_mod_revision=9,
    )
    assert read_range(everything) == [b"a", b"\0", 0, 0, [4, 2], [0, 9, 0, 0], 3]
    reversed_ = made("RangeRequest", key=b"b", range_end=b"a")
    assert read_range(reversed_)[:2] == [b"b", b"b"], "no key, which is no error"


_numbers = st.integers(1, (1 << 63) - 1)
_keys = st.binary(min_size=1, max_size=300)
_puts = st.tuples(
    _keys, st.binary(max_size=300), _numbers, _numbers, st.just(0), _numbers, st.just(0) | _numbers
)
_tombstones = st.tuples(_keys, st.none(), st.just(0), _numbers, st.just(3), st.just(0), st.just(0))


@given(_puts | _tombstones)
def test_a_record_is_a_key_value(record: tuple[Any, ...]) -> None:
    key, value, create, mod, _, version, lease = record
    kind = message("KeyValue")
    data = key_value(record)
    fields = {"key": key, "create_revision": create, "mod_revision": mod, "version": version}
    fields |= {"value": value or b"", "lease": lease}
    assert data == encode(kind, fields)
    assert decode(kind, data) == fields


def test_puts_and_deletes_have_flags() -> None:
    put = made("PutRequest", key=b"a", ignore_value=True, ignore_lease=True, prev_kv=True)
    assert read_put(put) == [b"a", b"", 0, 7]
    assert read_delete(made("DeleteRangeRequest", key=b"a", prev_kv=True)) == [b"a", b"", 1]


@pytest.mark.parametrize(
    ("read", "request_", "status", "text"),
    [
        (read_range, made("RangeRequest"), 3, "key is not provided"),
        (read_range, made("RangeRequest", key=b"a", sort_order=3), 3, "invalid sort option"),
        (read_range, made("RangeRequest", key=b"a", sort_target=-1), 3, "invalid sort option"),
        (read_put, made("PutRequest"), 3, "key is not provided"),
        (
            read_put,
            made("PutRequest", key=b"a", value=b"1", ignore_value=True),
            3,
            "value is provided",
        ),
        (
            read_put,
            made("PutRequest", key=b"a", lease=1, ignore_lease=True),
            3,
            "lease is provided",
        ),
        (read_put, made("PutRequest", key=b"a", lease=-1), 5, "requested lease not found"),
        (read_delete, made("DeleteRangeRequest"), 3, "key is not provided"),
        (read_txn, made("TxnRequest", success=[made("RequestOp")]), 3, "key not found"),
        (read_txn, made("TxnRequest", compare=[made("Compare")]), 3, "key is not provided"),
    ],
)
def test_what_etcd_refuses_is_refused_with_its_text(
    read: Any, request_: Values, status: int, text: str
) -> None:
    with pytest.raises(CallFailed) as caught:
        read(request_)
    assert (caught.value.status, caught.value.message) == (status, f"etcdserver: {text}")


def _nested(levels: int, width: int) -> Values:
    get = made("RequestOp", request_range=made("RangeRequest", key=b"a"))
    txn = made("TxnRequest", success=[get] * width)
    for _ in range(levels - 1):
        inner = made("RequestOp", request_txn=txn)
        txn = made("TxnRequest", success=[inner] + [get] * (width - 1))
    return txn


@pytest.mark.parametrize(("levels", "width"), [(1, MAX_OPS), (2, MAX_OPS // 2), (MAX_OPS, 1)])
def test_a_transaction_has_so_many_operations(levels: int, width: int) -> None:
    assert read_txn(_nested(levels, width))
    for more in (_nested(levels + 1, width), _nested(levels, width + 1)):
        with pytest.raises(CallFailed, match="too many operations in txn request"):
            read_txn(more)


def test_compares_have_the_operand_of_their_target() -> None:
    operands: list[dict[str, Any]] = [
        {"version": 1},
        {"create_revision": 2},
        {"mod_revision": 3},
        {"value": b"4"},
        {},
    ]
    compares = [
        made("Compare", key=b"a", target=target, result=3, **fields)
        for target, fields in enumerate(operands)
    ]
    found = read_txn(made("TxnRequest", compare=compares))[0]
    assert found == [
        [0, 3, b"a", b"", 1],
        [1, 3, b"a", b"", 2],
        [2, 3, b"a", b"", 3],
        [3, 3, b"a", b"", b"4"],
        [4, 3, b"a", b"", 0],
    ]
    other = made("Compare", key=b"a", target=3, version=7)
    assert read_txn(made("TxnRequest", compare=[other]))[0] == [[3, 0, b"a", b"", b""]]
    with pytest.raises(CallFailed, match="accepted: targets 0 to 4"):
        read_txn(made("TxnRequest", compare=[made("Compare", key=b"a", target=5)]))


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (errors.Compacted(), 11, "etcdserver: mvcc: required revision has been compacted"),
        (errors.NoLeader(), 14, "etcdserver: no leader"),
        (errors.NotReady(), 14, "etcdserver: no leader"),
        (errors.OutcomeUnknown(), 14, "etcdserver: request timed out"),
        (errors.ForkedProcess(), 14, "etcdserver: server stopped"),
        (errors.Busy(), 8, "etcdserver: too many requests"),
        (errors.NoSpace(), 8, "etcdserver: mvcc: database space exceeded"),
        (errors.InvalidArgument("the key is wrong"), 3, "etcdserver: the key is wrong"),
        (errors.CommandFailed("oops"), 13, "etcdserver: oops"),
    ],
)
def test_errors_are_etcds(error: BraftError, status: int, text: str) -> None:
    found = failed(error)
    assert (found.status, found.message) == (Status(status), text)


def test_every_error_of_braft_has_an_answer() -> None:
    kinds = [getattr(errors, name) for name in errors.__all__]
    for kind in kinds:
        if isinstance(kind, type) and issubclass(kind, BraftError):
            assert failed(kind("why")).message.startswith("etcdserver: ")


def test_ids_are_numbers_of_64_bits_and_never_0() -> None:
    assert member_id("a") == member_id("a") != member_id("b")
    assert 0 < member_id("") < 1 << 64
