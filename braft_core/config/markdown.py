"""The table of all settings, for the documentation."""

from __future__ import annotations

from typing import Any

from braft_core.config.display import format_value
from braft_core.config.settings import Settings

__all__ = ["settings_markdown"]


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
