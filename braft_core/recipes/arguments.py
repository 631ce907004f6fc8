"""Check the arguments of recipes where they enter. Pure."""

from __future__ import annotations

from typing import Any

from braft_core.errors import InvalidArgument

__all__ = ["count_of", "wait_of"]


def wait_of(wait: object) -> float | None:
    """Return how long to wait, seconds; ``None``: as long as it takes.

    :raises InvalidArgument: it is not a number from 0.
    """
    number: Any = wait
    if wait is None or (type(wait) in (int, float) and number >= 0):  # NaN is not
        return None if wait is None else float(number)
    raise InvalidArgument(
        f"wait is {wait!r:.80}; accepted: seconds from 0, or None to wait as long as it takes",
        wait=f"{wait!r:.80}",
    )


def count_of(what: str, given: object, most: int = 1_000_000) -> int:
    """Return a number of things from 1. :raises InvalidArgument: it is not one."""
    if type(given) is int and 1 <= given <= most:
        return given
    raise InvalidArgument(
        f"{what} is {given!r:.80}; accepted: a whole number from 1 to {most:,}",
        **{what: f"{given!r:.80}"},
    )
