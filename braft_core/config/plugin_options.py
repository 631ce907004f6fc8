"""The options of one plugin, from its section, its variables and the settings that fill options.

Applies the precedence of the sources. Must not know what an option means: the plugin's own model
(:mod:`braft_core.plugin.options`) does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from braft_core.config.sources import SourcedValue, conflicting_variables, precedence

if TYPE_CHECKING:
    from braft_core.config.settings import Settings

__all__ = ["sourced_options"]

_NONE: Mapping[str, str] = MappingProxyType({})


def sourced_options(
    settings: Settings, plugin: str, variables: Mapping[str, str] = _NONE
) -> dict[str, SourcedValue]:
    """Return the options of a plugin by key, each with its source.

    The environment and the sources above it override the plugin's section of the file. The section
    overrides defaults and the top-level keys of the file.

    :param variables: the environment variables of the options, by key.
    :raises ConfigError: two variables set one option to different values.
    """
    found = _section(settings, plugin)
    filling = {
        variable.option[1]: name
        for name, variable in settings.variables().items()
        if variable.option and variable.option[0] == plugin
    }
    for key, name in filling.items():
        default = SourcedValue(getattr(settings, name), settings.label(name), "default")
        _override(found, key, settings.sourced.get(name, default))
    for key, name in variables.items():
        if text := settings.unrecognized_variables.get(name, "").strip():
            _override(found, key, SourcedValue(text, name, f"environment {name}"))
    for key, name in filling.items():
        if found[key] is settings.sourced.get(name):  # the setting was validated already
            found[key] = replace(found[key], value=getattr(settings, name))
    return found


def _section(settings: Settings, plugin: str) -> dict[str, SourcedValue]:
    found = {}
    for key, value in settings.plugins.get(plugin, {}).items():
        path = f"plugins.{plugin}.{key}"
        found[key] = settings.sourced.get(path) or SourcedValue(value, path, "argument")
    return found


def _override(found: dict[str, SourcedValue], key: str, item: SourcedValue) -> None:
    """Set an option unless a source of higher precedence has set it."""
    other = found.get(key)
    if other is None or precedence(item) > precedence(other):
        found[key] = item
    elif _from_environment(item, other) and item.value != other.value:
        names = f"{other.name} and {item.name}"
        raise conflicting_variables(names, names)


def _from_environment(*items: SourcedValue) -> bool:
    return all(item.origin.startswith("environment ") for item in items)
