"""Bytes for plain values that do not depend on the order of dicts.

Two dicts with equal items are one value, whatever was inserted first. Sorting a large dict would
hold the interpreter's lock for its whole length, so the hashes of its items are added up instead,
and other threads come in between. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from typing import Any, Final

import msgpack

__all__ = ["canonical_chunks"]

_SIZE: Final = 16
_MODULUS: Final = 1 << (8 * _SIZE)
#: Items between two empty chunks, at which the consumer may pause.
_ITEMS: Final = 1024
_SINGLE: Final = frozenset({type(None), bool, int, float, str, bytes})
_pack = msgpack.packb


def canonical_chunks(value: Any) -> Iterator[bytes]:
    """Return bytes that are equal for equal plain values; some of the chunks are empty.

    The value must not change meanwhile.
    """
    if type(value) is dict:
        yield from _map(value)
    elif type(value) in _SINGLE:
        yield _pack(value)
    else:
        yield b"\xc1[%d]" % len(value)
        for number, item in enumerate(value, 1):
            if type(item) in _SINGLE:
                yield _pack(item)
            else:
                yield from canonical_chunks(item)
            if number % _ITEMS == 0:
                yield b""


def _map(value: dict[str, Any]) -> Iterator[bytes]:
    total = 0
    for number, (key, item) in enumerate(value.items(), 1):
        hashed = blake2b(_pack(key), digest_size=_SIZE)
        if type(item) in _SINGLE:
            hashed.update(_pack(item))
        else:
            for chunk in canonical_chunks(item):
                if chunk:
                    hashed.update(chunk)
                else:
                    yield b""
        total += int.from_bytes(hashed.digest(), "big")
        if number % _ITEMS == 0:
            yield b""
    yield b"\xc1{%d}" % len(value)
    yield (total % _MODULUS).to_bytes(_SIZE, "big")
