"""Messages to bytes."""

from __future__ import annotations

from typing import Any, Final

from braft_etcd.wire.schema import Field, Message, Values

__all__ = ["encode", "varint"]

_MASK64: Final = (1 << 64) - 1
_SMALL: Final = tuple(bytes((number,)) for number in range(128))


def encode(message: Message, values: Values) -> bytes:
    """Return a message as bytes; fields that are absent have their default.

    A message within it may be given as its bytes.
    """
    parts: list[bytes] = []
    _fields(message, values, parts)
    return b"".join(parts)


def _fields(message: Message, values: Values, parts: list[bytes]) -> None:
    for field in message.fields:
        value = values.get(field.name)
        if value is None or (not field.oneof and not field.repeated and value == field.default):
            continue
        if field.is_varint:
            _numbers(field, value, parts)
        elif field.repeated:
            for each in value:
                _whole(field, each, parts)
        else:
            _whole(field, value, parts)


def _numbers(field: Field, value: Any, parts: list[bytes]) -> None:
    if not field.repeated:
        parts.append(varint(field.number << 3))
        parts.append(varint(int(value) & _MASK64))
    elif value:
        packed = b"".join([varint(int(each) & _MASK64) for each in value])
        parts += (varint(field.number << 3 | 2), varint(len(packed)), packed)


def _whole(field: Field, value: Any, parts: list[bytes]) -> None:
    if field.message is not None and type(value) is not bytes:
        inner: list[bytes] = []
        _fields(field.message, value, inner)
        data = b"".join(inner)
    else:
        data = value if type(value) is bytes else value.encode()
    parts += (varint(field.number << 3 | 2), varint(len(data)), data)


def varint(number: int) -> bytes:
    """Return a number of 0 or more as a varint."""
    if number < 128:
        return _SMALL[number]
    parts = bytearray()
    while number > 127:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)
