"""Bytes to messages, with what they may cost bounded before anything is made.

A message is decoded as protobuf does it: unknown fields are skipped, the last of several values
counts, a message that comes in parts is merged, the last member of a oneof replaces the others.
"""

from __future__ import annotations

from typing import Any, Final

from braft_etcd.wire.schema import Field, Message, Values, WireError

__all__ = ["MAX_DEPTH", "MAX_PARTS", "decode"]

#: How deep messages may be within messages; protobuf has the same limit.
MAX_DEPTH: Final = 100
#: Messages and elements of lists in one message, at any depth. An empty message takes two bytes on
#: the wire and some hundreds in memory. The largest transaction has fewer than 1,000.
MAX_PARTS: Final = 8_192

_VARINT, _FIXED64, _LENGTH, _START, _END, _FIXED32 = range(6)
_MASK64: Final = (1 << 64) - 1
_MAX_TAG: Final = (1 << 32) - 1


def decode(message: Message, data: bytes) -> Values:
    """Return the message in ``data``, every field present.

    :raises WireError: it is not that message, or has more parts than are accepted.
    """
    decoder = _Decoder(data)
    values = message.new()
    decoder.fields(message, values, 0, len(data), MAX_DEPTH)
    return values


class _Decoder:
    __slots__ = ("_data", "_parts")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._parts = MAX_PARTS

    def fields(self, message: Message, values: Values, at: int, end: int, depth: int) -> None:
        """Read the fields between two positions into ``values``."""
        by_number = message.by_number
        while at < end:
            tag, at = self._tag(at, end)
            kind = tag & 7
            field = by_number.get(tag >> 3)
            if field is None:
                at = self._skip(tag, at, end, depth)
            elif kind == _LENGTH and not field.is_varint:
                size, at = self._varint(at, end)
                if size > end - at:
                    raise WireError(f"{message.name}.{field.name} is longer than its message")
                self._whole(message, field, values, at, at + size, depth)
                at += size
            elif kind == _VARINT and field.is_varint:
                number, at = self._varint(at, end)
                self._store(message, field, values, _number(field.kind, number))
            elif kind == _LENGTH and field.repeated:
                at = self._packed(field, values[field.name], at, end)
            else:
                at = self._skip(tag, at, end, depth)

    def _whole(
        self, message: Message, field: Field, values: Values, at: int, end: int, depth: int
    ) -> None:
        """Read a field of bytes, text or a message."""
        if field.message is None:
            data = self._data[at:end]
            self._store(message, field, values, data if field.kind == "bytes" else _text(data))
            return
        if depth <= 1:
            raise WireError(f"messages are more than {MAX_DEPTH} levels deep")
        inner: Values | None = None if field.repeated else values[field.name]
        if inner is None:
            inner = field.message.new()
            self._store(message, field, values, inner)
        self.fields(field.message, inner, at, end, depth - 1)

    def _store(self, message: Message, field: Field, values: Values, value: Any) -> None:
        if field.repeated or field.message is not None:
            self._count()
        if field.repeated:
            values[field.name].append(value)
            return
        if field.oneof:
            for name in message.oneof:
                values[name] = None
        values[field.name] = value

    def _packed(self, field: Field, numbers: list[Any], at: int, end: int) -> int:
        size, at = self._varint(at, end)
        if size > end - at:
            raise WireError(f"{field.name} is longer than its message")
        stop = at + size
        while at < stop:
            number, at = self._varint(at, stop)
            self._count()
            numbers.append(_number(field.kind, number))
        return stop

    def _count(self) -> None:
        self._parts -= 1
        if self._parts < 0:
            raise WireError(f"the message has more than {MAX_PARTS} parts")

    def _tag(self, at: int, end: int) -> tuple[int, int]:
        tag, after = self._varint(at, end)
        if tag > _MAX_TAG or after - at > 5 or not tag >> 3:
            raise WireError(f"{tag} is not the tag of a field")
        return tag, after

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        data, value, shift = self._data, 0, 0
        while at < end:
            byte = data[at]
            at += 1
            if byte < 0x80:
                if shift == 63 and byte > 1:
                    break
                return value | byte << shift, at
            value |= (byte & 0x7F) << shift
            shift += 7
            if shift > 63:
                break
        raise WireError("a number is cut off, or has more than 64 bits")

    def _skip(self, tag: int, at: int, end: int, depth: int) -> int:
        kind = tag & 7
        if kind == _VARINT:
            return self._varint(at, end)[1]
        if kind == _FIXED64:
            size = 8
        elif kind == _FIXED32:
            size = 4
        elif kind == _LENGTH:
            size, at = self._varint(at, end)
        elif kind == _START:
            return self._skip_group(tag >> 3, at, end, depth)
        else:
            raise WireError(f"a field has the wire type {kind}, which has no meaning here")
        if size > end - at:
            raise WireError("an unknown field is longer than its message")
        return at + size

    def _skip_group(self, number: int, at: int, end: int, depth: int) -> int:
        open_groups = [number]
        while open_groups:
            tag, at = self._tag(at, end)
            if tag & 7 == _END:
                if open_groups.pop() != tag >> 3:
                    raise WireError("a group ends that did not begin")
            elif tag & 7 == _START:
                if len(open_groups) >= depth - 1:
                    raise WireError(f"messages are more than {MAX_DEPTH} levels deep")
                open_groups.append(tag >> 3)
            else:
                at = self._skip(tag, at, end, depth)
        return at


def _number(kind: str, number: int) -> int | bool:
    if kind == "int64":
        return number - (1 << 64) if number >> 63 else number
    if kind == "bool":
        return number != 0
    if kind == "uint64":
        return number & _MASK64
    number &= 0xFFFF_FFFF
    if kind == "uint32":
        return number
    return number - (1 << 32) if number >> 31 else number


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise WireError("a text is not UTF-8") from error
