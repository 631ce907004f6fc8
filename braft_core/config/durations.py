"""Durations as users write them: ``90s``, ``1m30s``, ``100ms``, ``0``, and ranges ``10ms-15s``.

The notation is that of the Go original. Parsed values are in seconds. Must not know settings: a bad
text raises ``ValueError`` without the name of a variable.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal

__all__ = ["format_duration", "format_range", "parse_duration", "parse_history", "parse_range"]

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_UNIT = "|".join(sorted(_UNITS, key=len, reverse=True))
_PART = re.compile(rf"(\d+(?:\.\d*)?|\.\d+)({_UNIT})")
_WHOLE = re.compile(rf"(?:{_PART.pattern})+")
_BARE_NUMBER = re.compile(r"\d+(?:\.\d*)?|\.\d+")
_LAST_UNIT = re.compile(rf"({_UNIT})$")


def parse_duration(value: object) -> float:
    """Return the seconds of a duration text; a number is taken as seconds.

    :raises ValueError: for anything else, and for negative and infinite values.
    """
    if isinstance(value, bool):
        raise ValueError("a bool is not a duration")
    if isinstance(value, int | float):
        if not math.isfinite(value) or value < 0:
            raise ValueError("a duration is finite and not negative")
        return float(value)
    if not isinstance(value, str):
        raise ValueError(f"a {type(value).__name__} is not a duration")
    text = value.strip()
    if text == "0":
        return 0.0
    if not _WHOLE.fullmatch(text):
        raise ValueError("not a duration")
    return math.fsum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))


def parse_range(value: object) -> tuple[float, float]:
    """Return both ends of ``10ms-15s``, ``15-30s`` (the unit holds for both) or ``100ms``, seconds.

    A single duration is both ends of its range. A list or tuple holds the two ends.

    :raises ValueError: for anything else, and if the first end is greater than the second.
    """
    if isinstance(value, list | tuple):
        if len(value) != 2:
            raise ValueError("a range has exactly two ends")
        low, high = parse_duration(value[0]), parse_duration(value[1])
    elif isinstance(value, str) and "-" in value:
        low, high = _split_range(value)
    else:
        low = high = parse_duration(value)
    if low > high:
        raise ValueError("the range begins above its end")
    return low, high


def parse_history(value: object) -> tuple[float, int]:
    """Return the seconds and the number of ``10m,100000``; ``0`` stands for both.

    A list or tuple holds the two.

    :raises ValueError: for anything else, and for a negative number.
    """
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",")]
        value = value * 2 if value == ["0"] else value
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError("not a duration and a number")
    age, number = value
    if isinstance(number, str) and number.isdecimal() and number.isascii():
        number = int(number)
    if type(number) is not int or number < 0:
        raise ValueError("not a number of revisions")
    return parse_duration(age), number


def _split_range(text: str) -> tuple[float, float]:
    left, _, right = (part.strip() for part in text.partition("-"))
    unit = _LAST_UNIT.search(right)
    if unit and _BARE_NUMBER.fullmatch(left):
        left += unit.group(1)
    return parse_duration(left), parse_duration(right)


def format_duration(seconds: float) -> str:
    """Return a short text that :func:`parse_duration` reads back as the same value."""
    if seconds == 0:
        return "0"
    for unit, least in (("h", 1), ("m", 2), ("s", 1)):  # 60s reads better than 1m
        count = int(seconds / _UNITS[unit])
        if count >= least and parse_duration(f"{count}{unit}") == seconds:
            return f"{count}{unit}"
    millis = round(seconds * 1000)
    if seconds < 1 and millis and parse_duration(f"{millis}ms") == seconds:
        return f"{millis}ms"
    return f"{Decimal(repr(seconds)):f}s"


def format_range(bounds: tuple[float, float]) -> str:
    """Return the text of a range; one duration if both ends are equal."""
    low, high = bounds
    if low == high:
        return format_duration(low)
    return f"{format_duration(low)}-{format_duration(high)}"
