"""Chooses registered classes by kind and name, and reads ``scheme:spec``.

A name that nobody provides is answered with what was asked, what is installed and the command that
mends it; a name that two provide is an error that names both. Must not know how plugins are loaded.
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

#: Distributions of the project itself that provide a name, by kind and name: for the install hint
#: alone. The core imports none of them.
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

    ``kind`` is one of the kinds that are chosen by name, or ``http``, ``cli`` or ``observer``, for
    which ``name`` is that of the plugin.
    """

    name: str
    kind: str
    distribution: str
    version: str
    #: The plugin's own name: its entry point's.
    plugin: str


class _Found(NamedTuple):
    provided: type[Any]
    info: PluginInfo


class Registry:
    """The classes that a set of plugins provides.

    A kind's hooks are called when the kind is first asked for, from the thread that asks; ask from
    one thread. Classes are handed out, never instances.
    """

    def __init__(self, plugins: Plugins) -> None:
        self._plugins = plugins
        self._kinds: dict[str, dict[str, _Found]] = {}
        self._options: dict[str, _Found] | None = None

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
        """The class of that kind and name.

        :raises PluginNotFound: no loaded plugin provides it; the message says what would.
        :raises PluginConflict: two plugins provide one name of this kind.
        :raises PluginLoadError: a plugin's hook raised, or provides what cannot be used.
        """
        found = self._of_kind(kind)
        if name not in found:
            raise self._not_found(kind, name)
        return found[name].provided

    def names(self, kind: str) -> tuple[str, ...]:
        """The names that are provided for a kind, in the order of loading."""
        return tuple(self._of_kind(kind))

    def classes(self, kind: str) -> tuple[type[Any], ...]:
        """All classes of a kind, in the order of loading."""
        return tuple(found.provided for found in self._of_kind(kind).values())

    def options(self) -> Mapping[str, type[PluginOptions]]:
        """The options that plugins declare, by section, in the order of loading.

        :raises PluginConflict: two plugins declare one section.
        :raises PluginLoadError: a plugin's hook raised, or declares what cannot be used.
        """
        declared = self._declared()
        return MappingProxyType({name: found.provided for name, found in declared.items()})

    def sections(self, plugin: str) -> tuple[str, ...]:
        """The sections of options that the plugin of that name declares."""
        declared = self._declared()
        return tuple(name for name, found in declared.items() if found.info.name == plugin)

    def describe(self) -> tuple[Provider, ...]:
        """Everything that is provided, for ``braft plugins``. Imports every implementation."""
        chosen = [
            _row(name, kind, found.info)
            for kind in KINDS
            for name, found in self._of_kind(kind).items()
        ]
        return (*chosen, *self._describe_hooks())

    def _describe_hooks(self) -> list[Provider]:
        kinds = {
            "http": "braft_register_http",
            "cli": "braft_register_cli",
            "observer": "braft_on_",
        }
        return [
            _row(info.name, kind, info)
            for kind, prefix in kinds.items()
            for info in self._plugins.loaded
            if any(hook.startswith(prefix) for hook in info.hooks)
        ]

    def _of_kind(self, kind: str) -> dict[str, _Found]:
        if kind not in KINDS:
            raise PluginNotFound(
                f"there is no kind of plugin {kind!r}; there are: {', '.join(KINDS)}",
                kind=kind,
                name="",
                known=list(KINDS),
            )
        if kind not in self._kinds:
            self._kinds[kind] = self._collect(kind)
        return self._kinds[kind]

    def _collect(self, kind: str) -> dict[str, _Found]:
        found: dict[str, _Found] = {}
        for info in self._plugins.implementing(f"braft_register_{kind}"):
            for provided in self._provided(kind, info, partial(class_problems, kind)):
                new = _Found(provided, info)
                if (other := found.setdefault(provided.name, new)) is not new:
                    raise _conflict(kind, "name", provided.name, other, new)
        if kind == "serializer":
            _check_tags(found.values())
        return found

    def _declared(self) -> dict[str, _Found]:
        if self._options is None:
            self._options = self._collect_options()
        return self._options

    def _collect_options(self) -> dict[str, _Found]:
        declared: dict[str, _Found] = {}
        variables: dict[str, _Found] = {}
        for info in self._plugins.implementing("braft_register_options"):
            for model in self._provided("options", info, options_problems):
                new = _Found(model, info)
                if (other := declared.setdefault(model.section, new)) is not new:
                    raise _conflict("options", "section", model.section, other, new)
                for name in model.variables().values():  # "a-b" and "c" spell as "a" and "b_c" do
                    if (other := variables.setdefault(name, new)) is not new:
                        raise _conflict("options", "variable", name, other, new)
        return declared

    def _provided(
        self, kind: str, info: PluginInfo, find_problems: Callable[[object], list[str]]
    ) -> list[type[Any]]:
        hook = f"braft_register_{kind}"
        answers = self._plugins.call(info, hook)
        if not answers:
            raise load_error(
                info, f"{hook} returned None; accepted is a class or a list of classes"
            )
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


def _check_tags(found: Iterable[_Found]) -> None:
    tags: dict[int, _Found] = {}
    for new in found:
        tag: int = new.provided.tag
        if (other := tags.setdefault(tag, new)) is not new:
            raise _conflict("serializer", "tag", tag, other, new)


def _conflict(kind: str, what: str, value: object, one: _Found, two: _Found) -> PluginConflict:
    return PluginConflict(
        f"the {kind} {what} {value!r} is provided by {one.info.origin} and by {two.info.origin}. "
        f"{two.info.hint}",
        kind=kind,
        name=value,
        distributions=[one.info.distribution, two.info.distribution],
    )


def parse_discovery(value: str, known: Iterable[str]) -> tuple[str, str]:
    """Split ``BRAFT_DISCOVERY`` into scheme and spec.

    A known scheme comes first: ``mdns`` and ``mdns:_x._tcp``. Else a list of hosts, with or
    without ports, is a ``static`` one: ``a``, ``a,b:15000``, ``[::1]:15000``. Else ``scheme:spec``
    is handed on, for :meth:`Registry.get` to say what is missing.

    :param known: the schemes that are provided; the project's own count as known in any case.
    :raises ConfigError: it is none of these, or so near to a scheme that it must be a misspelling.
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
    what = f"{wrong!r} is no host" if wrong and wrong != value else "it is not understood"
    more = ", ".join(f"{name} (pip install {FIRST_PARTY['discovery', name]})" for name in missing)
    return ConfigError(
        f"BRAFT_DISCOVERY={value!r}: {what}; accepted are a list of hosts (a,b:15000), or scheme "
        f"or scheme:spec with one of: {', '.join(installed) or 'none is installed'}"
        + (f"; not installed: {more}" if more else ""),
        setting="BRAFT_DISCOVERY",
        value=value,
    )


def _refuse_misspelling(value: str, schemes: set[str]) -> None:
    """A single bare word near to a scheme is no host: waiting for one would hide the mistake."""
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
    """Whether an entry of a list is a host, with or without a port."""
    for parse in (parse_host, parse_address):
        try:
            parse(item)
        except DecodeError:
            continue
        return True
    return False
