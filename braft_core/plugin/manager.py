"""Loads plugins, one by one, and calls their hooks, one by one.

Owns the pluggy manager and the knowledge of which distribution each plugin came from, so that
every failure names what to mend and how to start without it. Must not know what is registered:
choosing by name is :mod:`braft_core.plugin.registry`'s.
"""

from __future__ import annotations

import difflib
import importlib.metadata
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pluggy

from braft_core.errors import PluginConflict, PluginError, PluginLoadError
from braft_core.plugin import NAME, builtin, specs
from braft_core.plugin.distributions import canonical, describe_error, entry_points, version_of
from braft_core.plugin.validation import HOOKS, hook_problems, hooks_of, signature

if TYPE_CHECKING:
    import falcon.asgi
    import typer

    from braft_core.abc import NodeAPI

__all__ = ["CORE", "DISABLE_VARIABLE", "PluginInfo", "Plugins"]

log = logging.getLogger(__name__)

#: The distribution, and the plugin name, of what braft itself registers.
CORE: Final = "braft-core"
#: The setting that keeps entry points from being loaded.
DISABLE_VARIABLE: Final = "BRAFT_PLUGINS_DISABLE"

_OBSERVER: Final = f"{NAME}_on_"


@dataclass(frozen=True, slots=True)
class PluginInfo:
    """One plugin and where it came from.

    ``distribution`` and ``version`` are empty for a plugin that the program itself registered.
    """

    name: str
    distribution: str = ""
    version: str = ""
    hooks: tuple[str, ...] = ()

    @property
    def origin(self) -> str:
        """Where it came from, for messages: ``braft-mdns 0.1.0``, or the plugin's name."""
        return f"{self.distribution} {self.version}".strip() or f"plugin {self.name}"

    @property
    def hint(self) -> str:
        """The sentence that says how to start nevertheless."""
        if not self.distribution:
            return "Mend it, or do not register it."
        if self.distribution == CORE:
            return f"Reinstall {CORE}."
        return (
            f"Mend or uninstall {self.distribution}, "
            f"or set {DISABLE_VARIABLE}={self.name} to start without it."
        )


