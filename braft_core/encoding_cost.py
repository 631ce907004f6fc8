"""Estimates whether a value is cheap to encode, or has to be encoded in chunks.

An encoder in C holds the interpreter's lock until it returns. Meanwhile no other thread runs, and
the consensus loop sends no heartbeat.
"""

from __future__ import annotations

from typing import Any, Final

__all__ = ["MAX_CHARACTERS", "MAX_VALUES", "is_cheap", "remaining_budget", "text_cost"]

#: Most nested values, or characters of text, that are encoded in one call: some milliseconds.
MAX_VALUES: Final = 4096
MAX_CHARACTERS: Final = 256 << 10


def is_cheap(value: Any) -> bool:
    """Return whether a value has few enough nested values and characters for one call."""
    try:
        return remaining_budget(value, MAX_VALUES) > 0
    except RecursionError:  # a cycle: the encoder refuses or replaces it
        return True


def remaining_budget(value: Any, room: int) -> int:
    """Return what is left of ``room`` values after this one; 0 or less if it does not fit.

    Takes at most ``room`` steps, however large the value is.
    """
    room -= 1
    if isinstance(value, str | bytes):
        return room - text_cost(value)
    if isinstance(value, dict):
        if len(value) >= room:
            return 0
        for key, item in value.items():
            room = remaining_budget(item, room - 1 - text_cost(key))
            if room <= 0:
                break
    elif isinstance(value, list | tuple):
        if len(value) >= room:
            return 0
        for item in value:
            room = remaining_budget(item, room)
            if room <= 0:
                break
    return room


def text_cost(text: object) -> int:
    """Return how many further values a text counts as."""
    return len(text) * MAX_VALUES // MAX_CHARACTERS if isinstance(text, str | bytes) else 0
