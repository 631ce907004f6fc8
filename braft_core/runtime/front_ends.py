"""The front ends of a node's plugins, and the event loop that they share."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from braft_core.abc import FrontEnd
from braft_core.errors import BraftError, ConfigError
from braft_core.plugin.manager import PluginInfo, Plugins, load_error
from braft_core.runtime.blocking import forbid_blocking
from braft_core.runtime.platform import Platform, RunningLoop
from braft_core.runtime.timing import Timing
from braft_core.tokens import Keyring

if TYPE_CHECKING:
    from braft_core.abc import NodeAPI

__all__ = ["FrontEnds"]

_log = logging.getLogger(__name__)

_REASON: Final = (
    "a blocking call of the node was made on the event loop of the front ends, which stalls all "
    "their callers; await the method with an 'a' before its name, such as node.aquery(...), or run "
    "the work in a thread (asyncio.to_thread)"
)


class FrontEnds:
    """Starts and stops the front ends. Methods belong to the thread that starts the node."""

    def __init__(self, plugins: Plugins, platform: Platform, name: str, timing: Timing) -> None:
        """Prepare; nothing is made yet.

        :param name: of the loop's thread.
        """
        self._plugins = plugins
        self._platform = platform
        self._name = name
        self._timing = timing
        self._loop: RunningLoop | None = None
        self._front_ends: list[tuple[PluginInfo, FrontEnd]] = []
        #: Those that have started.
        self._serving: tuple[tuple[PluginInfo, FrontEnd], ...] = ()

    def start(self, node: NodeAPI, keyring: Keyring) -> None:
        """Let each plugin make its front end, and start it. Without any there is no thread.

        :raises PluginLoadError: a plugin's hook raised, or returned something else.
        :raises BraftError: a front end cannot start. :meth:`stop` ends the others.
        """
        for info in self._plugins.implementing("braft_serve"):
            for made in self._plugins.call(info, "braft_serve", node=node, keyring=keyring):
                if not isinstance(made, FrontEnd):
                    what = f"braft_serve returned {made!r}; accepted: a FrontEnd or None"
                    raise load_error(info, what)
                self._start(info, made)

    def _start(self, info: PluginInfo, front_end: FrontEnd) -> None:
        if self._loop is None:
            self._loop = self._platform.loop(self._name, self._timing.executor_stop)
            self._loop.start()
            self._loop.loop.call_soon_threadsafe(forbid_blocking, _REASON)
        self._front_ends.append((info, front_end))
        try:
            self._loop.run(front_end.start())
        except BraftError:
            raise
        except Exception as error:  # a plugin may raise anything
            raise ConfigError(
                f"the front end of plugin {info.name} cannot start: {error}"
            ) from error
        self._serving = (*self._serving, (info, front_end))
        _log.info("plugin %s serves at %s", info.name, front_end.address)

    def refresh(self) -> None:
        """Let each reload its certificates. Any thread.

        :raises PluginLoadError: one raised, which is named; the others were called as well.
        """
        failures: list[BraftError] = []
        for info, front_end in self._serving:
            try:
                front_end.refresh()
            except Exception as error:  # noqa: BLE001 - a plugin may raise anything
                failures.append(load_error(info, f"refresh raised {error!r}"))
        if failures:
            raise failures[0]

    @property
    def troubles(self) -> dict[str, str]:
        """What is wrong with those that serve, by the names of their plugins. Any thread."""
        found = {info.name: _trouble(front_end) for info, front_end in self._serving}
        return {name: trouble for name, trouble in found.items() if trouble}

    def stop(self) -> None:
        """Stop them in the reverse order, and end the thread. Idempotent."""
        self._serving = ()
        timing, loop, self._loop = self._timing, self._loop, None
        if loop is None:
            return
        grace = timing.front_end_grace
        while self._front_ends:
            info, front_end = self._front_ends.pop()
            try:
                loop.run(front_end.stop(grace), grace + timing.front_end_stop)
            except Exception:  # noqa: BLE001 - the node has to stop whatever a plugin does
                _log.exception("the front end of plugin %s did not stop in order", info.name)
        loop.stop(timing.front_end_stop)


def _trouble(front_end: FrontEnd) -> str:
    try:
        return front_end.trouble
    except Exception as error:  # noqa: BLE001 - a plugin may raise anything
        return f"its trouble cannot be told: {error!r}"
