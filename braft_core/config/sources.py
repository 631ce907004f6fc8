"""Where settings come from: braft.toml, the environment, keyword arguments, the command line.

Each reader returns :class:`SourcedValue` objects by setting name, not validated yet. Reads files;
must not know what a setting means.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from braft_core.config.fields import Variable
from braft_core.errors import ConfigError
from braft_core.trusted_files import read_trusted

__all__ = [
    "CONFIG_VARIABLE",
    "Layer",
    "SourcedValue",
    "conflicting_variables",
    "find_toml",
    "from_arguments",
    "from_command_line",
    "from_environ",
    "from_toml",
    "precedence",
    "unknown_variable_message",
    "unrecognized_variables",
]

#: Names the TOML file; it is not a setting.
CONFIG_VARIABLE = "BRAFT_CONFIG"
_DEFAULT_FILE = Path("braft.toml")
_FILE = "the configuration file"
_SWAPPED = {"on": "off", "true": "false", "yes": "no", "1": "0"}
_SWAPPED |= {off: on for on, off in _SWAPPED.items()}


@dataclass(frozen=True, slots=True)
class SourcedValue:
    """A value, not validated yet, with its source."""

    value: object
    #: As the user wrote it: ``BRP``, ``braft.toml: rport``, ``rport``, ``--rport``.
    name: str
    #: For ``braft config``: ``environment BRP``, ``braft.toml``, ``argument``, ``command line``.
    origin: str


#: The values of one source by setting name; ``plugins.<plugin>.<key>`` for plugin options.
Layer = dict[str, SourcedValue]


def find_toml(explicit: Path | None, environ: Mapping[str, str]) -> Path | None:
    """Return the explicit file, else ``BRAFT_CONFIG``'s, else ./braft.toml if it exists.

    :raises ConfigError: the explicit file or ``BRAFT_CONFIG``'s does not exist.
    """
    named = explicit or (Path(text) if (text := environ.get(CONFIG_VARIABLE, "")) else None)
    if named is None:
        return _DEFAULT_FILE if _DEFAULT_FILE.is_file() else None
    if not named.is_file():
        who = _FILE if explicit else CONFIG_VARIABLE
        raise ConfigError(
            f"{who}={str(named)!r}: no such file; accepted: the path of a TOML file",
            setting=who,
            value=str(named),
            accepted="the path of a TOML file",
        )
    return named


def from_toml(path: Path, known: Collection[str]) -> Layer:
    """Read a TOML file.

    :raises ConfigError: it is not TOML, has a key that is not a setting, or other users can write
        it.
    """
    content = read_trusted(path, _FILE)
    try:
        document = tomllib.loads(content.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as TOML: {error}", setting=str(path)) from error
    plugins = document.pop("plugins", {})
    layer = _options(plugins, f"{path}: ", str(path))
    for key, value in document.items():
        if key not in known:
            leaf = next(iter(_leaves(key, value)))
            raise ConfigError(_unknown(f"{path}: {leaf}", key, known), setting=f"{path}: {leaf}")
        layer[key] = SourcedValue(value, f"{path}: {key}", str(path))
    return layer


def from_environ(environ: Mapping[str, str], variables: Mapping[str, Variable]) -> Layer:
    """Read the settings' variables. An empty variable counts as not set, as in the Go original.

    :raises ConfigError: the long and the short name of a setting have different values.
    """
    layer: Layer = {}
    for field, variable in variables.items():
        names = [n for n in (variable.long, variable.short) if n and environ.get(n, "").strip()]
        if not names:
            continue
        values = [environ[name].strip() for name in names]
        if len(set(values)) > 1:
            assignments = " and ".join(
                f"{name}={_shown(field, value)}" for name, value in zip(names, values, strict=True)
            )
            raise conflicting_variables(assignments, " and ".join(names))
        value = _swap(values[0]) if variable.inverted else values[0]
        layer[field] = SourcedValue(value, names[0], f"environment {names[0]}")
    return layer


def conflicting_variables(assignments: str, names: str) -> ConfigError:
    """Return the error for two variables of one setting that differ; ``assignments`` shows both."""
    return ConfigError(
        f"{assignments} are the same setting with different values; accepted: one of them",
        setting=names,
    )


def unrecognized_variables(
    environ: Mapping[str, str], variables: Mapping[str, Variable]
) -> dict[str, str]:
    """Return the ``BRAFT_*`` variables that no setting reads."""
    known = {v.long for v in variables.values()} | {CONFIG_VARIABLE}
    return {
        name: value
        for name, value in environ.items()
        if name.startswith("BRAFT_") and name not in known
    }


def unknown_variable_message(name: str, known: Iterable[str]) -> str:
    """Return the message for an unrecognized variable, with the nearest known name."""
    return _unknown(f"environment {name}", name, known)


def from_arguments(arguments: Mapping[str, Any], known: Collection[str]) -> Layer:
    """Read keyword arguments; ``None`` means "not set".

    :raises ConfigError: a name is unknown.
    """
    return _from_mapping(arguments, known, "argument", lambda key: key)


def from_command_line(options: Mapping[str, Any], known: Collection[str]) -> Layer:
    """Read command-line options by setting name; ``None`` means "not set"."""
    return _from_mapping(options, known, "command line", lambda key: "--" + key.replace("_", "-"))


def precedence(item: SourcedValue) -> int:
    """Return the rank of a value's source; the higher rank overrides the lower."""
    ranks = {"default": 0, "argument": 3, "command line": 4}
    return ranks.get(item.origin, 2 if item.origin.startswith("environment ") else 1)


def _from_mapping(
    given: Mapping[str, Any], known: Collection[str], origin: str, spell: Any
) -> Layer:
    layer: Layer = {}
    for key, value in given.items():
        if value is None:
            continue
        if key == "plugins":
            layer |= _options(value, f"{origin} ", origin)
        elif key in known:
            layer[key] = SourcedValue(value, spell(key), origin)
        else:
            name = f"{origin} {spell(key)}"
            raise ConfigError(_unknown(name, key, [*known, "plugins"]), setting=spell(key))
    return layer


def _options(sections: object, prefix: str, origin: str) -> Layer:
    """Flatten the plugin sections to one entry per key."""
    layer: Layer = {}
    for plugin, section in _table(sections, f"{prefix}plugins").items():
        for key, value in _table(section, f"{prefix}plugins.{plugin}").items():
            path = f"plugins.{plugin}.{key}"
            layer[path] = SourcedValue(value, f"{prefix}{path}", origin)
    return layer


def _table(value: object, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        accepted = "a table of options"
        raise ConfigError(
            f"{name}={value!r}: not a table; accepted: {accepted}",
            setting=name,
            value=repr(value),
            accepted=accepted,
        )
    return value


def _leaves(path: str, value: object) -> Iterable[str]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _leaves(f"{path}.{key}", inner)
    else:
        yield path


def _unknown(name: str, key: str, known: Iterable[str]) -> str:
    # With the common prefix, all variables would be close matches of each other.
    stems = {other.removeprefix("BRAFT_"): other for other in sorted(known)}
    close = difflib.get_close_matches(key.removeprefix("BRAFT_"), stems, n=1, cutoff=0.6)
    hint = f"; did you mean {stems[close[0]]}?" if close else "; `braft config` lists the settings"
    return f"{name}: no such setting{hint}"


def _shown(field: str, value: str) -> str:
    return "'**********'" if field == "token" else repr(value)


def _swap(word: str) -> str:
    """Return the opposite flag word; other texts unchanged, so that errors show them."""
    return _SWAPPED.get(word.lower(), word)
