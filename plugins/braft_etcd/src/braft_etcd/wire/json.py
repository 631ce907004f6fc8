"""Messages to JSON and back, as etcd's gateway writes them.

Names are those of the protocol; those of lower camel case are accepted too. Bytes are base64,
numbers of 64 bits are texts, enumerations are names. Fields that have their default are left out.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from braft_etcd.wire.decoding import MAX_DEPTH, MAX_PARTS, decode
from braft_etcd.wire.schema import Field, Message, Values, WireError

__all__ = ["dump", "from_plain", "load", "to_plain"]

#: Least and most value of each number.
_RANGES: Final[Mapping[str, tuple[int, int]]] = {
    "int64": (-(1 << 63), (1 << 63) - 1),
    "uint64": (0, (1 << 64) - 1),
    "int32": (-(1 << 31), (1 << 31) - 1),
    "uint32": (0, (1 << 32) - 1),
    "enum": (-(1 << 31), (1 << 31) - 1),
}
_LONG: Final = ("int64", "uint64")
#: What values are made of. A message of so many parts that is accepted has far less.
_STRUCTURE: Final = (b"{", b"[", b",")
_MAX_STRUCTURE: Final = 16 * MAX_PARTS
#: No number that is accepted has more characters.
_MAX_DIGITS: Final = 32


def dump(message: Message, values: Values) -> bytes:
    """Return a message as JSON."""
    return json.dumps(to_plain(message, values), separators=(",", ":")).encode()


def load(message: Message, data: bytes) -> Values:
    """Return the message in JSON text, every field present; no text means an empty message.

    :raises WireError: it is not that message, or has more parts than are accepted.
    """
    if not data.strip():
        return message.new()
    # Before the parser makes anything: an empty object takes two bytes here and 64 in memory.
    if sum(map(data.count, _STRUCTURE)) > _MAX_STRUCTURE:
        raise WireError(f"the body has more than {_MAX_STRUCTURE} objects, lists and commas")
    try:
        plain = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise WireError("the body is not JSON") from error
    return from_plain(message, plain)


def to_plain(message: Message, values: Values) -> dict[str, Any]:
    """Return a message as what :mod:`json` writes. A message within it may be given as bytes."""
    plain: dict[str, Any] = {}
    for field in message.fields:
        value = values.get(field.name)
        if value is None or (not field.oneof and not field.repeated and value == field.default):
            continue
        if not field.repeated:
            plain[field.name] = _shown(field, value)
        elif value:
            plain[field.name] = [_shown(field, each) for each in value]
    return plain


def _shown(field: Field, value: Any) -> Any:
    if field.message is not None:
        whole = decode(field.message, value) if type(value) is bytes else value
        return to_plain(field.message, whole)
    if field.kind == "bytes":
        return base64.b64encode(value).decode()
    if field.kind in _LONG:
        return str(value)
    if field.kind == "enum":
        return field.enum.get(value, value)
    return value


def from_plain(message: Message, plain: Any) -> Values:
    """Return the message in what :mod:`json` has read.

    :raises WireError: it is not that message, or has more parts than are accepted.
    """
    return _Reader().message(message, plain, MAX_DEPTH)


class _Reader:
    def __init__(self) -> None:
        self._parts = MAX_PARTS

    def message(self, message: Message, plain: Any, depth: int) -> Values:
        """Read one message. Unknown names are ignored, and null stands for nothing."""
        if not isinstance(plain, dict):
            raise WireError(f"{_cut(plain)} is not an object, which {message.name} is")
        if not depth:
            raise WireError(f"messages are more than {MAX_DEPTH} levels deep")
        values = message.new()
        for name, value in plain.items():
            field = message.by_name.get(name)
            if field is None or value is None:
                continue
            if field.repeated:
                if not isinstance(value, list):
                    raise WireError(f"{name} is {_cut(value)}; accepted: a list")
                values[field.name] = [self._value(field, each, depth) for each in value]
                continue
            if field.oneof:
                for other in message.oneof:
                    values[other] = None
            values[field.name] = self._value(field, value, depth)
        return values

    def _value(self, field: Field, value: Any, depth: int) -> Any:
        self._parts -= 1
        if self._parts < 0:
            raise WireError(f"the message has more than {MAX_PARTS} parts")
        if field.message is not None:
            return self.message(field.message, value, depth - 1)
        return _READERS[field.kind](field, value)


def _bytes(field: Field, value: Any) -> bytes:
    if not isinstance(value, str):
        raise WireError(f"{field.name} is {_cut(value)}; accepted: base64")
    text = value.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise WireError(f"{field.name} is {_cut(value)}; accepted: base64") from error


def _text(field: Field, value: Any) -> str:
    if isinstance(value, str) and not any("\ud800" <= char <= "\udfff" for char in value):
        return value
    raise WireError(f"{field.name} is {_cut(value)}; accepted: text")


def _truth(field: Field, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise WireError(f"{field.name} is {_cut(value)}; accepted: true or false")


def _number(field: Field, value: Any) -> int:
    least, most = _RANGES[field.kind]
    number: int | None = None
    if type(value) is int:
        number = value
    elif isinstance(value, float) and value.is_integer():
        number = int(value)
    elif isinstance(value, str) and len(value) <= _MAX_DIGITS:
        try:
            number = int(value) if value.isascii() and "_" not in value else None
        except ValueError:
            number = None
    if number is None or not least <= number <= most:
        raise WireError(f"{field.name} is {_cut(value)}; accepted: a number of {least} to {most}")
    return number


def _enum(field: Field, value: Any) -> int:
    if isinstance(value, str):
        for number, name in field.enum.items():
            if name == value:
                return number
        raise WireError(
            f"{field.name} is {_cut(value)}; accepted: {', '.join(field.enum.values())}"
        )
    return _number(field, value)


_READERS: Final[Mapping[str, Callable[[Field, Any], Any]]] = {
    "bytes": _bytes,
    "string": _text,
    "bool": _truth,
    "enum": _enum,
    **dict.fromkeys(("int64", "uint64", "int32", "uint32"), _number),
}


def _cut(value: Any) -> str:
    try:
        return repr(value)[:80]
    except ValueError:  # Python refuses to write out an int of thousands of digits
        return "a number that is too large"
