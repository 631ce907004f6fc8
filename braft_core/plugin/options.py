"""Options of a plugin: a pydantic model, filled from braft.toml, the environment and arguments.

::

    from braft_core.plugin import hookimpl
    from braft_core.plugin.options import Duration, PluginOptions


    class LabOptions(PluginOptions):
        section = "lab"

        poll_interval: Duration = 2.0
        \"\"\"Pause between two polls.\"\"\"


    @hookimpl
    def braft_register_options():
        return LabOptions

Users then set ``[plugins.lab] poll_interval = "5s"`` or ``BRAFT_LAB_POLL_INTERVAL=5s``. braft
validates options before a node starts; ``braft config`` and ``braft plugins show lab`` show them.
A class that braft makes reads its options with ``LabOptions.read(context.options)``, other code
with ``node.plugin_options(LabOptions)``.

Plugins import this module. It must not know which plugins are loaded.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError
from pydantic.fields import FieldInfo

from braft_core.config.display import MASK, format_value, is_secret
from braft_core.config.fields import (
    Accepts,
    Duration,
    DurationRange,
    File,
    Flag,
    Name,
    Names,
    PositiveDuration,
    PositiveInt,
    Text,
)
from braft_core.config.validation_errors import InvalidValue, config_error, invalid_values
from braft_core.errors import ConfigError

__all__ = [
    "Accepts",
    "Duration",
    "DurationRange",
    "File",
    "Flag",
    "Name",
    "Names",
    "Option",
    "PluginOptions",
    "PositiveDuration",
    "PositiveInt",
    "SecretStr",
    "Text",
]

_NOTHING: Mapping[str, str] = MappingProxyType({})
_PLAIN_KINDS: Mapping[type, str] = MappingProxyType(
    {
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        str: "a text",
        SecretStr: "a text, which is never shown",
    }
)


class Option(NamedTuple):
    """The description of one option for users."""

    key: str
    #: The environment variable that sets it.
    variable: str
    meaning: str
    accepts: str
    default: str


class PluginOptions(BaseModel):
    """Base of a plugin's options: a frozen pydantic model that refuses unknown keys.

    Every option needs a default, because a plugin may be installed and not used; the class that
    needs a value checks for it. The docstring below an option explains it to users. Use the types
    of this module (``Duration``, ``Names``, …) or any type that pydantic can make from a text. A
    ``SecretStr`` is never shown. Instances are immutable, so thread-safe.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", arbitrary_types_allowed=True, use_attribute_docstrings=True
    )

    #: The name of the section, ``[plugins.<section>]``. The options of a class that is chosen by
    #: name use that name.
    section: ClassVar[str]

    @classmethod
    def read(cls, options: Mapping[str, Any], written: Mapping[str, str] = _NOTHING) -> Self:
        """Validate options by key and return them as the model.

        :param written: how the user spelt each option, by key; default ``plugins.<section>.<key>``.
        :raises ConfigError: options are invalid; names each, its value and what is accepted.
        """
        try:
            return cls(**options)
        except ValidationError as error:
            # "from None": pydantic's message would contain the value of a secret.
            raise _config_error(cls, error, options, written) from None

    @classmethod
    def variables(cls) -> dict[str, str]:
        """Return the environment variable of each option, ``BRAFT_<SECTION>_<KEY>``, by key."""
        return {key: _variable(cls.section, key) for key in cls.model_fields}

    @classmethod
    def describe(cls) -> list[Option]:
        """Return the options in the order of their declaration."""
        return [
            Option(
                key,
                _variable(cls.section, key),
                " ".join((info.description or "").split()),
                _accepted(info),
                format_option(key, info.get_default(call_default_factory=True, validated_data={})),
            )
            for key, info in cls.model_fields.items()
        ]


def format_option(key: str, value: object) -> str:
    """Return an option's value as text; masked if it is a secret or is named like one."""
    if isinstance(value, SecretStr):
        return MASK if value.get_secret_value() else ""
    if value and is_secret(key):
        return MASK
    if isinstance(value, Mapping):
        return ",".join(f"{name}={format_value(item)}" for name, item in value.items())
    return format_value(value)


def _variable(section: str, key: str) -> str:
    return "BRAFT_" + re.sub(r"[^A-Z0-9]", "_", f"{section}_{key}".upper())


def _accepted(info: FieldInfo) -> str:
    """Return what an option accepts, in words, else the name of its type."""
    for note in info.metadata:
        if isinstance(note, Accepts):
            return note.text
    kind = info.annotation
    if isinstance(kind, type):
        return _PLAIN_KINDS.get(kind, kind.__name__)
    return str(kind)


def _config_error(
    cls: type[PluginOptions],
    error: ValidationError,
    options: Mapping[str, Any],
    written: Mapping[str, str],
) -> ConfigError:
    def name_of(key: str) -> str:
        return written.get(key, f"plugins.{cls.section}.{key}")

    def describe(key: str) -> tuple[str, str, str]:
        return name_of(key), _shown(cls, key, options[key]), _accepted(cls.model_fields[key])

    known = list(cls.model_fields)
    unknown = [
        InvalidValue(
            f"{name_of(key)}: no such option; {_hint(key, known)}", {"setting": name_of(key)}
        )
        for key in options
        if key not in known
    ]
    return config_error([*invalid_values(error, describe), *unknown])


def _shown(cls: type[PluginOptions], key: str, value: object) -> str:
    secret = is_secret(key) or "SecretStr" in str(cls.model_fields[key].annotation)
    return MASK if secret else repr(value)


def _hint(key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    if close:
        return f"did you mean {close[0]}?"
    return f"accepted: {', '.join(known) or 'none at all'}"