class Plugins:
    """A set of loaded plugins. Make one per node; nothing here is global.

    Fill it from one thread, before use. Afterwards hooks may be called from any thread, one call
    at a time.
    """

    def __init__(self) -> None:
        """An empty set; :meth:`load` makes the usual one."""
        self._manager = pluggy.PluginManager(NAME)
        self._manager.add_hookspecs(specs)
        self._loaded: dict[str, PluginInfo] = {}
        self._disabled: list[PluginInfo] = []
        self._failures: list[PluginError] = []

    @classmethod
    def load(cls, disable: Iterable[str] = (), *, tolerate: bool = False) -> Plugins:
        """Load what braft-core provides, then every installed entry point of group ``braft``.

        :param disable: names of entry points, or of distributions, that are not to be loaded.
        :param tolerate: collect failures in :attr:`failures` instead of raising, for commands that
            explain an installation. A node must not be started on such a set.
        :raises PluginLoadError: a plugin does not import or breaks a hook's rules.
        :raises PluginConflict: two distributions claim one entry-point name.
        """
        plugins = cls()
        plugins.register(builtin, CORE, CORE, _version_of_core())
        plugins._load_entry_points(tuple(disable), tolerate)
        return plugins

    @property
    def loaded(self) -> tuple[PluginInfo, ...]:
        """The loaded plugins in the order of loading, braft-core's own first."""
        return tuple(self._loaded.values())

    @property
    def disabled(self) -> tuple[PluginInfo, ...]:
        """The installed entry points that were not loaded because they were disabled."""
        return tuple(self._disabled)

    @property
    def failures(self) -> tuple[PluginError, ...]:
        """What went wrong while loading with ``tolerate``."""
        return tuple(self._failures)

    def register(
        self, plugin: object, name: str, distribution: str = "", version: str = ""
    ) -> PluginInfo:
        """Add one plugin: a module, or an instance whose methods are hooks.

        Programs use this for plugins of their own that are not installed as distributions.

        :raises PluginLoadError: it breaks a rule; the message lists every broken one.
        :raises PluginConflict: the name is taken.
        """
        info = PluginInfo(name, distribution, version)
        if name in self._loaded:
            raise _name_conflict([self._loaded[name], info])
        if self._manager.is_registered(plugin):
            raise load_error(info, f"it is loaded already, as {self._manager.get_name(plugin)!r}")
        if problems := hook_problems(plugin):
            raise load_error(info, "; ".join(problems))
        self._manager.register(plugin, name)
        info = PluginInfo(name, distribution, version, tuple(hooks_of(plugin)))
        self._loaded[name] = info
        return info

    def call(self, info: PluginInfo, hook: str, **arguments: Any) -> list[Any]:
        """Call one hook of one plugin; the list holds its answer, and is empty for ``None``.

        :raises PluginLoadError: chained, whatever the plugin raised.
        """
        try:
            return self._call(info, hook, arguments)
        except Exception as error:  # a plugin may raise anything; it must not end braft unnamed
            raise load_error(info, f"{hook} raised {describe_error(error)}") from error

    def extend_http(self, app: falcon.asgi.App[Any, Any], node: NodeAPI) -> None:
        """Let every plugin add its HTTP resources. :raises PluginLoadError: one of them raised."""
        for info in self.implementing("braft_register_http"):
            self.call(info, "braft_register_http", app=app, node=node)

    def extend_cli(self, app: typer.Typer) -> None:
        """Let every plugin add its commands. :raises PluginLoadError: one of them raised."""
        for info in self.implementing("braft_register_cli"):
            self.call(info, "braft_register_cli", app=app)

    def notify(self, event: str, **arguments: Any) -> None:
        """Call every observer of ``event``; one that raises is logged by name and passed over.

        :param event: the hook's name, such as ``braft_on_started``.
        :raises PluginError: there is no such observer, or the arguments are not its parameters.
        """
        if not event.startswith(_OBSERVER) or event not in HOOKS:
            known = ", ".join(hook for hook in HOOKS if hook.startswith(_OBSERVER))
            raise PluginError(f"there is no observer {event!r}; there are: {known}")
        if set(arguments) != set(HOOKS[event]):
            raise PluginError(f"{signature(event)} was called with {', '.join(arguments) or '-'}")
        for info in self.implementing(event):
            self._notify_one(info, event, arguments)

    def implementing(self, hook: str) -> Iterator[PluginInfo]:
        """The plugins that implement a hook, in the order of loading."""
        return (info for info in self._loaded.values() if hook in info.hooks)

    def trace(self, write: Callable[[str], object]) -> Callable[[], None]:
        """Pass a line of text to ``write`` for each hook call; returns a function that ends it."""
        self._manager.trace.root.setwriter(write)
        return self._manager.enable_tracing()

    def _call(self, info: PluginInfo, hook: str, arguments: dict[str, Any]) -> list[Any]:
        own = self._manager.get_plugin(info.name)
        others = [plugin for plugin in self._manager.get_plugins() if plugin is not own]
        answers: list[Any] = self._manager.subset_hook_caller(hook, others)(**arguments)
        return answers

    def _notify_one(self, info: PluginInfo, event: str, arguments: dict[str, Any]) -> None:
        try:
            self._call(info, event, arguments)
        except Exception:  # an observer's fault must reach neither the node nor other observers
            log.exception(
                "plugin %s (%s) failed in %s; the node goes on",
                info.name,
                info.origin,
                event,
                extra={"plugin": info.name, "hook": event},
            )

    def _load_entry_points(self, disable: tuple[str, ...], tolerate: bool) -> None:
        for name, points in self._enabled_entry_points(disable).items():
            try:
                if len(points) > 1:
                    raise _name_conflict([info for info, _ in points])
                self._load_one(*points[0])
            except PluginError as error:
                if not tolerate:
                    raise
                log.warning("plugin %s is not loaded: %s", name, error)
                self._failures.append(error)

    def _enabled_entry_points(self, disable: tuple[str, ...]) -> dict[str, list[_Point]]:
        wanted = {canonical(name) for name in disable} - {""}
        unused = set(wanted)
        found: dict[str, list[_Point]] = defaultdict(list)
        for info, point in _entry_points():
            names = {canonical(info.name), canonical(info.distribution)}
            unused -= names
            if names & wanted:
                self._disabled.append(info)
            else:
                found[info.name].append((info, point))
        _warn_unused(unused, [*found, *(info.name for info in self._disabled)])
        return found

    def _load_one(self, info: PluginInfo, point: importlib.metadata.EntryPoint) -> None:
        try:
            plugin = point.load()
        except (Exception, SystemExit) as error:  # an import runs foreign code: anything may come
            raise load_error(
                info, f"{point.value} does not import: {describe_error(error)}"
            ) from error
        self.register(plugin, info.name, info.distribution, info.version)


_Point = tuple[PluginInfo, importlib.metadata.EntryPoint]


def load_error(info: PluginInfo, what: str) -> PluginLoadError:
    """The error that names plugin, distribution and version, what is wrong, and what to do."""
    return PluginLoadError(
        f"plugin {info.name!r} of {info.origin} cannot be used: {what}. {info.hint}",
        plugin=info.name,
        distribution=info.distribution,
        version=info.version,
    )


def _name_conflict(claims: list[PluginInfo]) -> PluginConflict:
    name = claims[0].name
    origins = " and ".join(info.origin for info in claims)
    others = [info.distribution for info in claims if info.distribution not in ("", CORE)]
    hint = f"Uninstall one, or set {DISABLE_VARIABLE} to {' or '.join(others)}." * bool(others)
    return PluginConflict(
        f"the plugin name {name!r} is claimed by {origins}. {hint}".rstrip(),
        kind="plugin",
        name=name,
        distributions=[info.distribution for info in claims],
    )


def _entry_points() -> list[_Point]:
    """Every installed entry point of our group, in an order that does not depend on the disk."""
    found = []
    for point, distribution, version in entry_points(NAME):
        found.append((PluginInfo(point.name, distribution, version), point))
    return sorted(found, key=lambda pair: (pair[0].name, pair[0].distribution, pair[1].value))


def _warn_unused(unused: set[str], known: list[str]) -> None:
    """Say that something was to be disabled that is not there: a misspelling must not pass."""
    for name in sorted(unused):
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"installed: {', '.join(known) or 'none'}"
        log.warning("%s names %r, which is not installed; %s", DISABLE_VARIABLE, name, hint)


def _version_of_core() -> str:
    return version_of(CORE) or "(source tree)"
