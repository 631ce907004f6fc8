"""Load plugins and call their hooks, one at a time.

Owns the pluggy manager and knows the distribution of each plugin, so that every failure names what
to fix and how to start without it. Must not know what the plugins register:
:mod:`braft_core.plugin.registry` chooses by name.
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
    """One plugin and its distribution.

    ``distribution`` and ``version`` are empty for a plugin that the program itself registered.
    """

    name: str
    distribution: str = ""
    version: str = ""
    hooks: tuple[str, ...] = ()

    @property
    def origin(self) -> str:
        """The distribution, for messages: ``braft-mdns 0.1.0``; else the plugin's name."""
        return f"{self.distribution} {self.version}".strip() or f"plugin {self.name}"

    @property
    def hint(self) -> str:
        """The message that says how to fix the plugin or start without it."""
        if not self.distribution:
            return "Fix it, or do not register it."
        if self.distribution == CORE:
            return f"Reinstall {CORE}."
        return (
            f"Fix or uninstall {self.distribution}, "
            f"or set {DISABLE_VARIABLE}={self.name} to start without it."
        )


class Plugins:
    """A set of loaded plugins; each node has one, none is global.

    Load from one thread, before use. Afterwards any thread may call hooks, one call at a time.
    """

    def __init__(self) -> None:
        """Make an empty set; :meth:`load` makes the usual one."""
        self._manager = pluggy.PluginManager(NAME)
        self._manager.add_hookspecs(specs)
        self._loaded: dict[str, PluginInfo] = {}
        self._disabled: list[PluginInfo] = []
        self._failures: list[PluginError] = []

    @classmethod
    def load(cls, disable: Iterable[str] = (), *, tolerate: bool = False) -> Plugins:
        """Load what braft-core provides, then every installed entry point of group ``braft``.

        :param disable: names of entry points or distributions not to load.
        :param tolerate: collect failures in :attr:`failures` instead of raising, for commands that
            explain an installation. Do not start a node with such a set.
        :raises PluginLoadError: a plugin does not import or breaks a rule of the hooks.
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
        """The errors of loading with ``tolerate``."""
        return tuple(self._failures)

    def register(
        self, plugin: object, name: str, distribution: str = "", version: str = ""
    ) -> PluginInfo:
        """Add one plugin: a module, or an instance whose methods are hooks.

        Programs use this for plugins that are not installed as distributions.

        :raises PluginLoadError: it breaks a rule; the message lists every broken rule.
        :raises PluginConflict: the name is taken.
        """
        info = PluginInfo(name, distribution, version)
        if name in self._loaded:
            raise _name_conflict([self._loaded[name], info])
        if self._manager.is_registered(plugin):
            raise load_error(info, f"it is already loaded, as {self._manager.get_name(plugin)!r}")
        if problems := hook_problems(plugin):
            raise load_error(info, "; ".join(problems))
        self._manager.register(plugin, name)
        info = PluginInfo(name, distribution, version, tuple(hooks_of(plugin)))
        self._loaded[name] = info
        return info

    def call(self, info: PluginInfo, hook: str, **arguments: Any) -> list[Any]:
        """Call one hook of one plugin; return a list of its result, empty for ``None``.

        :raises PluginLoadError: the hook raised; chained to the plugin's exception.
        """
        try:
            return self._call(info, hook, arguments)
        except Exception as error:  # a plugin may raise anything; the error must name it
            raise load_error(info, f"{hook} raised {describe_error(error)}") from error

    def extend_http(self, app: falcon.asgi.App[Any, Any], node: NodeAPI) -> None:
        """Let every plugin add its HTTP resources. :raises PluginLoadError: a plugin raised."""
        for info in self.implementing("braft_register_http"):
            self.call(info, "braft_register_http", app=app, node=node)

    def extend_cli(self, app: typer.Typer) -> None:
        """Let every plugin add its commands. :raises PluginLoadError: a plugin raised."""
        for info in self.implementing("braft_register_cli"):
            self.call(info, "braft_register_cli", app=app)

    def notify(self, event: str, **arguments: Any) -> None:
        """Call every observer of ``event``; log the exceptions that observers raise.

        :param event: the name of the hook, such as ``braft_on_started``.
        :raises PluginError: the hook is no observer, or the arguments are not its parameters.
        """
        if not event.startswith(_OBSERVER) or event not in HOOKS:
            known = ", ".join(hook for hook in HOOKS if hook.startswith(_OBSERVER))
            raise PluginError(f"there is no observer {event!r}; known: {known}")
        if set(arguments) != set(HOOKS[event]):
            raise PluginError(f"{signature(event)} got {', '.join(arguments) or 'no arguments'}")
        for info in self.implementing(event):
            self._notify_one(info, event, arguments)

    def implementing(self, hook: str) -> Iterator[PluginInfo]:
        """Return the plugins that implement a hook, in the order of loading."""
        return (info for info in self._loaded.values() if hook in info.hooks)

    def trace(self, write: Callable[[str], object]) -> Callable[[], None]:
        """Pass a line to ``write`` for each hook call; return a function that ends the trace."""
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
        except Exception:  # must not affect the node or other observers
            log.exception(
                "plugin %s (%s) raised in %s; the node continues",
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
        except (Exception, SystemExit) as error:  # an import runs code that may raise anything
            raise load_error(
                info, f"{point.value} does not import: {describe_error(error)}"
            ) from error
        self.register(plugin, info.name, info.distribution, info.version)


_Point = tuple[PluginInfo, importlib.metadata.EntryPoint]


def load_error(info: PluginInfo, what: str) -> PluginLoadError:
    """Return an error that names plugin, distribution and version, and says what to do."""
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
    """Return every installed entry point of our group, in a deterministic order."""
    found = []
    for point, distribution, version in entry_points(NAME):
        found.append((PluginInfo(point.name, distribution, version), point))
    return sorted(found, key=lambda pair: (pair[0].name, pair[0].distribution, pair[1].value))


def _warn_unused(unused: set[str], known: list[str]) -> None:
    """Warn of disabled names that are not installed: they may be misspelt."""
    for name in sorted(unused):
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"installed: {', '.join(known) or 'none'}"
        log.warning("%s names %r, which is not installed; %s", DISABLE_VARIABLE, name, hint)


def _version_of_core() -> str:
    return version_of(CORE) or "(source tree)"
