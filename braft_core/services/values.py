"""Copies of values, so that an answer cannot reach into a service's state."""

from __future__ import annotations

from typing import Any

from braft_core.serializers.plain import INT_MAX, INT_MIN, check_plain
from braft_core.serializers.typed import from_plain, to_plain

__all__ = ["own"]

_IMMUTABLE = frozenset({type(None), bool, int, float, str, bytes})


def own(value: Any) -> Any:
    """A copy that shares nothing changeable; tuples become lists, except within typed values.

    :raises TypeError: for a value that is neither plain nor of a registered type.
    """
    if type(value) is int and INT_MIN <= value <= INT_MAX:
        return value  # by far the commonest answer: a revision
    try:
        check_plain(value)
    except TypeError:
        return from_plain(to_plain(value, keep_tuples=False))
    return value if type(value) in _IMMUTABLE else _copy(value)


def _copy(value: Any) -> Any:
    if type(value) is dict:
        return {
            key: item if type(item) in _IMMUTABLE else _copy(item) for key, item in value.items()
        }
    return [item if type(item) in _IMMUTABLE else _copy(item) for item in value]
