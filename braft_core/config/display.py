"""Settings as text: single values for ``braft config``, the table for the documentation."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from braft_core.config.durations import format_duration, format_range

if TYPE_CHECKING:
    from braft_core.config.settings import Settings

__all__ = ["MASK", "format_value", "is_secret", "settings_markdown"]

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


def settings_markdown(settings: type[Settings]) -> str:
    """Return the table of all settings, generated from the model."""
    lines = [
        "| variable | short | keyword, TOML key | meaning | accepts | default |",
        "|---|---|---|---|---|---|",
    ]
    for name, variable in settings.variables().items():
        value: Any = settings.model_fields[name].default
        default = variable.default or f"`{format_value(not value if variable.inverted else value)}`"
        short = f"`{variable.short}`" if variable.short else "-"
        lines.append(
            f"| `{variable.long}` | {short} | `{name}` | {variable.meaning} "
            f"| {settings.accepts(name)} | {default} |"
        )
    return "\n".join(lines) + "\n"


def is_secret(name: str) -> bool:
    """Return whether a name is like that of a secret."""
    return any(word in name.lower() for word in _SECRET_WORDS)
