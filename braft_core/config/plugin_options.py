"""What was given for a plugin: its section, its variables, the settings that belong to it.

Lays them over one another as the settings themselves are. Must not know what the options mean: the
plugin's own model (:mod:`braft_core.plugin.options`) does.
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
    """The options of a plugin by key, each with the name the user wrote and where it came from.

    What comes from the environment or above overrules the section; the section overrules a default
    and a top-level key of the file.

    :param variables: the environment variable of each option that has one, by key.
    :raises ConfigError: two variables set one option to different values.
    """
    found = _section(settings, plugin)
    belonging = {
        variable.option[1]: name
        for name, variable in settings.variables().items()
        if variable.option and variable.option[0] == plugin
    }
    for key, name in belonging.items():
        default = SourcedValue(getattr(settings, name), settings.label(name), "default")
        _lay(found, key, settings.sourced.get(name, default))
    for key, name in variables.items():
        if text := settings.unrecognized_variables.get(name, "").strip():
            _lay(found, key, SourcedValue(text, name, f"environment {name}"))
    for key, name in belonging.items():
        if found[key] is settings.sourced.get(name):  # it has been read already
            found[key] = replace(found[key], value=getattr(settings, name))
    return found


def _section(settings: Settings, plugin: str) -> dict[str, SourcedValue]:
    found = {}
    for key, value in settings.plugins.get(plugin, {}).items():
        path = f"plugins.{plugin}.{key}"
        found[key] = settings.sourced.get(path) or SourcedValue(value, path, "argument")
    return found


def _lay(found: dict[str, SourcedValue], key: str, item: SourcedValue) -> None:
    """Over what is there already, if it is stronger."""
    other = found.get(key)
    if other is None or precedence(item) > precedence(other):
        found[key] = item
    elif _from_environment(item, other) and item.value != other.value:
        names = f"{other.name} and {item.name}"
        raise conflicting_variables(names, names)


def _from_environment(*items: SourcedValue) -> bool:
    return all(item.origin.startswith("environment ") for item in items)
