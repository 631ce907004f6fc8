"""Encode typed values as plain values and back, so that every serializer can store them.

Besides plain values (:mod:`braft_core.serializers.plain`) these are accepted: objects of registered
classes (:mod:`braft_core.serializers.command_types`), ``datetime``, ``date``, ``time``,
``timedelta``, ``Decimal``, ``UUID``, ``set``, ``frozenset``, ``tuple``, ints beyond 64 bits, and
dicts with keys that are not text. Each is decoded to an equal value of the same type. Subclasses
are refused.

Each is encoded as a dict with the one key ``"@"`` and a list of a name and its parts:
``{"@": ["decimal", "1.10"]}``, ``{"@": ["orders.place", 1, {"item": "tea"}]}``. A user's dict that
looks like this is encoded as ``{"@": ["map", [["@", ...]]]}``, so that there is no ambiguity.

**Equal bytes.** Sets, and dicts with keys that are not text, are sorted by the msgpack form of
their items. So the bytes depend neither on hash seeds nor on the order of insertion.

Times with a named zone are refused, because its rules may differ between machines.
Must not know commands or services.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, Final, TypeVar
from uuid import UUID

from braft_core.errors import DecodeError
from braft_core.serializers.command_types import TYPES, TypeRegistry
from braft_core.serializers.msgpack import MsgpackSerializer
from braft_core.serializers.plain import INT_MAX, INT_MIN, MAX_DEPTH, check_plain
from braft_core.serializers.unsupported import UnsupportedEncoding

__all__ = [
    "MARK",
    "MAX_INT_BITS",
    "MAX_ITEMS",
    "MAX_TEXT",
    "detached_copy",
    "from_plain",
    "to_plain",
    "types_in",
]

#: The key of the dict that stands for a typed value.
MARK: Final = "@"
#: Most items of a set, or of a dict with keys that are not text. Their hashes are predictable, so
#: an attacker could choose items that all collide.
MAX_ITEMS: Final = 16_384
#: Most bits of an int.
MAX_INT_BITS: Final = 65_536
#: Most characters of a Decimal.
MAX_TEXT: Final = 20_000

_ATOMS: Final = frozenset({type(None), bool, float, bytes, str})
_Moment = TypeVar("_Moment", date, datetime, time)
_order = MsgpackSerializer().dumps


def to_plain(value: Any, *, keep_tuples: bool = True, registry: TypeRegistry = TYPES) -> Any:
    """Return ``value`` encoded as a plain value.

    :param keep_tuples: if False, tuples become lists, except inside typed values.
    :raises TypeError: a part cannot be encoded; names it.
    """
    return _encode(value, MAX_DEPTH, keep_tuples, registry)


def from_plain(value: Any, *, registry: TypeRegistry = TYPES) -> Any:
    """Decode the output of :func:`to_plain`.

    :raises UnsupportedEncoding: it holds a type that this process does not know.
    :raises DecodeError: :func:`to_plain` did not make it.
    """
    try:
        return _decode(value, MAX_DEPTH, registry)
    except DecodeError:
        raise
    except (ValueError, TypeError, ArithmeticError) as error:
        raise DecodeError(f"not a typed value: {error}") from error


def types_in(value: Any) -> set[tuple[str, int, frozenset[str]]]:
    """Return the command types in the output of :func:`to_plain`: name, version, stored fields.

    No object is created. An enum's only "field" is the name of its member.

    :raises DecodeError: :func:`to_plain` did not make it.
    """
    found: set[tuple[str, int, frozenset[str]]] = set()
    _collect(value, MAX_DEPTH, found)
    return found


def _collect(value: Any, depth_left: int, found: set[tuple[str, int, frozenset[str]]]) -> None:
    if depth_left < 0:
        raise DecodeError(f"not a typed value: nested deeper than {MAX_DEPTH}")
    if type(value) is list:
        for item in value:
            _collect(item, depth_left - 1, found)
    elif type(value) is dict:
        match value.get(MARK) if len(value) == 1 else None:
            case [str(name), int(version), dict(stored)] if "." in name:
                found.add((name, version, frozenset(stored)))
            case [str(name), int(version), str(member)] if "." in name:
                found.add((name, version, frozenset({member})))
        for item in value.values():
            _collect(item, depth_left - 1, found)


# --------------------------------------------------------------------------------------------
# To plain values


def _encode(value: Any, depth_left: int, exact: bool, registry: TypeRegistry) -> Any:
    kind = type(value)
    if kind in _ATOMS:
        return value
    if kind is int:
        return value if INT_MIN <= value <= INT_MAX else _write_int(value)
    if depth_left == 0:
        raise TypeError(f"the value is nested deeper than {MAX_DEPTH}")
    if kind is list or kind is tuple:
        items = [_encode(item, depth_left - 1, exact, registry) for item in value]
        return {MARK: ["tuple", items]} if kind is tuple and exact else items
    if kind is dict:
        return _encode_dict(value, depth_left - 1, exact, registry)
    if kind is set or kind is frozenset:
        encoded = [_encode(item, depth_left - 1, True, registry) for item in value]
        _check_count(kind.__name__, len(encoded))
        return {MARK: [kind.__name__, sorted(encoded, key=_order)]}
    known = registry.of(kind)
    if known is not None:
        stored = known.to_fields(value)
        return {MARK: [known.name, known.version, _encode_fields(stored, depth_left - 1, registry)]}
    write = _WRITERS.get(kind)
    if write is None:
        raise _refused(value)
    return {MARK: write(value)}


def _encode_fields(stored: Any, depth_left: int, registry: TypeRegistry) -> Any:
    if type(stored) is str:
        return stored  # the name of an enum's member
    return {name: _encode(item, depth_left, True, registry) for name, item in stored.items()}


def _encode_dict(
    value: dict[Any, Any], depth_left: int, exact: bool, registry: TypeRegistry
) -> Any:
    encoded = {key: _encode(item, depth_left, exact, registry) for key, item in value.items()}
    text = all(type(key) is str for key in encoded)
    if text and not (len(encoded) == 1 and MARK in encoded):
        return encoded
    _check_count("dict with keys that are not text", len(encoded))
    pairs = [[_encode(key, depth_left, True, registry), item] for key, item in encoded.items()]
    return {MARK: ["map", sorted(pairs, key=lambda pair: _order(pair[0]))]}


def _check_count(what: str, count: int) -> None:
    if count > MAX_ITEMS:
        raise TypeError(f"a {what} of {count} items is too large; accepted are {MAX_ITEMS}")


def _refused(value: object) -> TypeError:
    return TypeError(
        f"{reprlib.repr(value)} of type {type(value).__qualname__} is not a plain value, and its "
        "type is not registered; accepted are None, bool, int, float, str, bytes, list, tuple, "
        "dict, set, frozenset, datetime, date, time, timedelta, Decimal, UUID, and classes with "
        "@command_type"
    )


def _write_int(value: int) -> Any:
    if value.bit_length() > MAX_INT_BITS:
        raise TypeError(
            f"an int of {value.bit_length()} bits is too large; accepted are {MAX_INT_BITS}"
        )
    return {MARK: ["int", format(value, "x")]}


def _write_decimal(value: Decimal) -> list[Any]:
    text = str(value)
    if len(text) > MAX_TEXT:
        raise TypeError(f"a Decimal of {len(text)} characters; accepted are {MAX_TEXT}")
    return ["decimal", text]


def _write_datetime(value: datetime) -> list[Any]:
    _check_zone(value)
    return ["datetime", value.isoformat(), value.fold]


def _write_time(value: time) -> list[Any]:
    _check_zone(value)
    return ["time", value.isoformat(), value.fold]


def _check_zone(value: datetime | time) -> None:
    if value.tzinfo is not None and type(value.tzinfo) is not timezone:
        raise TypeError(
            f"{value!r} is in a named zone, whose rules may differ between machines; send it in "
            "UTC (.astimezone(datetime.UTC)), and the zone's name beside it"
        )


_WRITERS: Final[dict[type, Callable[[Any], list[Any]]]] = {
    Decimal: _write_decimal,
    UUID: lambda value: ["uuid", value.bytes],
    datetime: _write_datetime,
    date: lambda value: ["date", value.isoformat()],
    time: _write_time,
    timedelta: lambda value: ["timedelta", value.days, value.seconds, value.microseconds],
}


# --------------------------------------------------------------------------------------------
# From plain values


def _decode(value: Any, depth_left: int, registry: TypeRegistry) -> Any:
    kind = type(value)
    if kind is list:
        _check_depth(depth_left)
        return [_decode(item, depth_left - 1, registry) for item in value]
    if kind is dict:
        _check_depth(depth_left)
        if len(value) == 1 and MARK in value:
            return _decode_form(value[MARK], depth_left - 1, registry)
        return {key: _decode(item, depth_left - 1, registry) for key, item in value.items()}
    return value


def _check_depth(depth_left: int) -> None:
    if depth_left <= 0:
        raise ValueError(f"nested deeper than {MAX_DEPTH}")


def _decode_form(form: Any, depth_left: int, registry: TypeRegistry) -> Any:
    if type(form) is not list or not form or type(form[0]) is not str:
        raise ValueError(f"{MARK!r} holds {form!r:.80}, and no list that begins with a name")
    name, *parts = form
    if "." in name:
        version, stored = _expect_parts(name, parts, int, object)
        return registry.named(name).from_fields(version, _decode(stored, depth_left - 1, registry))
    container = _CONTAINERS.get(name)
    if container is not None:
        (items,) = _expect_parts(name, parts, list)
        return container([_decode(item, depth_left - 1, registry) for item in items])
    read = _READERS.get(name)
    if read is None:
        known = ", ".join(sorted([*_READERS, *_CONTAINERS]))
        raise UnsupportedEncoding(
            f"the data holds a value of form {name!r:.80}, which this braft does not know; "
            f"it knows {known}, and the registered {', '.join(registry.names) or '(none)'}",
            type=name[:80],
        )
    return read(parts)


def _expect_parts(name: str, parts: list[Any], *kinds: type) -> list[Any]:
    fits = len(parts) == len(kinds) and all(
        kind is object or type(part) is kind for part, kind in zip(parts, kinds, strict=False)
    )
    if not fits:
        expected = ", ".join(kind.__name__ for kind in kinds)
        raise ValueError(f"form {name!r} holds {parts!r:.80} instead of ({expected})")
    return parts


def _to_set(items: list[Any]) -> set[Any]:
    _check_count("set", len(items))
    value = set(items)
    if len(value) != len(items):
        raise ValueError("an item is twice in a set")
    return value


def _to_map(pairs: list[Any]) -> dict[Any, Any]:
    _check_count("dict with keys that are not text", len(pairs))
    value = dict(_pair(each) for each in pairs)
    if len(value) != len(pairs):
        raise ValueError("a key is twice in a map")
    return value


def _pair(value: Any) -> tuple[Any, Any]:
    if type(value) is not list or len(value) != 2:
        raise ValueError(f"form 'map' holds {value!r:.80}, and no pair")
    return value[0], value[1]


_CONTAINERS: Final[dict[str, Callable[[list[Any]], Any]]] = {
    "tuple": tuple,
    "set": _to_set,
    "frozenset": lambda items: frozenset(_to_set(items)),
    "map": _to_map,
}


def _read_int(parts: list[Any]) -> int:
    (text,) = _expect_parts("int", parts, str)
    if len(text) > MAX_INT_BITS // 4 + 1:
        raise ValueError(f"an int of {len(text)} digits")
    value = int(text, 16)
    if INT_MIN <= value <= INT_MAX or format(value, "x") != text:
        raise ValueError(f"form 'int' holds {text!r:.80}, which is not written so")
    return value


def _read_decimal(parts: list[Any]) -> Decimal:
    (text,) = _expect_parts("decimal", parts, str)
    if len(text) > MAX_TEXT:
        raise ValueError(f"a Decimal of {len(text)} characters")
    value = Decimal(text)
    if str(value) != text:
        raise ValueError(f"form 'decimal' holds {text!r:.80}, which is not written so")
    return value


def _read_datetime(parts: list[Any]) -> datetime:
    text, fold = _expect_parts("datetime", parts, str, int)
    return _check_canonical(text, datetime.fromisoformat(text).replace(fold=fold))


def _read_time(parts: list[Any]) -> time:
    text, fold = _expect_parts("time", parts, str, int)
    return _check_canonical(text, time.fromisoformat(text).replace(fold=fold))


def _read_date(parts: list[Any]) -> date:
    (text,) = _expect_parts("date", parts, str)
    return _check_canonical(text, date.fromisoformat(text))


def _check_canonical(text: str, value: _Moment) -> _Moment:
    if value.isoformat() != text:
        raise ValueError(f"{text!r:.80} is not written as {value.isoformat()!r}")
    return value


def _read_uuid(parts: list[Any]) -> UUID:
    (data,) = _expect_parts("uuid", parts, bytes)
    return UUID(bytes=data)


def _read_timedelta(parts: list[Any]) -> timedelta:
    days, seconds, microseconds = _expect_parts("timedelta", parts, int, int, int)
    return timedelta(days, seconds, microseconds)


_READERS: Final[dict[str, Callable[[list[Any]], Any]]] = {
    "int": _read_int,
    "decimal": _read_decimal,
    "datetime": _read_datetime,
    "date": _read_date,
    "time": _read_time,
    "timedelta": _read_timedelta,
    "uuid": _read_uuid,
}


_IMMUTABLE: Final = frozenset({type(None), bool, int, float, str, bytes})


def detached_copy(value: Any) -> Any:
    """Return a copy that shares nothing mutable with ``value``.

    Tuples become lists, except within typed values. An answer thus cannot reach into the state of
    the service that gave it.

    :raises TypeError: ``value`` is neither plain nor of a registered type.
    """
    if type(value) is int and INT_MIN <= value <= INT_MAX:
        return value  # by far the commonest answer: a revision
    try:
        check_plain(value)
    except TypeError:
        return from_plain(to_plain(value, keep_tuples=False))
    return value if type(value) in _IMMUTABLE else _copied(value)


def _copied(value: Any) -> Any:
    if type(value) is dict:
        return {
            key: item if type(item) in _IMMUTABLE else _copied(item) for key, item in value.items()
        }
    return [item if type(item) in _IMMUTABLE else _copied(item) for item in value]
