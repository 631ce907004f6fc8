"""Range, put and delete between etcd's messages and the commands of the store.

``docs/store.md`` describes the commands, their arguments and answers. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from braft_core.http2 import CallFailed, Status
from braft_etcd.errors import failure
from braft_etcd.wire import Values
from braft_etcd.wire.encoding import varint

__all__ = [
    "bounds",
    "deleted",
    "key_value",
    "prefix_end",
    "put_answer",
    "range_answer",
    "read_delete",
    "read_put",
    "read_range",
]

_ALL: Final = b"\0"
_PREVIOUS, _IGNORE_VALUE, _IGNORE_LEASE = 1, 2, 4
_KEYS_ONLY, _COUNT_ONLY = 1, 2
_TARGETS, _ORDERS = 5, 3
_FILTERS: Final = (
    "min_mod_revision",
    "max_mod_revision",
    "min_create_revision",
    "max_create_revision",
)


def bounds(request: Values) -> tuple[bytes, bytes]:
    """Return key and end of a request.

    :raises CallFailed: there is no key.
    """
    key, end = request["key"], request["range_end"]
    if not key:
        raise failure(Status.INVALID_ARGUMENT, "key is not provided")
    if end and end < key and end != _ALL:
        end = key  # no keys for etcd; the store would refuse it
    return key, end


def prefix_end(prefix: bytes) -> bytes:
    """Return the end of the range of all keys with a prefix."""
    cut = prefix.rstrip(b"\xff")
    return cut[:-1] + bytes((cut[-1] + 1,)) if cut else _ALL


def read_range(request: Values) -> list[Any]:
    """Return the arguments of the store's ``range``.

    :raises CallFailed: etcd does not accept the request.
    """
    key, end = bounds(request)
    order, target = request["sort_order"], request["sort_target"]
    if not (0 <= order < _ORDERS and 0 <= target < _TARGETS):
        raise failure(Status.INVALID_ARGUMENT, "invalid sort option")
    flags = _KEYS_ONLY * request["keys_only"] | _COUNT_ONLY * request["count_only"]
    # Negative numbers mean none to etcd.
    given = [key, end, max(request["limit"], 0), max(request["revision"], 0)]
    filters = [request[name] for name in _FILTERS]
    if not (order or target or any(filters)):
        return [*given, None, None, flags]
    return [*given, [target, order], filters, flags]


def read_put(request: Values) -> list[Any]:
    """Return the arguments of the store's ``put``.

    :raises CallFailed: etcd does not accept the request.
    """
    if not request["key"]:
        raise failure(Status.INVALID_ARGUMENT, "key is not provided")
    if request["ignore_value"] and request["value"]:
        raise failure(Status.INVALID_ARGUMENT, "value is provided")
    if request["ignore_lease"] and request["lease"]:
        raise failure(Status.INVALID_ARGUMENT, "lease is provided")
    if request["lease"] < 0:
        raise _no_lease()
    flags = (
        _PREVIOUS * request["prev_kv"]
        | _IGNORE_VALUE * request["ignore_value"]
        | _IGNORE_LEASE * request["ignore_lease"]
    )
    return [request["key"], request["value"], request["lease"], flags]


def _no_lease() -> CallFailed:
    return failure(Status.NOT_FOUND, "requested lease not found")


def read_delete(request: Values) -> list[Any]:
    """Return the arguments of the store's ``delete``.

    :raises CallFailed: etcd does not accept the request.
    """
    return [*bounds(request), _PREVIOUS * request["prev_kv"]]


def key_value(record: Sequence[Any]) -> bytes:
    """Return a record of the store as the bytes of a ``KeyValue``.

    A tombstone has key and revision alone. Written out, since lists have many of them.
    """
    key, value, create, mod, _, version, lease = record
    parts = [b"\x0a", varint(len(key)), key]
    if create:
        parts += (b"\x10", varint(create))
    parts += (b"\x18", varint(mod))
    if version:
        parts += (b"\x20", varint(version))
    if value:
        parts += (b"\x2a", varint(len(value)), value)
    if lease:
        parts += (b"\x30", varint(lease))
    return b"".join(parts)


def range_answer(found: Sequence[Any], header: Values) -> Values:
    """Return ``RangeResponse`` of what the store's ``range`` returned."""
    _, count, more, records = found
    return {
        "header": header,
        "kvs": [key_value(record) for record in records],
        "more": more,
        "count": count,
    }


def put_answer(found: Sequence[Any], header: Values) -> Values:
    """Return ``PutResponse`` of what the store's ``put`` returned."""
    previous = found[1]
    return {"header": header, "prev_kv": None if previous is None else key_value(previous)}


def deleted(found: Sequence[Any], header: Values) -> Values:
    """Return ``DeleteRangeResponse`` of what the store's ``delete`` returned."""
    _, count, records = found
    return {
        "header": header,
        "deleted": count,
        "prev_kvs": [key_value(record) for record in records],
    }
