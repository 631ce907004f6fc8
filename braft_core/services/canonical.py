"""Bytes for plain values that do not depend on the order of dicts.

Two dicts with equal items are one value, whatever was inserted first. They are read from their
msgpack form, without making objects of them: to make or to sort one large dict would hold the
interpreter's lock for the whole of it. The hashes of its items are added up instead, and other
threads come in between. Pure.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from hashlib import blake2b
from typing import Any, Final

__all__ = ["canonical_chunks"]

_SIZE: Final = 16
_MODULUS: Final = 1 << (8 * _SIZE)
#: Items between two empty chunks, where the consumer may pause.
_ITEMS: Final = 1024
#: Bytes of a value by its first byte: nil, booleans, floats, ints.
_FIXED: Final = {0xC0: 1, 0xC2: 1, 0xC3: 1, 0xCA: 5, 0xCB: 9} | {
    first: 1 + (1 << number)
    for begin in (0xCC, 0xD0)
    for number, first in enumerate(range(begin, begin + 4))
}
#: Bytes of the length that follows, for bytes and text, for arrays, for maps.
_SIZED: Final = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
_ARRAYS: Final = {0xDC: 2, 0xDD: 4}
_MAPS: Final = {0xDE: 2, 0xDF: 4}


def canonical_chunks(data: bytes) -> Iterator[bytes]:
    """Return bytes that are equal for equal values; some of the chunks are empty.

    :param data: what :class:`~braft_core.serializers.msgpack.MsgpackSerializer` made of a value.
    """
    yield from _value(data, 0)


def _value(data: bytes, at: int) -> Generator[bytes, None, int]:
    """Read one value, and return where it ends."""
    end = _end_of_single(data, at)
    if end:
        yield data[at:end]
        return end
    first = data[at]
    if first in _MAPS or first & 0xF0 == 0x80:
        return (yield from _map(data, *_header(data, at, _MAPS)))
    return (yield from _array(data, *_header(data, at, _ARRAYS)))


def _array(data: bytes, count: int, at: int) -> Generator[bytes, None, int]:
    yield b"\xc1[%d]" % count
    start = at
    for number in range(1, count + 1):
        end = _end_of_single(data, at)
        if end:
            at = end
        else:
            yield data[start:at]
            start = at = yield from _value(data, at)
        if number % _ITEMS == 0:
            yield data[start:at]
            start = at
    yield data[start:at]
    return at


def _map(data: bytes, count: int, at: int) -> Generator[bytes, None, int]:
    total = 0
    for number in range(1, count + 1):
        value = _end_of_single(data, at)  # a key is text
        end = _end_of_single(data, value)
        if end:
            hashed = blake2b(data[at:end], digest_size=_SIZE)
            at = end
        else:
            hashed = blake2b(data[at:value], digest_size=_SIZE)
            at = yield from _absorb(_value(data, value), hashed)
        total += int.from_bytes(hashed.digest(), "big")
        if number % _ITEMS == 0:
            yield b""
    yield b"\xc1{%d}" % count
    yield (total % _MODULUS).to_bytes(_SIZE, "big")
    return at


def _absorb(chunks: Generator[bytes, None, int], hashed: Any) -> Generator[bytes, None, int]:
    """Hash the chunks of one value, passing on their pauses; return where it ends."""
    while True:
        try:
            chunk = next(chunks)
        except StopIteration as end:
            return int(end.value)
        hashed.update(chunk)
        if not chunk:
            yield b""


def _end_of_single(data: bytes, at: int) -> int:
    """Return where the value at ``at`` ends, 0 if it is an array or a map."""
    first = data[at]
    if first < 0x80 or first >= 0xE0:
        return at + 1
    if 0xA0 <= first < 0xC0:
        return at + 1 + (first & 0x1F)
    if first in _FIXED:
        return at + _FIXED[first]
    if first in _SIZED:
        begin = at + 1 + _SIZED[first]
        return begin + int.from_bytes(data[at + 1 : begin], "big")
    return 0


def _header(data: bytes, at: int, sizes: dict[int, int]) -> tuple[int, int]:
    """Return how many items there are, and where the first one begins."""
    first = data[at]
    if first not in sizes:
        return first & 0x0F, at + 1
    begin = at + 1 + sizes[first]
    return int.from_bytes(data[at + 1 : begin], "big"), begin
