"""Settings as text: single values, for ``braft config``."""

from __future__ import annotations

import re

from pydantic import SecretStr

from braft_core.config.durations import format_duration, format_range

__all__ = ["MASK", "format_value", "is_secret"]

_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
MASK = "**********"
_SECRET_WORDS = ("token", "password", "secret", "_key")


def format_value(value: object, default: str = "") -> str:
    """Return a value as the user could write it; ``default`` in parentheses if it is not set."""
    match value:
        case SecretStr():
            return MASK
        case None | "" | ():
            return f"({_plain(default)})" if default else ""
        case bool():
            return "on" if value else "off"
        case float():
            return format_duration(value)
        case (float() as low, float() as high):
            return format_range((low, high))
        case list() | tuple():
            return ",".join(format_value(item) for item in value)
        case _:
            return str(value)


def _plain(markdown: str) -> str:
    return _LINK.sub(r"\1", markdown).replace("`", "")


def is_secret(name: str) -> bool:
    """Return whether a name is like that of a secret."""
    return any(word in name.lower() for word in _SECRET_WORDS)
