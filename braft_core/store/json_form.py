"""Transactions, their answers, entries and changes as JSON, in which HTTP carries them. Pure.

Keys and values are base64. Ids of leases are decimal text: they have 63 bits, and numbers of
JavaScript 53. Each ``*_json`` writes what its counterpart reads. Commands and answers are in the
form of the service ``store``, see ``docs/store.md``.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from braft_core.errors import InvalidArgument
from braft_core.store.conditions import SIGNS, TARGETS
from braft_core.store.keys import ALL, as_span

__all__ = [
    "MAX_NUMBER",
    "answer_json",
    "bytes_json",
    "bytes_of",
    "change_json",
    "lease_of",
    "read_answer",
    "read_change",
    "read_record",
    "read_txn",
    "record_json",
    "txn_json",
]

MAX_NUMBER: Final = (1 << 63) - 1

_GET, _PUT, _DELETE, _TXN = range(4)
_VALUE, _LEASE = TARGETS.index("value"), TARGETS.index("lease")
_RANGE: Final = ("key", "prefix", "start", "end")


# -- bytes and leases --------------------------------------------------------------------------


def bytes_json(value: bytes) -> str:
    """Return bytes as base64."""
    return base64.b64encode(value).decode()


def bytes_of(what: str, text: Any) -> bytes:
    """Return the bytes of base64. :raises InvalidArgument: it is not base64."""
    try:
        if isinstance(text, str):
            return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _refused(what, text, f"base64 ({error})") from None
    raise _refused(what, text, "base64")


def lease_of(what: str, text: Any, least: int = 1) -> int:
    """Return the id of a lease that is written as decimal text.

    :param least: 0 where that stands for no lease.
    :raises InvalidArgument: it is not such an id.
    """
    if isinstance(text, str) and text.isascii() and text.isdecimal() and len(text) < 20:
        number = int(text)
        if least <= number <= MAX_NUMBER:
            return number
    accepted = f"the id of a lease as decimal text, {least} to {MAX_NUMBER}"
    raise _refused(what, text, accepted)


# -- entries -----------------------------------------------------------------------------------


def record_json(record: Sequence[Any]) -> dict[str, Any]:
    """Return a record as a JSON object."""
    key, value, created, revision, _, version, lease = record
    return {
        "key": bytes_json(key),
        "value": bytes_json(value),
        "revision": revision,
        "created": created,
        "version": version,
        "lease": str(lease),
    }


def read_record(found: Any) -> list[Any]:
    """Return the record of a JSON object. :raises InvalidArgument: it is not one."""
    fields = _object("an entry", found)
    key, value = bytes_of("key", fields.get("key")), bytes_of("value", fields.get("value"))
    created, revision, version = (
        _number(name, fields.get(name)) for name in ("created", "revision", "version")
    )
    return [key, value, created, revision, 0, version, lease_of("lease", fields.get("lease"), 0)]


# -- changes -----------------------------------------------------------------------------------


def change_json(record: Sequence[Any], before: Sequence[Any] | None, full: bool) -> dict[str, Any]:
    """Return a change of a key as a JSON object.

    :param record: the new record; its value is ``None`` if the key was deleted.
    :param before: the record that it replaced, if there was one.
    :param full: whether the change has ``previous``, the entry before.
    """
    key, value, _, revision = record[:4]
    kind = "put" if value is not None else "delete"
    entry = record if value is not None else (key, b"", 0, revision, 0, 0, 0)
    change = {"type": kind, "revision": revision, "entry": record_json(entry)}
    return change | ({"previous": record_json(before) if before else None} if full else {})


def read_change(found: Any) -> tuple[str, list[Any], list[Any] | None]:
    """Return type, record and record before of a JSON object.

    :raises InvalidArgument: it is not a change.
    """
    fields = _object("a change", found)
    kind, before = fields.get("type"), fields.get("previous")
    if kind not in ("put", "delete"):
        raise _refused("type", kind, "put, delete")
    previous = None if before is None else read_record(before)
    return kind, read_record(fields.get("entry")), previous


# -- transactions ------------------------------------------------------------------------------


def txn_json(when: Sequence[Any], then: Sequence[Any], otherwise: Sequence[Any]) -> dict[str, Any]:
    """Return the arguments of ``txn`` as a JSON object."""
    return {
        "when": [_compare_json(*compare) for compare in when],
        "then": [_op_json(*op) for op in then],
        "otherwise": [_op_json(*op) for op in otherwise],
    }


def read_txn(given: Any) -> list[list[Any]]:
    """Return the arguments of ``txn`` from a JSON object.

    It may be nested as deep as the JSON parser allows.

    :raises InvalidArgument: it is not a transaction; names the part, its value, what is accepted.
    """
    fields = _object("a transaction", given, ("when", "then", "otherwise"))
    return [
        [_read_compare(each) for each in _list("when", fields)],
        [_read_op(each) for each in _list("then", fields)],
        [_read_op(each) for each in _list("otherwise", fields)],
    ]


def _compare_json(target: int, result: int, key: bytes, end: bytes, value: Any) -> dict[str, Any]:
    shown = value
    if target == _VALUE:
        shown = bytes_json(value)
    elif target == _LEASE:
        shown = str(value)
    fields = {"target": TARGETS[target], "result": SIGNS[result], "value": shown}
    return _span_json(key, end) | fields


def _read_compare(given: Any) -> list[Any]:
    fields = _object("a compare", given, (*_RANGE, "target", "result", "value"))
    target = _choice("target", fields.get("target"), TARGETS)
    result = _choice("result", fields.get("result"), SIGNS)
    value = fields.get("value")
    if target == _VALUE:
        value = bytes_of("value", value)
    elif target == _LEASE:
        value = lease_of("value", value, 0)
    else:
        value = _number("value", value)
    return [target, result, *_read_span(fields), value]


def _op_json(kind: int, *args: Any) -> dict[str, Any]:
    if kind == _PUT:
        key, value, lease = args[:3]
        op = {"op": "put", "key": bytes_json(key), "value": bytes_json(value)}
        return op | ({"lease": str(lease)} if lease else {})
    if kind == _TXN:
        return {"op": "txn", **txn_json(*args[0])}
    op = {"op": "get" if kind == _GET else "delete", **_span_json(*args[:2])}
    return op | ({"limit": args[2]} if kind == _GET and args[2] else {})


def _read_op(given: Any) -> list[Any]:
    name = given.get("op") if isinstance(given, dict) else given
    read = _OPS.get(name) if isinstance(name, str) else None
    if read is None:
        raise _refused("op", name, ", ".join(_OPS))
    return read(given)


def _read_put(given: dict[str, Any]) -> list[Any]:
    fields = _object("a put", given, ("op", "key", "value", "lease"))
    lease = lease_of("lease", fields.get("lease", "0"), 0)
    key, value = (bytes_of(name, fields.get(name)) for name in ("key", "value"))
    return [_PUT, key, value, lease, 0]


def _read_get(given: dict[str, Any]) -> list[Any]:
    fields = _object("a get", given, ("op", *_RANGE, "limit"))
    return [_GET, *_read_span(fields), _number("limit", fields.get("limit", 0))]


def _read_delete(given: dict[str, Any]) -> list[Any]:
    return [_DELETE, *_read_span(_object("a delete", given, ("op", *_RANGE))), 0]


def _read_nested(given: dict[str, Any]) -> list[Any]:
    return [_TXN, read_txn({name: given[name] for name in given if name != "op"})]


_OPS: Final[Mapping[str, Callable[[dict[str, Any]], list[Any]]]] = {
    "get": _read_get,
    "put": _read_put,
    "delete": _read_delete,
    "txn": _read_nested,
}


def _span_json(key: bytes, end: bytes) -> dict[str, Any]:
    if not end:
        return {"key": bytes_json(key)}
    return {"start": bytes_json(key)} | ({} if end == ALL else {"end": bytes_json(end)})


def _read_span(fields: Mapping[str, Any]) -> tuple[bytes, bytes]:
    given = [bytes_of(name, fields[name]) if name in fields else None for name in _RANGE]
    return as_span(*given)


# -- answers -----------------------------------------------------------------------------------


def answer_json(then: Sequence[Any], otherwise: Sequence[Any], answer: Any) -> dict[str, Any]:
    """Return the answer to a transaction as a JSON object.

    :param then, otherwise: the operations of the transaction.
    """
    revision, succeeded, answers = answer
    done = then if succeeded else otherwise
    return {
        "revision": revision,
        "succeeded": succeeded,
        "answers": [_one_json(*pair) for pair in zip(done, answers, strict=True)],
    }


def read_answer(found: Any) -> list[Any]:
    """Return the answer to a transaction. :raises InvalidArgument: it is not one."""
    fields = _object("an answer", found)
    answers = [_read_one(each) for each in _list("answers", fields)]
    return [_number("revision", fields.get("revision")), bool(fields.get("succeeded")), answers]


def _one_json(op: Sequence[Any], answer: Any) -> dict[str, Any]:
    kind = op[0]
    if kind == _TXN:
        _, then, otherwise = op[1]
        return {"op": "txn", **answer_json(then, otherwise, answer)}
    if kind == _GET:
        revision, count, more, records = answer
        entries = [record_json(record) for record in records]
        found = {"op": "get", "revision": revision, "count": count, "more": more}
        return found | {"entries": entries}
    if kind == _PUT:
        return {"op": "put", "revision": answer[0]}
    return {"op": "delete", "revision": answer[0], "deleted": answer[1]}


def _read_one(found: Any) -> list[Any]:
    match found:
        case {"op": "txn"}:
            return read_answer(found)
        case {"op": "get", "revision": revision, "count": count, "more": bool(more)}:
            records = [read_record(each) for each in _list("entries", found)]
            return [_number("revision", revision), _number("count", count), more, records]
        case {"op": "put", "revision": revision}:
            return [_number("revision", revision), None]
        case {"op": "delete", "revision": revision, "deleted": deleted}:
            return [_number("revision", revision), _number("deleted", deleted), []]
    raise _refused("an answer", found, "that of a get, put, delete or txn")


# -- checks ------------------------------------------------------------------------------------


def _object(what: str, given: Any, accepted: tuple[str, ...] = ()) -> dict[str, Any]:
    """Check that it is an object; without ``accepted`` it may have fields of later versions."""
    if not isinstance(given, dict):
        raise _refused(what, given, "a JSON object")
    for name in given if accepted else ():
        if name not in accepted:
            raise _refused(f"the name of a field of {what}", name, ", ".join(accepted))
    return given


def _list(name: str, fields: Mapping[str, Any]) -> list[Any]:
    found = fields.get(name, [])
    if not isinstance(found, list):
        raise _refused(name, found, "a list")
    return found


def _number(name: str, value: Any) -> int:
    if type(value) is not int or not 0 <= value <= MAX_NUMBER:
        raise _refused(name, value, f"a number of 0 to {MAX_NUMBER}")
    return value


def _choice(name: str, value: Any, accepted: tuple[str, ...]) -> int:
    if value not in accepted:
        raise _refused(name, value, ", ".join(accepted))
    return accepted.index(value)


def _refused(what: str, value: Any, accepted: str) -> InvalidArgument:
    shown = repr(value)[:80]
    return InvalidArgument(f"{what} is {shown}; accepted: {accepted}", value=shown)
