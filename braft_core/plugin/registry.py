"""Choose registered classes by kind and name, and parse ``scheme:spec``.

The error for an unknown name says what is installed and which command installs the missing one. A
name of two providers is an error that names both. Must not know how plugins are loaded.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, overload

from braft_core.addresses import parse_address, parse_host
from braft_core.errors import ConfigError, DecodeError, PluginConflict, PluginNotFound
from braft_core.plugin.manager import PluginInfo, Plugins, load_error
from braft_core.plugin.validation import KINDS, class_problems, options_problems

if TYPE_CHECKING:
    from braft_core.abc import Discovery, Serializer, Service, Storage, Transport
    from braft_core.plugin.options import PluginOptions

__all__ = ["FIRST_PARTY", "Provider", "Registry", "parse_discovery"]

#: This project's distributions by kind and name of the class they provide. Only for the install
#: hint: the core imports none of them.
FIRST_PARTY: Final[Mapping[tuple[str, str], str]] = MappingProxyType(
    {
        ("discovery", "static"): "braft-static",
        ("discovery", "mdns"): "braft-mdns",
        ("discovery", "k8s"): "braft-k8s",
        ("serializer", "cbor"): "braft-serializers",
        ("serializer", "json"): "braft-serializers",
        ("transport", "tcp"): "braft-tcp",
    }
)

_SCHEME: Final = re.compile(r"[a-z][a-z0-9_.+-]*")


class Provider(NamedTuple):
    """One row of ``braft plugins``: a name, its kind, and the distribution that provides it.

    ``kind`` is a kind that is chosen by name, or ``http``, ``server``, ``cli`` or ``observer``; for
    the last four ``name`` is the plugin's name.
    """

    name: str
    kind: str
    distribution: str
    version: str
    #: The plugin's name, which is that of its entry point.
    plugin: str


class _Provided(NamedTuple):
    provided: type[Any]
    info: PluginInfo


class Registry:
    """The classes that a set of plugins provides.

    Calls the hooks of a kind when the kind is first used, on the calling thread; use it from one
    thread. Returns classes, never instances.
    """

    def __init__(self, plugins: Plugins) -> None:
        self._plugins = plugins
        self._kinds: dict[str, dict[str, _Provided]] = {}
        self._options: dict[str, _Provided] | None = None

    @overload
    def get(self, kind: Literal["discovery"], name: str) -> type[Discovery]: ...
    @overload
    def get(self, kind: Literal["serializer"], name: str) -> type[Serializer]: ...
    @overload
    def get(self, kind: Literal["service"], name: str) -> type[Service]: ...
    @overload
    def get(self, kind: Literal["transport"], name: str) -> type[Transport]: ...
    @overload
    def get(self, kind: Literal["storage"], name: str) -> type[Storage]: ...
    @overload
    def get(self, kind: str, name: str) -> type[Any]: ...
    def get(self, kind: str, name: str) -> type[Any]:
        """Return the class of that kind and name.

        :raises PluginNotFound: no loaded plugin provides it; the message says which one would.
        :raises PluginConflict: two plugins provide the same name of this kind.
        :raises PluginLoadError: a plugin's hook raised, or returned an unusable class.
        """
        found = self._of_kind(kind)
        if name not in found:
            raise self._not_found(kind, name)
        return found[name].provided

    def names(self, kind: str) -> tuple[str, ...]:
        """Return the names of a kind, in the order of loading."""
        return tuple(self._of_kind(kind))

    def classes(self, kind: str) -> tuple[type[Any], ...]:
        """Return all classes of a kind, in the order of loading."""
        return tuple(found.provided for found in self._of_kind(kind).values())

    def options(self) -> Mapping[str, type[PluginOptions]]:
        """Return the models of plugin options by section, in the order of loading.

        :raises PluginConflict: two plugins declare the same section or variable.
        :raises PluginLoadError: a plugin's hook raised, or returned an unusable model.
        """
        declared = self._declared()
        return MappingProxyType({name: found.provided for name, found in declared.items()})

    def sections(self, plugin: str) -> tuple[str, ...]:
        """Return the option sections that the plugin of that name declares."""
        declared = self._declared()
        return tuple(name for name, found in declared.items() if found.info.name == plugin)

    def describe(self) -> tuple[Provider, ...]:
        """Return all providers, for ``braft plugins``. Imports every implementation."""
        chosen = [
            _row(name, kind, found.info)
            for kind in KINDS
            for name, found in self._of_kind(kind).items()
        ]
        return (*chosen, *self._describe_hooks())

    def _describe_hooks(self) -> list[Provider]:
        kinds = {
            "http": "braft_register_http",
            "server": "braft_serve",
            "cli": "braft_register_cli",
            "observer": "braft_on_",
        }
        return [
            _row(info.name, kind, info)
            for kind, prefix in kinds.items()
            for info in self._plugins.loaded
            if any(hook.startswith(prefix) for hook in info.hooks)
        ]

    def _of_kind(self, kind: str) -> dict[str, _Provided]:
        if kind not in KINDS:
            raise PluginNotFound(
                f"there is no kind of plugin {kind!r}; known: {', '.join(KINDS)}",
                kind=kind,
                name="",
                known=list(KINDS),
            )
        if kind not in self._kinds:
            self._kinds[kind] = self._collect(kind)
        return self._kinds[kind]

    def _collect(self, kind: str) -> dict[str, _Provided]:
        found: dict[str, _Provided] = {}
        for info in self._plugins.implementing(f"braft_register_{kind}"):
            for provided in self._call_provider(kind, info, partial(class_problems, kind)):
                new = _Provided(provided, info)
                if (other := found.setdefault(provided.name, new)) is not new:
                    raise _conflict(kind, "name", provided.name, other, new)
        if kind == "serializer":
            _check_tags(found.values())
        return found

    def _declared(self) -> dict[str, _Provided]:
        if self._options is None:
            self._options = self._collect_options()
        return self._options

    def _collect_options(self) -> dict[str, _Provided]:
        declared: dict[str, _Provided] = {}
        variables: dict[str, _Provided] = {}
        for info in self._plugins.implementing("braft_register_options"):
            for model in self._call_provider("options", info, options_problems):
                new = _Provided(model, info)
                if (other := declared.setdefault(model.section, new)) is not new:
                    raise _conflict("options", "section", model.section, other, new)
                for name in model.variables().values():  # "a-b" + "c" and "a" + "b_c" are equal
                    if (other := variables.setdefault(name, new)) is not new:
                        raise _conflict("options", "variable", name, other, new)
        return declared

    def _call_provider(
        self, kind: str, info: PluginInfo, find_problems: Callable[[object], list[str]]
    ) -> list[type[Any]]:
        hook = f"braft_register_{kind}"
        answers = self._plugins.call(info, hook)
        if not answers:
            raise load_error(info, f"{hook} returned None; accepted: a class or a list of classes")
        provided = list(answers[0]) if isinstance(answers[0], (list, tuple)) else [answers[0]]
        problems = [text for each in provided for text in find_problems(each)]
        if problems:
            raise load_error(info, f"{hook}: {'; '.join(problems)}")
        return provided

    def _not_found(self, kind: str, name: str) -> PluginNotFound:
        known = self.names(kind)
        rows = [f"{key} ({found.info.origin})" for key, found in self._of_kind(kind).items()]
        parts = [
            f"no {kind} {name!r} is installed",
            f"installed: {', '.join(rows) or 'none'}",
            *self._not_found_hints(kind, name, known),
        ]
        return PluginNotFound("; ".join(parts), kind=kind, name=name, known=list(known))

    def _not_found_hints(self, kind: str, name: str, known: tuple[str, ...]) -> list[str]:
        hints = []
        owner = FIRST_PARTY.get((kind, name), "")
        off = [info for info in self._plugins.disabled if owner in ("", info.distribution)]
        if off:
            names = ", ".join(f"{info.name} ({info.origin})" for info in off)
            hints.append(f"disabled by BRAFT_PLUGINS_DISABLE: {names}")
        if owner and not off:
            hints.append(f"install it with: pip install {owner}")
        elif close := difflib.get_close_matches(name, known, n=1):
            hints.append(f"did you mean {close[0]}?")
        return hints


def _row(name: str, kind: str, info: PluginInfo) -> Provider:
    return Provider(name, kind, info.distribution, info.version, info.name)


def _check_tags(found: Iterable[_Provided]) -> None:
    tags: dict[int, _Provided] = {}
    for new in found:
        tag: int = new.provided.tag
        if (other := tags.setdefault(tag, new)) is not new:
            raise _conflict("serializer", "tag", tag, other, new)


def _conflict(
    kind: str, what: str, value: object, one: _Provided, two: _Provided
) -> PluginConflict:
    return PluginConflict(
        f"the {kind} {what} {value!r} is provided by {one.info.origin} and by {two.info.origin}. "
        f"{two.info.hint}",
        kind=kind,
        name=value,
        distributions=[one.info.distribution, two.info.distribution],
    )


def parse_discovery(value: str, known: Iterable[str]) -> tuple[str, str]:
    """Split ``BRAFT_DISCOVERY`` into scheme and spec.

    A known scheme has priority: ``mdns`` and ``mdns:_x._tcp``. A list of hosts, with or without
    ports, means ``static``: ``a``, ``a,b:15000``, ``[::1]:15000``. Any other ``scheme:spec`` is
    returned as it is; :meth:`Registry.get` then says what is missing.

    :param known: the installed schemes; those of this project are known even if not installed.
    :raises ConfigError: it has none of these forms, or looks like a misspelt scheme.
    """
    value, installed = value.strip(), sorted(set(known))
    schemes = {*installed, *(name for kind, name in FIRST_PARTY if kind == "discovery")}
    scheme, separator, spec = value.partition(":")
    if scheme in schemes:
        return scheme, spec
    if _is_host_list(value):
        _refuse_misspelling(value, schemes)
        return "static", value
    if separator and _SCHEME.fullmatch(scheme):
        return scheme, spec
    raise _not_understood(value, installed, sorted(schemes - set(installed)))


def _not_understood(value: str, installed: list[str], missing: list[str]) -> ConfigError:
    items = [item.strip() for item in value.split(",")]
    wrong = next((item for item in items if item and not _is_host(item)), "")
    what = f"{wrong!r} is not a host" if wrong and wrong != value else "not a discovery"
    more = ", ".join(f"{name} (pip install {FIRST_PARTY['discovery', name]})" for name in missing)
    return ConfigError(
        f"BRAFT_DISCOVERY={value!r}: {what}; accepted: a list of hosts (a,b:15000), or scheme or "
        f"scheme:spec with one of: {', '.join(installed) or 'none is installed'}"
        + (f"; not installed: {more}" if more else ""),
        setting="BRAFT_DISCOVERY",
        value=value,
    )


def _refuse_misspelling(value: str, schemes: set[str]) -> None:
    """Raise for a word that is close to a scheme: as a host it would hide the misspelling."""
    if not value.isalnum():
        return
    if close := difflib.get_close_matches(value.lower(), sorted(schemes), n=1, cutoff=0.7):
        raise ConfigError(
            f"BRAFT_DISCOVERY={value!r}: did you mean {close[0]!r}? "
            f"A host of that name is accepted as 'static:{value}'",
            setting="BRAFT_DISCOVERY",
            value=value,
        )


def _is_host_list(value: str) -> bool:
    items = [item.strip() for item in value.split(",")]
    return any(items) and all(_is_host(item) for item in items if item)


def _is_host(item: str) -> bool:
    """Return whether an entry of a list is a host, with or without a port."""
    for parse in (parse_host, parse_address):
        try:
            parse(item)
        except DecodeError:
            continue
        return True
    return False
