"""Explain one plugin, for ``braft plugins show``: its metadata, classes and options.

Plugins that are disabled or do not load are explained too.
"""

from __future__ import annotations

import inspect
from typing import Any, Final, NamedTuple

from braft_core.cli.defaults import command_settings
from braft_core.cli.output import echo, paragraph
from braft_core.config import Settings
from braft_core.errors import PluginError, PluginNotFound
from braft_core.plugin.distributions import metadata_of
from braft_core.plugin.manager import CORE, PluginInfo, Plugins
from braft_core.plugin.option_values import OptionValues
from braft_core.plugin.registry import Provider, Registry
from braft_core.plugin.validation import KINDS
from braft_core.runtime.components import in_use

__all__ = ["explain", "print_explained"]

_CHOOSE: Final = {
    "discovery": "BRAFT_DISCOVERY={name} or {name}:<spec>",
    "serializer": "BRAFT_SERIALIZER={name}",
    "service": "BRAFT_SERVICES=...,{name}",
    "transport": "BRAFT_TRANSPORT={name}",
    "storage": "BRAFT_STORAGE={name}",
}
_HOOKS_ALONE: Final = {
    "http": "adds HTTP routes",
    "server": "serves another protocol, if its options say so",
    "cli": "adds commands",
    "observer": "observes what happens",
}

Explained = dict[str, Any]


class _Installation(NamedTuple):
    settings: Settings
    plugins: Plugins
    registry: Registry
    providers: tuple[Provider, ...]
    used: frozenset[tuple[str, str]]


def explain(name: str) -> list[Explained]:
    """Explain the plugins that ``name`` means: a plugin, a distribution or a provided name.

    :raises PluginNotFound: no plugin has this name; the message lists the known names.
    :raises ConfigError: the settings are wrong.
    """
    settings = command_settings()
    plugins = Plugins.load(settings.plugins_disable, tolerate=True)
    registry = Registry(plugins)
    providers = registry.describe()
    here = _Installation(settings, plugins, registry, providers, in_use(settings, registry))
    found = [_loaded(here, info, name) for info in plugins.loaded if _means(here, info, name)]
    found += [_absent(info) for info in plugins.disabled if name in (info.name, info.distribution)]
    found += [_failed(error) for error in plugins.failures if _is_about(error, name)]
    if not found:
        known = sorted({row.name for row in providers} | {info.name for info in plugins.loaded})
        raise PluginNotFound(
            f"no plugin {name!r} is installed; installed: {', '.join(known)}",
            kind="plugin",
            name=name,
            known=known,
        )
    return found


def _means(here: _Installation, info: PluginInfo, name: str) -> bool:
    rows = (row for row in here.providers if row.plugin == info.name)
    return name in (info.name, info.distribution) or any(row.name == name for row in rows)


def _loaded(here: _Installation, info: PluginInfo, name: str) -> Explained:
    """Explain a loaded plugin; of braft-core only the part that was asked for."""
    rows = [row for row in here.providers if row.plugin == info.name]
    if info.name == CORE and name != CORE:
        rows = [row for row in rows if row.name == name]
    option_values = OptionValues(here.settings, here.registry)
    return {
        **_metadata(info),
        "hooks": list(info.hooks),
        "provides": [_provided(here, row) for row in rows],
        "options": [
            {
                "option": f"plugins.{section}.{item.option.key}",
                "variable": item.option.variable,
                "value": item.value,
                "origin": item.origin,
                "meaning": item.option.meaning,
                "accepts": item.option.accepts,
                "default": item.option.default,
            }
            for section in here.registry.sections(info.name)
            for item in option_values.explain(section)
        ],
    }


def _provided(here: _Installation, row: Provider) -> dict[str, Any]:
    choose, text = "", _HOOKS_ALONE.get(row.kind, "")
    if row.kind in KINDS:
        provided = here.registry.get(row.kind, row.name)
        choose = _CHOOSE[row.kind].format(name=row.name)
        text = (inspect.getdoc(provided) or "").split("\n\n")[0].replace("\n", " ")
    return {
        "kind": row.kind,
        "name": row.name,
        "choose": choose,
        "text": text,
        "in_use": (row.kind, row.name) in here.used,
    }


def _absent(info: PluginInfo, failure: str = "") -> Explained:
    return {
        **_metadata(info),
        "hooks": [],
        "provides": [],
        "options": [],
        "disabled": not failure,
        "failure": failure,
    }


def _failed(error: PluginError) -> Explained:
    plugin, distribution, version = (
        str(error.data.get(key, "")) for key in ("plugin", "distribution", "version")
    )
    return _absent(PluginInfo(plugin, distribution, version), error.message)


def _is_about(error: PluginError, name: str) -> bool:
    about = (error.data.get(key) for key in ("plugin", "distribution", "name"))
    return name in about or name in error.data.get("distributions", ())


def _metadata(info: PluginInfo) -> Explained:
    """Return what the metadata of the distribution says."""
    summary, links = "", []
    metadata = metadata_of(info.distribution) if info.distribution else None
    if metadata is not None:
        summary = (metadata.get_all("Summary") or [""])[0]
        links = [link.replace(", ", ": ", 1) for link in metadata.get_all("Project-URL") or []]
    return {
        "plugin": info.name,
        "distribution": info.distribution,
        "version": info.version,
        "summary": summary,
        "links": links,
        "disabled": False,
        "failure": "",
    }


def print_explained(found: list[Explained]) -> None:
    """Print explanations for people."""
    for number, plugin in enumerate(found):
        if number:
            echo()
        _print_one(plugin)


def _print_one(plugin: Explained) -> None:
    origin = f"{plugin['distribution']} {plugin['version']}".strip()
    echo(f"{plugin['plugin']} ({origin})" if origin else plugin["plugin"])
    for line in (plugin["summary"], *plugin["links"]):
        if line:
            paragraph(line, first="  ")
    if plugin["disabled"]:
        echo("  disabled by BRAFT_PLUGINS_DISABLE")
    if plugin["failure"]:
        echo(*plugin["failure"].splitlines(), err=True)
    for row in plugin["provides"]:
        echo("", f"{row['kind']} {row['name']}" + (" (in use)" if row["in_use"] else ""))
        for line in (row["text"], row["choose"] and f"choose it: {row['choose']}"):
            if line:
                paragraph(line, first="  ")
    if plugin["options"]:
        echo()
        _print_options(plugin["options"])


def _print_options(options: list[dict[str, str]]) -> None:
    for option in options:
        paragraph(f"{option['option']} = {option['value']} ({option['origin']})", rest="  ")
        paragraph(f"{option['variable']}: {option['meaning']}", first="  ")
