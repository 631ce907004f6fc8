"""Plain values, which every serializer can encode, and the check that a value is plain.

All serializers accept the same values, so that a cluster can change its serializer: ``None``,
``bool``, ``int`` of 64 bits (-2**63 to 2**64-1), ``float``, ``str`` without lone surrogates,
``bytes``, lists, and dicts with ``str`` keys. Tuples are encoded as lists and decoded as lists.
Subclasses (enums, named tuples, ordered dicts) are refused, because they would be decoded as
another type. Nesting is limited, so that no decoder reaches its own limit.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterable
from typing import Final

__all__ = ["INT_MAX", "INT_MIN", "MAX_DEPTH", "check_plain", "not_finite"]

#: Deepest nesting of lists and dicts; a scalar has depth 0, ``[]`` has depth 1.
MAX_DEPTH: Final = 128
INT_MIN: Final = -(1 << 63)
INT_MAX: Final = (1 << 64) - 1

_ATOMS: Final = frozenset({type(None), bool, float, bytes})


def check_plain(value: object) -> int:
    """Return the number of values in ``value``, itself and keys included, if it is plain.

    :raises TypeError: it is not plain; says what is accepted. A cycle counts as nested too deep.
    """
    return 1 if type(value) in _ATOMS else _check(value, MAX_DEPTH)


def not_finite(values: Iterable[object]) -> float | None:
    """Return the first NaN or infinity in plain values, at any depth, ``None`` without any.

    They are plain and every serializer encodes them, but JSON has no form for them.
    """
    for value in values:
        found: float | None = None
        if type(value) is float:
            found = None if math.isfinite(value) else value
        elif type(value) is list or type(value) is tuple:
            found = not_finite(value)
        elif type(value) is dict:
            found = not_finite(value.values())
        if found is not None:
            return found
    return None


def _check(value: object, room: int) -> int:
    count = 1
    if type(value) is str:
        if not value.isascii():
            _check_text(value)
    elif type(value) is int:
        _check_int(value)
    elif type(value) is list or type(value) is tuple:
        if room == 0:
            raise _too_deep()
        for item in value:
            # Most items need no call.
            if type(item) in _ATOMS or (type(item) is str and item.isascii()):
                count += 1
            else:
                count += _check(item, room - 1)
    elif type(value) is dict:
        if room == 0:
            raise _too_deep()
        for key, item in value.items():
            _check_key(key)
            count += 1 + _check(item, room - 1)
    elif type(value) not in _ATOMS:
        raise TypeError(
            f"{reprlib.repr(value)} of type {type(value).__qualname__} is not a plain value; "
            "accepted are None, bool, int, float, str, bytes, lists, and dicts with str keys"
        )
    return count


def _check_text(value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise TypeError(f"{reprlib.repr(value)} is not valid Unicode text: {error}") from error


def _check_int(value: int) -> None:
    if not INT_MIN <= value <= INT_MAX:
        raise TypeError(
            f"an int of {value.bit_length()} bits is too large; accepted is -2**63 to 2**64-1"
        )


def _check_key(key: object) -> None:
    if type(key) is not str:
        raise TypeError(f"the dict key {reprlib.repr(key)} is not a str")
    if not key.isascii():
        _check_text(key)


def _too_deep() -> TypeError:
    return TypeError(f"the value is nested deeper than {MAX_DEPTH} lists and dicts")
