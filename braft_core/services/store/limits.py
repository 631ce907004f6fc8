"""Limits of the store, and the checks of arguments that need no state.

Every check names the argument, its value and what is accepted. Pure.
"""

from __future__ import annotations

from typing import Any, Final

from braft_core.errors import InvalidArgument

__all__ = [
    "ALL",
    "COUNT_ONLY",
    "DEFAULT_QUOTA",
    "IGNORE_LEASE",
    "IGNORE_VALUE",
    "KEYS_ONLY",
    "MAX_ANSWER_RECORDS",
    "MAX_NUMBER",
    "MAX_OPS",
    "PREVIOUS",
    "check_key",
    "check_number",
    "check_range",
    "check_value",
    "shown",
]

#: The most operations of each branch of a transaction, nested ones and their compares included.
MAX_OPS: Final = 128
#: The most records in the answer of one command. Queries have no such limit: their answers are not
#: kept for retries.
MAX_ANSWER_RECORDS: Final = 10_000
#: Bytes of all records of a new store, see :data:`braft_core.services.store.records.OVERHEAD`.
DEFAULT_QUOTA: Final = 2 << 30
#: The largest revision, lease, limit and quota.
MAX_NUMBER: Final = (1 << 63) - 1

#: Flags of ``put`` and ``delete``.
PREVIOUS: Final = 1
IGNORE_VALUE: Final = 2
IGNORE_LEASE: Final = 4
#: Flags of ``range``.
KEYS_ONLY: Final = 1
COUNT_ONLY: Final = 2

#: As the end of a range: all keys from its begin on.
ALL: Final = b"\0"


def shown(value: Any) -> str:
    """Return a value as messages show it."""
    try:
        return repr(value)[:80]
    except ValueError:  # Python refuses to write out an int of thousands of digits
        return f"a {type(value).__name__} that is too large to be shown"


def check_key(key: Any) -> None:
    """Check a key.

    :raises InvalidArgument: it is not bytes, or empty.
    """
    if type(key) is not bytes or not key:
        raise InvalidArgument(
            f"the key is {shown(key)}; accepted: bytes that are not empty", key=shown(key)
        )


def check_value(key: bytes, value: Any) -> None:
    """Check a value.

    :raises InvalidArgument: it is not bytes.
    """
    if type(value) is not bytes:
        raise InvalidArgument(
            f"the value of key {shown(key)} is {shown(value)}; accepted: bytes", key=shown(key)
        )


def check_range(key: Any, end: Any) -> None:
    """Check a range: ``end`` is empty for one key, :data:`ALL`, or the first key behind the range.

    :raises InvalidArgument: one is not bytes, the key is empty, or the end is before it.
    """
    check_key(key)
    if type(end) is not bytes:
        raise InvalidArgument(
            f"the end of the range from {shown(key)} is {shown(end)}; accepted: bytes",
            key=shown(key),
        )
    if end and end < key and end != ALL:
        raise InvalidArgument(
            f"the range from {shown(key)} to {shown(end)} is reversed; accepted: an end that is "
            "not before the key, b'' for the key alone, b'\\0' for all keys from it on",
            key=shown(key),
            end=shown(end),
        )


def check_number(what: str, number: Any, most: int = MAX_NUMBER) -> None:
    """Check a number.

    :raises InvalidArgument: it is not an int of 0 to ``most``.
    """
    if type(number) is not int or not 0 <= number <= most:
        raise InvalidArgument(
            f"{what} is {shown(number)}; accepted: a number of 0 to {most}", value=shown(number)
        )
