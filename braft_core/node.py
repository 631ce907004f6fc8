"""The node, as users hold it: a facade over the runtime.

Everything here delegates. A node has a loop thread, a writer, an applier, an events thread, a watch
thread and an HTTP server; :meth:`Node.start` makes them and :meth:`Node.stop` ends them all.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Self, TypeVar

from pydantic import BaseModel

from braft_core.abc import Service
from braft_core.compat.go_braft.routes import legacy_routes
from braft_core.config import Settings
from braft_core.errors import ConfigError, ForkedProcess, OutcomeUnknown, Stopped, TooLarge
from braft_core.handles import KV, Distribute, ServiceHandle, Session
from braft_core.http.server import HTTPServer
from braft_core.plugin.option_values import read_options
from braft_core.plugin.options import PluginOptions
from braft_core.runtime.argument_checks import seconds
from braft_core.runtime.async_calls import AsyncCalls
from braft_core.runtime.blocking import check_may_block
from braft_core.runtime.components import Components
from braft_core.runtime.fork_generation import generation
from braft_core.runtime.lifecycle import NodeThreads
from braft_core.runtime.requests import Query, Request
from braft_core.runtime.sessions import ClientSession, SessionCommand
from braft_core.runtime.shielded import run_shielded
from braft_core.runtime.sighup import SighupHandler
from braft_core.services.envelope import encode_command
from braft_core.services.service import StateMachineService
from braft_core.tls.served_certificate import ServedCertificate

__all__ = ["Node"]

#: How much longer than its deadline a blocked caller waits for the runtime to settle it, seconds.
_GRACE = 2.0

Args = tuple[Any, ...]
Options = TypeVar("Options", bound=BaseModel)


class Node(AsyncCalls):
    """One member of a cluster, embedded in this process.

    ``Node()`` takes everything from the environment and ``braft.toml``; keyword arguments mirror
    the settings (``docs/settings.md``) and overrule them. ``services`` may hold names, and classes
    or instances of services of your own. Use it as a context manager, or call :meth:`start` and
    :meth:`stop`. Thread-safe. Methods with an ``a`` before their name are the awaitable twins.

    :raises ConfigError: a setting is wrong, with its name, value and what is accepted.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        services: Iterable[str | Service | type[Service]] | None = None,
        **kwargs: Any,
    ) -> None:
        names, self._own_services = _split(services)
        if settings is not None and (kwargs or names is not None):
            raise ConfigError("give Node either ready settings or keyword arguments, not both")
        if names is not None:
            kwargs["services"] = names
        self._settings = settings or Settings.load(kwargs=kwargs)
        self._host: NodeThreads | None = None
        self._pid, self._generation = os.getpid(), generation()
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self.kv = KV(self)
        self.distribute = Distribute(self, self._watch_distribution)

    # -- life ----------------------------------------------------------------------------------

    def start(self) -> Self:
        """Open the data, listen, begin to look for the others. Does not wait for a cluster.

        :raises BraftError: something is in the way; nothing is left running then.
        """
        if self._host is not None:
            self._check_process()
        with self._lock:
            if self._host is not None or self._ended.is_set():
                raise Stopped("a node is started once; make another one")
            self._pid, self._generation = os.getpid(), generation()
            # Known before it runs: observers and HTTP requests use this object from the first on.
            host = self._host = NodeThreads(
                self._settings, self._own_services, self, self._http_server
            )
            try:
                host.start()
            except BaseException:
                self._host = None
                raise
        return self

    def stop(self) -> None:
        """Hand over leadership, finish what is under way, end every thread. Idempotent."""
        self._check_process()
        with self._lock:
            self._ended.set()
            host = self._host
        if host is not None:
            host.stop()
            self._host = None

    async def astart(self) -> Self:
        """:meth:`start`, awaited.

        If the caller is cancelled, the node is stopped again before the cancellation goes on.
        """
        return await run_shielded("braft-start", self.start, undo=self.stop)

    async def astop(self) -> None:
        """:meth:`stop`, awaited. It is finished also if the caller is cancelled."""
        await run_shielded("braft-stop", self.stop)

    def run(self, on_start: Callable[[], None] | None = None) -> None:
        """Start (if need be) and block until SIGTERM, SIGINT or the node's own end; then stop.

        Main thread only, because of the signals. One that comes during the start is obeyed after
        it, a second one at once. SIGHUP makes the node read its certificates again, and stops it
        if its terminal is gone.

        :param on_start: called once the node listens.
        :raises BraftError: what made the node end by itself.
        :raises KeyboardInterrupt: a second signal came during the start.
        """
        done, starting = threading.Event(), True

        def obey(*_: object) -> None:
            nonlocal starting
            if starting and done.is_set():
                starting = False
                raise KeyboardInterrupt  # it hangs, and who asks twice means it
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

    def __enter__(self) -> Self:
        return self.start() if self._host is None else self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return await self.astart() if self._host is None else self

    async def __aexit__(self, *exc: object) -> None:
        await self.astop()

    # -- commands and queries --------------------------------------------------------------------

    def execute(self, service: str, command: str, *args: Any, timeout: float | None = None) -> Any:
        """Replicate a command, wait until it is applied, return its answer.

        It is tried again until the deadline where its outcome is not known, when the leader dies
        for instance, and applied once (``docs/sessions.md``).

        :param timeout: seconds; default: the setting ``request_timeout``.
        :raises TypeError: an argument is no plain value.
        :raises NotApplied: it was surely not applied (no leader, not ready, too large, busy).
        :raises OutcomeUnknown: it may have been applied; at the deadline, or if this node stops.
        :raises Rejected: it was applied, and its answer is this error.
        """
        return self._execute(self._running().sessions.shared, service, command, args, timeout)

    async def aexecute(
        self, service: str, command: str, *args: Any, timeout: float | None = None
    ) -> Any:
        """:meth:`execute`, awaited. Cancelling does not take the command back."""
        return await self._aexecute(
            self._running().sessions.shared, service, command, args, timeout
        )

    def query(
        self,
        service: str,
        query: str,
        *args: Any,
        consistency: str = "linearizable",
        max_staleness: float | None = None,
        timeout: float | None = None,
    ) -> Any:
        """Read from a service.

        :param consistency: ``linearizable`` (sees every write acknowledged before the call);
            ``lease`` (the same as long as no clock runs away, and cheaper on a leader with the
            setting ``lease_reads``; elsewhere simply linearizable); or
            ``stale``: this node's state as it is, at most :attr:`staleness` seconds old.
        :param max_staleness: of a stale read, seconds.
        :raises InvalidRequest: there is no such ``consistency``.
        :raises TooStale: the state may be older than ``max_staleness``.
        :raises NotApplied: it could not be served in time. :raises Rejected: the service refused.
        """
        request = self._query(service, query, args, timeout, None)
        self._running().read(request, consistency, max_staleness)
        return self._wait(request)

    async def aquery(
        self,
        service: str,
        query: str,
        *args: Any,
        consistency: str = "linearizable",
        max_staleness: float | None = None,
        timeout: float | None = None,
    ) -> Any:
        """:meth:`query`, awaited."""
        request = self._query(service, query, args, timeout, asyncio.get_running_loop())
        self._running().read(request, consistency, max_staleness)
        return await request.awaitable

    @property
    def staleness(self) -> float:
        """How many seconds old the state of this node may be: the bound of a stale read.

        Writes acknowledged longer ago than that are in it. Infinity while that cannot be told:
        without a cluster, on a leader until it has committed in its term, and on a follower until
        it has heard from such a one. The bound includes an election timeout and a heartbeat
        interval, for which a leader may have been replaced without noticing, and on a follower
        one more election timeout: it is assumed that no message is under way for longer
        (``braft_core.runtime.staleness``).
        """
        return self._running().staleness

    def service(self, service: type[StateMachineService]) -> ServiceHandle:
        """A handle whose attributes are the service's commands and queries."""
        return ServiceHandle(self, service.name, service.query_names())

    def session(self) -> Session:
        """A client session of the caller's own, to be used in a ``with`` statement.

        Calls without one share a session of the node. See :class:`~braft_core.handles.Session`.
        """
        sessions = self._running().sessions
        client_session = ClientSession(sessions, renews=False)
        return Session(
            self,
            client_session,
            partial(self._execute, client_session),
            partial(self._aexecute, client_session),
        )

    def barrier(self, timeout: float | None = None) -> None:
        """On the leader: wait until everything committed before is applied here."""
        self._running().barrier(self._timeout(timeout))

    def wait_ready(self, timeout: float | None = None) -> None:
        """Wait until the node is in a cluster whose leader it knows.

        :raises NotReady: not in time; the message says what it waits for.
        :raises Stopped: the node has ended, or does so meanwhile.
        """
        self._running().wait_ready(self._timeout(timeout))

    async def await_ready(self, timeout: float | None = None) -> None:
        """:meth:`wait_ready`, awaited."""
        await self._running().await_ready(self._timeout(timeout))

    # -- the cluster -----------------------------------------------------------------------------

    @property
    def settings(self) -> Settings:
        """The frozen settings."""
        return self._settings

    def plugin_options(self, model: type[Options]) -> Options:
        """The options of a plugin, read from the settings with the plugin's own model.

        :raises ConfigError: naming each bad one, its value and what is accepted.
        """
        if not issubclass(model, PluginOptions):
            raise TypeError(f"{model.__name__} is no subclass of PluginOptions")
        chosen: Any = model
        options: Options = read_options(self._settings, chosen)
        return options

    @property
    def server_id(self) -> str:
        """This server's id in the Raft configuration."""
        return self._running().components.server_id

    @property
    def address(self) -> str:
        """The ``host:port`` that this node tells others."""
        return self._running().components.address

    @property
    def http_address(self) -> str:
        """The ``host:port`` of the HTTP server, "" without one."""
        return self._running().http_address

    @property
    def is_leader(self) -> bool:
        """Whether this node believes to lead now (a hint; only a commit proves it)."""
        return self._running().is_leader

    @property
    def leader(self) -> tuple[str, str]:
        """Server id and address of the known leader, or two empty strings."""
        return self._running().leader

    def ready(self) -> tuple[bool, str]:
        """Whether requests can be served, and if not, the sentence that says why."""
        host = self._host
        if host is None:
            return False, "the node is not running"
        self._check_process()
        return host.ready()

    def notes(self) -> dict[str, str]:
        """What is wrong though the node may serve: a sentence by its subject."""
        host = self._host
        return {} if host is None else host.notes()

    def details(self) -> dict[str, Any]:
        """This node's entry in ``GET /raft``'s ``nodes``."""
        return self._running().details()

    def cluster_view(self, timeout: float | None = None) -> dict[str, Any]:
        """The whole JSON of ``GET /raft``: every member asked, the silent ones with ``error``."""
        return self._waited(self._running().view_of_cluster(timeout))

    def members(self) -> list[dict[str, Any]]:
        """The configuration in use: ``id``, ``address``, ``suffrage``, ``leader`` of each.

        :raises NotReady: this node is in no cluster, or has not received its members yet.
        """
        return self._running().members()

    def add_member(
        self, server_id: str, address: str, voter: bool = True, timeout: float | None = None
    ) -> None:
        """Add a server: as a nonvoter, and as a voter once it has caught up."""
        self._waited(self._running().addition(server_id, address, voter, self._timeout(timeout)))

    def remove_member(self, server_id: str, timeout: float | None = None) -> None:
        """Remove a server from the configuration."""
        self._waited(self._running().change_of("remove_server", server_id, self._timeout(timeout)))

    def promote_member(self, server_id: str, timeout: float | None = None) -> None:
        """Make a nonvoter a voter."""
        self._waited(self._running().change_of("promote", server_id, self._timeout(timeout)))

    def transfer_leadership(self, to: str = "", timeout: float | None = None) -> str:
        """Hand leadership to ``to`` or the most up-to-date voter; returns the new leader's id."""
        return self._waited(self._running().transfer_to(to, self._timeout(timeout)))

    def take_snapshot(self, timeout: float | None = None) -> dict[str, Any]:
        """Take a snapshot of this node's state now and compact its log; returns its description.

        A node takes them by itself as the log grows; this is for backups.

        :raises NotReady: nothing was applied yet. :raises StorageError: it could not be written.
        """
        return self._waited(self._running().snapshot_of_now(self._timeout(timeout)))

    def snapshots(self) -> list[dict[str, Any]]:
        """The snapshots this node holds, newest first: ``id``, ``index``, ``term``, ``size``."""
        return self._running().snapshots()

    def open_snapshot(self, snapshot_id: str) -> tuple[dict[str, Any], Iterator[bytes]]:
        """One of :meth:`snapshots`, and the bytes of a file that ``braft snapshot restore`` takes.

        The description has ``clusterName`` and ``clusterID`` besides. Nothing is read before the
        iterator is used, from any one thread; deleting the snapshot meanwhile does not disturb it.

        :raises StorageError: there is none of that id.
        :raises StorageCorrupt: while iterating: it is damaged. What came until then is no backup.
        """
        return self._running().open_snapshot(snapshot_id)

    def on_leader_change(self, callback: Callable[[str, int], None]) -> Callable[[], None]:
        """Call ``callback(leader_id, term)`` on each change ("" = none known).

        On the events thread, where it may block. Returns a function that ends it.
        """
        return self._running().events.listen("leader", callback)

    def _http_server(self, components: Components) -> HTTPServer | None:
        if not self._settings.http:
            return None
        extend = partial(components.plugins.extend_http, node=self)
        files = self._settings.http_tls_files
        served = ServedCertificate(*files) if files is not None else None
        keyring, port = components.tokens.keyring, components.ports.http
        return HTTPServer(self, components.host, port, extend, keyring, served, legacy_routes)

    # -- plumbing --------------------------------------------------------------------------------

    def _check_process(self) -> None:
        if generation() != self._generation:
            raise ForkedProcess(
                f"this node belongs to process {self._pid}; after fork() a child makes its own",
                pid=self._pid,
            )

    def _running(self) -> NodeThreads:
        self._check_process()
        if self._host is None:
            raise Stopped("the node is not running; call start() or use it in a with statement")
        return self._host

    def _timeout(self, timeout: float | None) -> float:
        return seconds(timeout, self._settings.request_timeout)

    def _execute(
        self,
        client_session: ClientSession,
        service: str,
        command: str,
        args: Args,
        timeout: float | None,
    ) -> Any:
        request = self._command(client_session, service, command, args, timeout, None)
        try:
            self._running().execute(request)
            return self._wait(request)
        finally:
            request.finish()

    async def _aexecute(
        self,
        client_session: ClientSession,
        service: str,
        command: str,
        args: Args,
        timeout: float | None,
    ) -> Any:
        loop = asyncio.get_running_loop()
        request = self._command(client_session, service, command, args, timeout, loop)
        try:
            self._running().execute(request)
            return await request.awaitable
        finally:
            request.finish()

    def _command(
        self,
        client_session: ClientSession,
        service: str,
        command: str,
        args: Args,
        timeout: float | None,
        loop: asyncio.AbstractEventLoop | None,
    ) -> SessionCommand:
        components = self._running().components
        components.machine.check_call(service, command, len(args))
        data = encode_command(components.serializer, service, command, list(args))
        limit = self._settings.max_value_bytes
        if len(data) > limit:
            raise TooLarge(
                f"command {service}.{command} has {len(data)} bytes; the limit is {limit} "
                "(BRAFT_MAX_VALUE_BYTES)",
                size=len(data),
                limit=limit,
            )
        return SessionCommand(client_session, data, self._timeout(timeout), loop)

    def _query(
        self,
        service: str,
        query: str,
        args: tuple[Any, ...],
        timeout: float | None,
        loop: asyncio.AbstractEventLoop | None,
    ) -> Query:
        return Query(service, query, args, self._timeout(timeout), loop)

    def _wait(self, request: Request) -> Any:
        check_may_block()
        try:
            return request.blocking.result(max(0.0, request.remaining()) + _GRACE)
        except concurrent.futures.TimeoutError:
            raise OutcomeUnknown("the runtime did not answer; the outcome is unknown") from None

    def _watch_distribution(self, callback: Callable[..., None]) -> Callable[[], None]:
        return self._running().watch_distribution(callback)


def _split(
    services: Iterable[str | Service | type[Service]] | None,
) -> tuple[tuple[str, ...] | None, list[Service]]:
    """Names, which are a setting, apart from classes and instances, which are the caller's own."""
    if services is None:
        return None, []
    given = [services] if isinstance(services, str) else list(services)
    names = [item for item in given if isinstance(item, str)]
    own = [
        item() if isinstance(item, type) else item for item in given if not isinstance(item, str)
    ]
    return (tuple(names) or None), own
