"""Validate and show the options of the installed plugins.

Brings the values of the sources (:mod:`braft_core.config.plugin_options`) together with the models
that plugins declare (:mod:`braft_core.plugin.options`). Must not know which plugin is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from braft_core.config import Row, Settings, SourcedValue, sourced_options, unknown_variable_message
from braft_core.errors import ConfigError
from braft_core.plugin.options import Option, PluginOptions, format_option
from braft_core.plugin.validation import KINDS

if TYPE_CHECKING:
    from braft_core.plugin.registry import Registry

__all__ = ["EffectiveOption", "OptionValues", "read_options"]

Model = TypeVar("Model", bound=PluginOptions)


class EffectiveOption(NamedTuple):
    """One option with the value that a node would use if it started now."""

    option: Option
    value: str
    origin: str


def read_options(settings: Settings, model: type[Model]) -> Model:
    """Read the options of a model from the settings.

    :raises ConfigError: an option is invalid; names each as the user wrote it, its value and what
        is accepted.
    """
    return _read(model, sourced_options(settings, model.section, model.variables()))


def _read(model: type[Model], given: dict[str, SourcedValue]) -> Model:
    values = {key: item.value for key, item in given.items()}
    return model.read(values, {key: item.name for key, item in given.items()})


class OptionValues:
    """The options of all plugins of a registry. Use it from one thread."""

    def __init__(self, settings: Settings, registry: Registry) -> None:
        self._settings = settings
        self._registry = registry

    def values(self, section: str) -> dict[str, Any]:
        """Return the options of the class that is chosen by that name, not validated.

        :raises ConfigError: two variables set one option to different values.
        """
        return {key: item.value for key, item in self._sourced(section).items()}

    def check(self) -> None:
        """Validate every option of every installed plugin, used or not.

        :raises ConfigError: options are invalid; names all of them.
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
        """Return the options of a section with their values; none if no plugin declares it.

        :raises ConfigError: an option is invalid.
        """
        model = self._registry.options().get(section)
        if model is None:
            return []
        given = self._sourced(section)
        read = _read(model, given)
        return [
            EffectiveOption(
                option,
                format_option(option.key, getattr(read, option.key)),
                given[option.key].origin if option.key in given else "default",
            )
            for option in model.describe()
        ]

    def rows(self) -> list[Row]:
        """Return name, value and origin of every option; secrets are masked.

        Leaves out an option that a setting fills, unless the section or a variable overrides it.

        :raises ConfigError: an option is invalid.
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
        """Return a message for each section and ``BRAFT_*`` variable that no plugin reads."""
        models = self._registry.options()
        messages = [
            f"[plugins.{section}]: no installed plugin declares options of that name; declared: "
            f"{', '.join(sorted(models)) or 'none'}"
            for section in self._settings.plugins
            if section not in models and not self._is_chosen_by_name(section)
        ]
        variables = {name for model in models.values() for name in model.variables().values()}
        known = variables | {variable.long for variable in self._settings.variables().values()}
        strange = sorted(set(self._settings.unrecognized_variables) - variables)
        return messages + [unknown_variable_message(name, known) for name in strange]

    def _is_chosen_by_name(self, section: str) -> bool:
        """Return whether a class of that name may read the section. Slow: imports all classes."""
        return any(section in self._registry.names(kind) for kind in KINDS)

    def _sourced(self, section: str) -> dict[str, SourcedValue]:
        model = self._registry.options().get(section)
        return sourced_options(self._settings, section, model.variables() if model else {})

    def _undeclared(self) -> Iterator[Row]:
        """Return the options of sections whose plugin declares no model."""
        declared = set(self._registry.options())
        for section in sorted(set(self._settings.plugins) - declared):
            for key, item in self._sourced(section).items():
                yield Row(f"plugins.{section}.{key}", format_option(key, item.value), item.origin)
