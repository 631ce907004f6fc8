"""Validate and show the options of the installed plugins.

Brings the values of the sources (:mod:`braft_core.config.plugin_options`) together with the models
that plugins declare (:mod:`braft_core.plugin.options`). Must not know which plugin is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from braft_core.config import Row, Settings, SourcedValue, sourced_options, unknown_variable_message
from braft_core.errors import ConfigError
from braft_core.plugin.options import Option, PluginOptions, show_value
from braft_core.plugin.validation import KINDS

if TYPE_CHECKING:
    from braft_core.plugin.registry import Registry

__all__ = ["EffectiveOption", "OptionValues", "read_options"]

Model = TypeVar("Model", bound=PluginOptions)


class EffectiveOption(NamedTuple):
    """One option with the value that a node started now would use."""

    option: Option
    value: str
    origin: str


def read_options(settings: Settings, model: type[Model]) -> Model:
    """The options of a model as the settings say them.

    :raises ConfigError: naming each bad one as the user wrote it, its value and what is accepted.
    """
    return _read(model, sourced_options(settings, model.section, model.variables()))


def _read(model: type[Model], given: dict[str, SourcedValue]) -> Model:
    values = {key: item.value for key, item in given.items()}
    return model.read(values, {key: item.name for key, item in given.items()})


class OptionValues:
    """The settings as the plugins of one registry see them. Use it from one thread."""

    def __init__(self, settings: Settings, registry: Registry) -> None:
        self._settings = settings
        self._registry = registry

    def values(self, section: str) -> dict[str, Any]:
        """What a class that is chosen by that name is given as its options; not validated.

        :raises ConfigError: two variables set one option to different values.
        """
        return {key: item.value for key, item in self._sourced(section).items()}

    def check(self) -> None:
        """Read every option of every installed plugin, used or not.

        :raises ConfigError: the bad ones, all of them.
        """
        errors: list[ConfigError] = []
        for model in self._registry.options().values():
            try:
                read_options(self._settings, model)
            except ConfigError as error:
                errors.append(error)
        if errors:
            raise ConfigError("\n".join(error.message for error in errors), **errors[0].data)

    def explain(self, section: str) -> list[EffectiveOption]:
        """The options of a section with their values; none for one that nobody declares.

        :raises ConfigError: one of them is wrong.
        """
        model = self._registry.options().get(section)
        if model is None:
            return []
        given = self._sourced(section)
        read = _read(model, given)
        return [
            EffectiveOption(
                option,
                show_value(option.key, getattr(read, option.key)),
                given[option.key].origin if option.key in given else "default",
            )
            for option in model.describe()
        ]

    def rows(self) -> list[Row]:
        """Name, value and origin of every option; secrets masked.

        Options that a setting fills are left to the setting, unless the section overrules it.

        :raises ConfigError: one of them is wrong.
        """
        filled = {v.option for v in self._settings.variables().values() if v.option}
        declared = [
            Row(f"plugins.{section}.{item.option.key}", item.value, item.origin)
            for section in self._registry.options()
            for item in self.explain(section)
            if (section, item.option.key) not in filled or item.origin != "default"
        ]
        return [*declared, *self._undeclared()]

    def warnings(self) -> list[str]:
        """Sentences about sections and variables that look like options and are none."""
        models = self._registry.options()
        sentences = [
            f"[plugins.{section}]: no installed plugin has options of that name; there are: "
            f"{', '.join(sorted(models)) or 'none'}"
            for section in self._settings.plugins
            if section not in models and not self._is_chosen_by_name(section)
        ]
        variables = {name for model in models.values() for name in model.variables().values()}
        known = variables | {variable.long for variable in self._settings.variables().values()}
        strange = sorted(set(self._settings.unrecognized_variables) - variables)
        return sentences + [unknown_variable_message(name, known) for name in strange]

    def _is_chosen_by_name(self, section: str) -> bool:
        """Whether a class takes that section as it is. Asked rarely: it imports all of them."""
        return any(section in self._registry.names(kind) for kind in KINDS)

    def _sourced(self, section: str) -> dict[str, SourcedValue]:
        model = self._registry.options().get(section)
        return sourced_options(self._settings, section, model.variables() if model else {})

    def _undeclared(self) -> Iterator[Row]:
        """What was given for a plugin that says nothing of its options."""
        declared = set(self._registry.options())
        for section in sorted(set(self._settings.plugins) - declared):
            for key, item in self._sourced(section).items():
                yield Row(f"plugins.{section}.{key}", show_value(key, item.value), item.origin)
