"""What was given for a plugin: its section, its variables, the settings that belong to it.

Lays them over one another as the settings themselves are. Must not know what the options mean: the
plugin's own model (:mod:`braft_core.plugin.options`) does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from braft_core.config.sources import Given, strength
from braft_core.errors import ConfigError

if TYPE_CHECKING:
    from braft_core.config.settings import Settings

__all__ = ["given_options"]

_NONE: Mapping[str, str] = MappingProxyType({})


def given_options(
    settings: Settings, plugin: str, variables: Mapping[str, str] = _NONE
) -> dict[str, Given]:
    """The options of a plugin by key, each with the name the user wrote and where it came from.

    What comes from the environment or above overrules the section; the section overrules a default
    and a top-level key of the file.

    :param variables: the environment variable of each option that has one, by key.
    :raises ConfigError: two variables set one option to different values.
    """
    found = _section(settings, plugin)
    for name, variable in settings.variables().items():
        if variable.option and variable.option[0] == plugin:
            default = Given(getattr(settings, name), variable.long, "default")
            _lay(found, variable.option[1], settings.given.get(name, default))
    for key, name in variables.items():
        if text := settings.environ.get(name, "").strip():
            _lay(found, key, Given(text, name, f"environment {name}"))
    return _validated(settings, plugin, found)


def _section(settings: Settings, plugin: str) -> dict[str, Given]:
    found = {}
    for key, value in settings.plugins.get(plugin, {}).items():
        path = f"plugins.{plugin}.{key}"
        found[key] = settings.given.get(path) or Given(value, path, "argument")
    return found


def _lay(found: dict[str, Given], key: str, item: Given) -> None:
    """Over what is there already, if it is stronger."""
    other = found.get(key)
    if other is None or strength(item) > strength(other):
        found[key] = item
    elif _from_environment(item, other) and item.value != other.value:
        raise ConfigError(
            f"{other.name} and {item.name} are the same setting with different values; "
            "accepted: one of them",
            setting=f"{other.name} and {item.name}",
        )


def _from_environment(*items: Given) -> bool:
    return all(item.origin.startswith("environment ") for item in items)


def _validated(settings: Settings, plugin: str, found: dict[str, Given]) -> dict[str, Given]:
    """A setting that belongs to a plugin has been read already: the plugin gets what was read."""
    for name, variable in settings.variables().items():
        if variable.option and variable.option[0] == plugin:
            item = found[variable.option[1]]
            if item is settings.given.get(name):
                found[variable.option[1]] = replace(item, value=getattr(settings, name))
    return found
