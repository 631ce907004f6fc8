"""The plain values that every braft serializer carries, and how they are walked.

The limits are those of braft's own serializer: a cluster may change from one to the other only
because both carry exactly the same values. Must not know any format.
"""

from __future__ import annotations

import reprlib
from typing import Final

__all__ = [
    "INT_MAX",
    "INT_MIN",
    "MAX_DEPTH",
    "check_plain",
    "check_room",
    "check_scalar",
    "check_text",
]

#: Deepest nesting of lists and dicts; a scalar has depth 0, ``[]`` has depth 1.
MAX_DEPTH: Final = 128
INT_MIN: Final = -(1 << 63)
INT_MAX: Final = (1 << 64) - 1

_ATOMS: Final = frozenset({type(None), bool, float, bytes})


def check_plain(value: object, room: int = MAX_DEPTH) -> None:
    """Return if ``value`` is plain, with at most ``room`` levels of nesting.

    :raises TypeError: naming what is not plain.
    """
    if type(value) is list or type(value) is tuple:
        check_room(room)
        for item in value:
            check_plain(item, room - 1)
    elif type(value) is dict:
        check_room(room)
        for key, item in value.items():
            check_text(key)
            check_plain(item, room - 1)
    else:
        check_scalar(value)


def check_scalar(value: object) -> None:
    """Return if ``value`` is plain and no container. :raises TypeError: otherwise."""
    if type(value) is str:
        check_text(value)
    elif type(value) is int:
        if not INT_MIN <= value <= INT_MAX:
            raise TypeError(f"an int of {value.bit_length()} bits; accepted is -2**63 to 2**64-1")
    elif type(value) not in _ATOMS:
        raise TypeError(
            f"{reprlib.repr(value)} of type {type(value).__qualname__} is not a plain value; "
            "accepted are None, bool, int, float, str, bytes, lists, and dicts with str keys"
        )


def check_text(value: object) -> None:
    """Return if ``value`` is a ``str`` of valid Unicode. :raises TypeError: otherwise."""
    if type(value) is not str:
        raise TypeError(f"the dict key {reprlib.repr(value)} is not a str")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise TypeError(f"{reprlib.repr(value)} is not valid Unicode text: {error}") from error


def check_room(room: int) -> None:
    """Refuse one more level of nesting when there is no room. :raises TypeError: then."""
    if room == 0:
        raise TypeError(f"the value is nested deeper than {MAX_DEPTH} lists and dicts")
