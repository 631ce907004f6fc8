"""How much work a value is for an encoder: whether it is done in a moment, or has to be cut.

An encoder in C holds the interpreter's lock until it returns; meanwhile no other thread runs, and
the consensus loop sends no heartbeat.
"""

from __future__ import annotations

from typing import Any, Final

__all__ = ["MAX_CHARACTERS", "MAX_VALUES", "is_cheap", "remaining_budget", "text_cost"]

#: Values within one value, or characters of text, that are encoded in one go: some milliseconds.
MAX_VALUES: Final = 4096
MAX_CHARACTERS: Final = 256 << 10


def is_cheap(value: Any) -> bool:
    """Whether a value has no more than :data:`MAX_VALUES` values in it, and as little text."""
    try:
        return remaining_budget(value, MAX_VALUES) > 0
    except RecursionError:  # within itself: the encoder will refuse it, or knows how to show it
        return True


def remaining_budget(value: Any, room: int) -> int:
    """What of ``room`` values is left after this one: 0 or less if it does not fit.

    Costs no more than ``room`` steps, however large the value is.
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
    """What a text counts for, beside that it is one value."""
    return len(text) * MAX_VALUES // MAX_CHARACTERS if isinstance(text, str | bytes) else 0
