"""Transactions between etcd's messages and the store's command ``txn``. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from braft_core.http2 import Status
from braft_etcd.errors import failure
from braft_etcd.operations import (
    bounds,
    deleted,
    put_answer,
    range_answer,
    read_delete,
    read_put,
    read_range,
)
from braft_etcd.wire import Values

__all__ = ["read_txn", "txn_answer"]

#: The most compares, and operations of a branch; those of nested transactions have what is left.
MAX_OPS: Final = 128
_RANGE, _PUT, _DELETE, _TXN = range(4)
#: The operand of a compare, by its target, and what an absent one means.
_OPERANDS: Final = (
    ("version", 0),
    ("create_revision", 0),
    ("mod_revision", 0),
    ("value", b""),
    ("lease", 0),
)
_RESULTS: Final = 4


def read_txn(request: Values, room: int = MAX_OPS) -> list[Any]:
    """Return the arguments of the store's ``txn``.

    :raises CallFailed: etcd does not accept the request.
    """
    compares, then, otherwise = request["compare"], request["success"], request["failure"]
    used = max(len(compares), len(then), len(otherwise))
    if used > room:
        raise failure(Status.INVALID_ARGUMENT, "too many operations in txn request")
    return [
        [_read_compare(compare) for compare in compares],
        [_read_operation(operation, room - used) for operation in then],
        [_read_operation(operation, room - used) for operation in otherwise],
    ]


def _read_compare(compare: Values) -> list[Any]:
    key, end = bounds(compare)
    target, result = compare["target"], compare["result"]
    if not (0 <= target < len(_OPERANDS) and 0 <= result < _RESULTS):
        raise failure(
            Status.INVALID_ARGUMENT,
            f"a compare has the target {target} and the result {result}; "
            f"accepted: targets 0 to {len(_OPERANDS) - 1}, results 0 to {_RESULTS - 1}",
        )
    name, default = _OPERANDS[target]
    operand = compare[name]
    return [target, result, key, end, default if operand is None else operand]


def _read_operation(operation: Values, room: int) -> list[Any]:
    if (given := operation["request_range"]) is not None:
        return [_RANGE, *read_range(given)]
    if (given := operation["request_put"]) is not None:
        return [_PUT, *read_put(given)]
    if (given := operation["request_delete_range"]) is not None:
        return [_DELETE, *read_delete(given)]
    if (given := operation["request_txn"]) is not None:
        return [_TXN, read_txn(given, room)]
    raise failure(Status.INVALID_ARGUMENT, "key not found")


def txn_answer(found: Sequence[Any], header: Values, request: Values) -> Values:
    """Return ``TxnResponse`` of what the store's ``txn`` returned."""
    _, held, answers = found
    operations = request["success"] if held else request["failure"]
    return {
        "header": header,
        "succeeded": held,
        "responses": [
            _answer(operation, answer)
            for operation, answer in zip(operations, answers, strict=True)
        ],
    }


def _answer(operation: Values, found: Sequence[Any]) -> Values:
    # The answers within have the revision alone.
    header = {"revision": found[0]}
    if operation["request_range"] is not None:
        return {"response_range": range_answer(found, header)}
    if operation["request_put"] is not None:
        return {"response_put": put_answer(found, header)}
    if operation["request_delete_range"] is not None:
        return {"response_delete_range": deleted(found, header)}
    return {"response_txn": txn_answer(found, header, operation["request_txn"])}
