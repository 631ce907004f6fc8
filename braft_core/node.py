"""The node, as users hold it: a facade over the runtime.

Everything here delegates. A node has a loop thread, a writer, an applier, an events thread, a watch
thread and an HTTP server; :meth:`Node.start` makes them and :meth:`Node.stop` ends them all.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import os
import signal
import threading
import warnings
import weakref
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Literal, Self, TypeVar, Unpack

from pydantic import BaseModel

from braft_core.abc import Service
from braft_core.cluster_types import Readiness
from braft_core.compat.go_braft.routes import legacy_routes
from braft_core.config import Settings
from braft_core.errors import ConfigError, ForkedProcess, InvalidRequest, Stopped
from braft_core.handles import KV, Distribute
from braft_core.http.server import HTTPServer
from braft_core.node_cluster import ClusterCalls, SnapshotCalls
from braft_core.node_options import NodeOptions, plain_options
from braft_core.node_recipes import RecipeCalls
from braft_core.plugin.option_values import read_options
from braft_core.plugin.options import PluginOptions
from braft_core.runtime import clock
from braft_core.runtime.components import Components, build_components
from braft_core.runtime.fork_generation import generation
from braft_core.runtime.lifecycle import NodeThreads
from braft_core.runtime.monkeypatching import check_not_monkeypatched
from braft_core.runtime.shielded import run_shielded
from braft_core.runtime.sighup import SighupHandler
from braft_core.runtime.signal_flag import SignalFlag
from braft_core.runtime.timing import DEFAULT_TIMING
from braft_core.store import Lease, NodeStore
from braft_core.tls.served_certificate import ServedCertificate

__all__ = ["Node", "NodeState"]

#: ``failed``: the node ended by itself, because of an error.
NodeState = Literal["new", "running", "failed", "stopped"]

Options = TypeVar("Options", bound=BaseModel)

_log = logging.getLogger(__name__)

#: How often a node that may choose its ports does so: others may choose the same at that moment.
_PORT_CHOICES = 5

#: Nodes that were started and not stopped.
_running_nodes: weakref.WeakSet[Node] = weakref.WeakSet()


class Node(ClusterCalls, SnapshotCalls, RecipeCalls):
    """One member of a cluster, embedded in this process.

    ``Node()`` reads its settings from the environment and ``braft.toml``. Keyword arguments are
    settings too and take precedence. ``services`` may hold names, and classes or instances of your
    own services. Use it as a context manager, or call :meth:`start` and :meth:`stop`. Thread-safe.
    Each method that waits has an async variant with an ``a`` before its name.

    :raises ConfigError: a setting is wrong; the error names it, its value and what is accepted.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        services: Iterable[str | Service | type[Service]] | None = None,
        **options: Unpack[NodeOptions],
    ) -> None:
        names, self._own_services = _split(services)
        if settings is not None and (options or names is not None):
            raise ConfigError("give Node either ready settings or keyword arguments, not both")
        given = plain_options(options)
        if names is not None:
            given["services"] = names
        self._settings = settings or Settings.load(kwargs=given)
        #: What tests change by ``braft_testing.internals.with_timing``.
        self._timing = DEFAULT_TIMING
        self._host: NodeThreads | None = None
        self._pid, self._generation = os.getpid(), generation()
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self.kv = KV(self, clock.monotonic)
        self.store = NodeStore(self, self.lease, lambda: self._running().watchers)
        self.distribute = Distribute(self, self._watch_distribution)

    def __repr__(self) -> str:
        host = self._host
        if host is None:
            return f"<Node {self.state}>"
        components = host.components
        return f"<Node {self.state} at {components.advertised.address}, id {components.server_id}>"

    # -- lifecycle -------------------------------------------------------------------------------

    @property
    def state(self) -> NodeState:
        """Where the node is in its life; see :meth:`ready` for whether it serves requests."""
        host = self._host
        if host is None:
            return "stopped" if self._ended.is_set() else "new"
        return "running" if host.failure is None else "failed"

    def start(self) -> Self:
        """Open the data directory, listen, start discovery. Do not wait for a cluster.

        :raises InvalidRequest: the node is running already.
        :raises Stopped: the node was stopped. A node starts once.
        :raises BraftError: it cannot start; nothing is left running then.
        """
        if self._host is not None:
            self._check_process()
        with self._lock:
            if self._host is not None:
                raise InvalidRequest(f"{self!r} is running already; start() is called once")
            if self._ended.is_set():
                raise Stopped("this node was stopped and cannot start again; make another Node")
            self._pid, self._generation = os.getpid(), generation()
            check_not_monkeypatched()
            for left in reversed(range(_PORT_CHOICES)):
                try:
                    self._launch()
                    break
                except ConfigError as error:
                    # Another process has taken a port since it was chosen.
                    if not left or self._settings.rport or "address" not in error.data:
                        raise
                    _log.info("other ports are chosen: %s", error.message)
            _running_nodes.add(self)
        return self

    def _launch(self) -> None:
        components = build_components(self._settings, self._own_services, self._timing)
        # Set before it runs: observers and HTTP requests may use this object at once.
        host = self._host = NodeThreads(components, self, self._http_server)
        try:
            host.start()
        except BaseException:
            self._host = None
            raise

    def stop(self) -> None:
        """Hand over leadership, answer all requests, end every thread. Idempotent."""
        self._check_process()
        with self._lock:
            self._ended.set()
            host = self._host
        if host is not None:
            host.stop()
            self._host = None
            _running_nodes.discard(self)

    async def astart(self) -> Self:
        """Call :meth:`start` asynchronously.

        If the caller is cancelled, the node is stopped before the cancellation propagates.
        """
        return await run_shielded("braft-start", self.start, undo=self.stop)

    async def astop(self) -> None:
        """Call :meth:`stop` asynchronously. It completes even if the caller is cancelled."""
        await run_shielded("braft-stop", self.stop)

    def run(self, on_start: Callable[[], None] | None = None) -> None:
        """Start if necessary, block until SIGTERM, SIGINT or a failure, then stop.

        Main thread only, because of the signals. A signal during the start takes effect after it, a
        second one at once. SIGHUP makes the node reload its certificates, and stops it if its
        terminal is gone.

        :param on_start: called once the node listens.
        :raises BraftError: the node failed.
        :raises KeyboardInterrupt: a second signal came during the start.
        """
        done, starting = SignalFlag(), True

        def obey(*_: object) -> None:
            nonlocal starting
            if starting and done.is_set():
                starting = False
                raise KeyboardInterrupt  # a second signal during a start that hangs
            done.set()

        sighup = SighupHandler(done.set)
        previous = {
            number: signal.signal(number, obey) for number in (signal.SIGTERM, signal.SIGINT)
        }
        previous[signal.SIGHUP] = signal.signal(signal.SIGHUP, sighup)
        try:
            if self._host is None:
                self.start()
            starting = False
            host = self._running()
            if on_start is not None:
                on_start()
            while not done.wait(0.2):
                if host.failure is not None:
                    raise host.failure
                if sighup.take_request():
                    host.refresh()
        finally:
            starting = False
            self.stop()
            for number, handler in previous.items():
                signal.signal(number, handler)

    async def arun(self, on_start: Callable[[], None] | None = None) -> None:
        """Call :meth:`run` asynchronously, on the event loop of the main thread.

        Signals stop the node once it has started. Cancelling stops it too.
        """
        loop, done, sighup = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
        handlers = {signal.SIGTERM: done.set, signal.SIGINT: done.set, signal.SIGHUP: sighup.set}
        for number, handler in handlers.items():
            loop.add_signal_handler(number, handler)
        try:
            if self._host is None:
                await self.astart()
            host = self._running()
            if on_start is not None:
                on_start()
            while not done.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(done.wait(), 0.2)
                if host.failure is not None:
                    raise host.failure
                if sighup.is_set():
                    sighup.clear()
                    host.refresh()
        finally:
            await self.astop()
            for number in handlers:
                loop.remove_signal_handler(number)

    def __enter__(self) -> Self:
        return self.start() if self._host is None else self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return await self.astart() if self._host is None else self

    async def __aexit__(self, *exc: object) -> None:
        await self.astop()

    # -- state -----------------------------------------------------------------------------------

    @property
    def settings(self) -> Settings:
        """The frozen settings."""
        return self._settings

    def plugin_options(self, model: type[Options]) -> Options:
        """Return the options of a plugin, read with the plugin's own model.

        :raises ConfigError: an option is wrong; the error names it, its value and what is accepted.
        """
        if not issubclass(model, PluginOptions):
            raise TypeError(f"{model.__name__} is not a subclass of PluginOptions")
        chosen: Any = model
        options: Options = read_options(self._settings, chosen)
        return options

    @property
    def server_id(self) -> str:
        """This server's id in the Raft configuration."""
        return self._running().components.server_id

    @property
    def address(self) -> str:
        """The ``host:port`` that this node advertises."""
        return self._running().components.advertised.address

    @property
    def http_address(self) -> str | None:
        """The ``host:port`` of the HTTP server, or ``None`` without one."""
        return self._running().http_address or None

    def ready(self) -> Readiness:
        """Return whether requests can be served, and if not, why. Checks the data directory."""
        host = self._host
        if host is None:
            return Readiness(False, "the node is not running")
        self._check_process()
        return Readiness(*host.ready())

    async def aready(self) -> Readiness:
        """Call :meth:`ready` asynchronously."""
        return await asyncio.to_thread(self.ready)

    def notes(self) -> dict[str, str]:
        """Return what is wrong though the node may serve: a message by subject."""
        host = self._host
        return {} if host is None else host.notes()

    def lease(self, ttl: float = 10.0) -> Lease:
        """Return a lease of the store, for a ``with`` or ``async with`` statement.

        It is renewed while the statement runs. Keys that are put with it go when it ends: with the
        statement, or ``ttl`` seconds after this process or its network died.
        """
        return Lease(self, lambda: self._running().lease_keeper, clock.monotonic, ttl)

    def details(self) -> dict[str, Any]:
        """Return this node's entry in the ``nodes`` of ``GET /raft``."""
        return self._running().details()

    # -- plumbing --------------------------------------------------------------------------------

    def _http_server(self, components: Components) -> HTTPServer | None:
        if not self._settings.http:
            return None
        extend = partial(components.plugins.extend_http, node=self)
        files = self._settings.http_tls_files
        served = ServedCertificate(*files) if files is not None else None
        keyring, port = components.tokens.keyring, components.ports.http
        return HTTPServer(self, components.host, port, extend, keyring, served, legacy_routes)

    def _check_process(self) -> None:
        if generation() != self._generation:
            raise ForkedProcess(
                f"this node belongs to process {self._pid}; a child process must make its own",
                pid=self._pid,
            )

    def _running(self) -> NodeThreads:
        if generation() != self._generation:
            self._check_process()
        host = self._host
        if host is None:
            raise Stopped("the node is not running; call start() or use it in a with statement")
        return host

    def _watch_distribution(self, callback: Callable[..., None]) -> Callable[[], None]:
        return self._running().watch_distribution(callback)


@atexit.register
def _warn_of_running_nodes() -> None:
    # A running node is kept alive by its threads, so the end of the process is the last chance.
    for node in list(_running_nodes):
        if generation() == node._generation:
            warnings.warn(f"{node!r} was never stopped; call stop()", ResourceWarning, stacklevel=1)


def _split(
    services: Iterable[str | Service | type[Service]] | None,
) -> tuple[tuple[str, ...] | None, list[Service]]:
    """Separate names, which are a setting, from the caller's own classes and instances."""
    if services is None:
        return None, []
    given = [services] if isinstance(services, str) else list(services)
    names = [item for item in given if isinstance(item, str)]
    own = [
        item() if isinstance(item, type) else item for item in given if not isinstance(item, str)
    ]
    return (tuple(names) or None), own
