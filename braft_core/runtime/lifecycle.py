"""The threads of a node and the calls into its loop: start, requests, stop.

Every method may be called from any thread but the node's loop.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from braft_core.addresses import join_host_port
from braft_core.cluster_types import Consistency, Member
from braft_core.compat.go_braft.server_id import short_id
from braft_core.errors import (
    BraftError,
    ConfigError,
    InvalidRequest,
    NotReady,
    Stopped,
    TooStale,
)
from braft_core.identity import first_host_address, host_addresses
from braft_core.runtime import clock
from braft_core.runtime.address_changes import AddressTracker
from braft_core.runtime.admin import Admin
from braft_core.runtime.applier import Applier
from braft_core.runtime.argument_checks import seconds
from braft_core.runtime.components import Components
from braft_core.runtime.events import Events
from braft_core.runtime.front_ends import FrontEnds
from braft_core.runtime.gc_freeze import freeze_garbage_collector
from braft_core.runtime.leadership import LeadershipTerms
from braft_core.runtime.lease_keeper import LeaseKeeper
from braft_core.runtime.node_snapshots import NodeSnapshots
from braft_core.runtime.requests import Command, Query
from braft_core.runtime.security_check import security_warning
from braft_core.runtime.server import Server
from braft_core.runtime.sessions import Sessions
from braft_core.runtime.watch_hub import WatchHub
from braft_core.runtime.writer import as_storage_error

if TYPE_CHECKING:
    from braft_core.abc import NodeAPI

__all__ = ["NodeThreads"]

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


class HTTPFrontend(Protocol):
    """The HTTP server of a node."""

    @property
    def port(self) -> int:
        """Where it serves."""

    def start(self) -> None:
        """Begin to serve."""

    @property
    def trouble(self) -> str:
        """What is wrong although it serves, or ""."""

    def refresh(self) -> None:
        """Reload certificates that have changed."""

    def drain(self) -> None:
        """Reject new requests, while the node still serves those that wait."""

    def stop(self) -> None:
        """Stop, leaving no thread."""


class NodeThreads:
    """Owns the threads and components of one running node.

    :param components: its parts, with an open storage; closed if this raises.
    :param front: makes the HTTP server, or ``None`` for a node without one.
    """

    def __init__(
        self,
        components: Components,
        node: NodeAPI,
        front: Callable[[Components], HTTPFrontend | None],
    ) -> None:
        self.components = components
        self.settings = components.settings
        self._timing = timing = components.timing
        platform, name = components.platform, f"braft-{components.ports.raft}"
        self.events = Events(f"{name}-events", platform)
        self._node = node
        self._applier = Applier(
            self.components.machine,
            f"{name}-applier",
            self._on_machine_failure,
            self._on_apply_stop,
            platform,
        )
        if self.settings.gc_freeze:
            # The state from a snapshot is new to the collector.
            self._applier.call_when_replaced(freeze_garbage_collector)
        try:
            self._front = front(self.components)
            self._server = Server(self.components, self._applier, self.events, node, self._on_fatal)
            self.snapshots = NodeSnapshots(self._server)
            self._address_tracker = AddressTracker(self.components.advertised.ip)
            self._loop = platform.loop(f"{name}-loop", timing.executor_stop)
            self._front_ends = FrontEnds(components.plugins, platform, f"{name}-serve", timing)
        except BaseException:
            # Release the lock of the data directory: the node was not made.
            self.components.storage.close()
            raise
        looks = [
            self._look_at_store,
            self._look_at_snapshots,
            self.components.tokens.refresh,
            self._look_at_transport,
            self._front_ends.refresh,
        ]
        if self.components.follows:
            looks.append(self._look_at_addresses)
        self._watch = platform.checks(f"{name}-watch", looks, timing.check_interval)
        self._stopping = threading.Lock()
        self._closed = False
        #: The failure that ended the node.
        self.failure: BraftError | None = None

    # -- life ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start everything, or raise and stop what was started."""
        danger = security_warning(self.settings, self.components.host)
        if danger:
            asked_for = self.settings.insecure is True
            _log.log(logging.INFO if asked_for else logging.WARNING, "%s", danger)
        try:
            self._loop.start()
            self._applier.start()
            # The first event; reported only once the start has succeeded.
            self._notify("braft_on_started")
            self._loop.run(self._server.start())
            self._front_ends.start(self._node, self.components.tokens.keyring)
            if self._front is not None:
                self._front.start()
            if self.settings.gc_freeze:
                freeze_garbage_collector()
            self._watch.start()
            self.events.start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End everything in order. Idempotent."""
        with self._stopping:
            if self._loop.loop.is_closed():
                return
            name, address = short_id(self.components.server_id), self.components.advertised.address
            _log.info("stopping: server %s at %s", name, address)
            self._notify("braft_on_stopping")
            if self._front is not None:
                self._front.drain()
            self._front_ends.stop()
            try:
                if self._loop.started:
                    self._loop.run(self._server.stop(), self._timing.server_stop)
            except Exception as error:  # noqa: BLE001 - a plugin's end may raise anything
                _log.error("the node did not stop in order: %r", error)
            self._closed = True
            self._server.condition.notify()
            # After the server, which has answered all waiting requests.
            if self._front is not None:
                self._front.stop()
            join = self._timing.thread_join
            self._applier.stop(join)
            self._server.close(join)
            self._loop.stop(join)
            self.events.stop(join)
            self._watch.stop(join)
            self.components.storage.close()
            _log.info("stopped: server %s at %s", name, address)

    def refresh(self) -> None:
        """Run the periodic checks now: certificates, addresses, the data directory."""
        _log.info("checking certificates, addresses and data directory again")
        self._watch.run_now()

    def _notify(self, event: str, **arguments: Any) -> None:
        plugins, node = self.components.plugins, self._node
        self.events.call(lambda: plugins.notify(event, node=node, **arguments))

    def _on_machine_failure(self, error: BaseException) -> None:
        """*Applier.* End the node: without its state machine it must not lead or vote."""
        self._give_up(error)

    def _look_at_store(self) -> None:
        """*Any thread.* End the node if its files are no longer where the next start looks."""
        try:
            self.components.storage.verify()
        except Exception as error:  # noqa: BLE001 - as in the writer
            self._give_up(as_storage_error(error))

    def _look_at_snapshots(self) -> None:
        replica = self._server.replica
        if self.failure is None and replica is not None:
            replica.snapshotter.verify()

    def _look_at_transport(self) -> None:
        self.components.transport.refresh()
        if self._front is not None:
            self._front.refresh()

    def _look_at_addresses(self) -> None:
        ip = self._address_tracker.update(host_addresses(), self._best_address())
        if ip:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.loop.call_soon_threadsafe(self._server.move, ip)

    def _best_address(self) -> str:
        try:
            return first_host_address(self.settings.interface)
        except ConfigError:  # the interface has none at the moment
            return ""

    def _give_up(self, error: BaseException) -> None:
        self._on_fatal(error)
        with suppress(RuntimeError):  # the loop has ended
            self._loop.loop.call_soon_threadsafe(self._server.give_up, error)

    def _on_apply_stop(self) -> None:
        """*Applier.* Update campaigning: applying has stopped, or has resumed."""
        with suppress(RuntimeError):  # the loop has ended
            self._loop.loop.call_soon_threadsafe(self._server.update_campaign_enabled)

    def _on_fatal(self, error: BaseException) -> None:
        if self.failure is None:
            _log.critical("the node cannot go on: %s", error)
            self.failure = (
                error if isinstance(error, BraftError) else Stopped(f"the node failed: {error!r}")
            )
            self._server.condition.notify()

    # -- requests --------------------------------------------------------------------------------

    def submit(self, request: Command | Query) -> None:
        """Take a request; the answer comes by its future."""
        self.check_open()
        self._server.submit(request)

    def check_open(self) -> None:
        """Return if requests are taken. :raises Stopped: the node has stopped, or stops."""
        if self.failure is not None:
            raise Stopped(f"the node has stopped: {self.failure.message}")
        if self._closed:
            raise Stopped("the node was stopped")

    @property
    def sessions(self) -> Sessions:
        """Client sessions."""
        return self._server.sessions

    @property
    def staleness(self) -> float:
        """See :attr:`Node.staleness`, and :mod:`braft_core.runtime.staleness` for the margins."""
        replica = self._server.replica
        return replica.driver.staleness if replica is not None else inf

    def read(
        self, query: Query, consistency: Consistency, max_staleness: float | None = None
    ) -> None:
        """Take a read."""
        if max_staleness is not None:
            self._check_staleness(consistency, max_staleness)
        if consistency in ("linearizable", "lease"):
            query.lease = consistency == "lease"
            self.submit(query)
        elif consistency == "stale":
            self.check_open()
            query.sent = True
            self._applier.read(0, [query])
        else:
            accepted = "linearizable, lease, stale"
            raise InvalidRequest(
                f"unknown consistency {consistency!r}; accepted: {accepted}",
                value=consistency,
                accepted=accepted,
            )

    def _check_staleness(self, consistency: str, limit: float) -> None:
        if consistency != "stale":
            raise InvalidRequest(
                f"max_staleness={limit:g} with consistency {consistency!r}; accepted: with 'stale'"
            )
        staleness = self.staleness
        # NaN compares as false: a limit that is no number is never met.
        if not staleness <= limit:
            known = (
                "it is not known how old" if staleness == inf else f"up to {staleness:.2f} s old"
            )
            raise TooStale(
                f"the state of this node is too old: {known}, and {limit:g} s are allowed",
                staleness=None if staleness == inf else staleness,
                limit=limit,
            )

    def barrier(self, timeout: float) -> Coroutine[Any, Any, None]:
        """See :meth:`Node.barrier`."""
        return self._server.barrier(timeout)

    def wait_ready(self, timeout: float) -> None:
        """See :meth:`Node.wait_ready`."""
        deadline = clock.monotonic() + timeout
        if not self._server.condition.wait_for(self._settled, deadline):
            raise self._not_ready(timeout)
        self.check_open()

    async def await_ready(self, timeout: float) -> None:
        """See :meth:`Node.await_ready`. On the caller's loop."""
        deadline = clock.monotonic() + timeout
        if not await self._server.condition.await_for(self._settled, deadline):
            raise self._not_ready(timeout)
        self.check_open()

    def _settled(self) -> bool:
        """Return whether waiting is over: the node is ready, or it has ended."""
        return self._closed or self.failure is not None or self.ready()[0]

    def _not_ready(self, timeout: float) -> NotReady:
        return NotReady(f"not ready after {timeout:g} s: {self.ready()[1]}")

    # -- the cluster -----------------------------------------------------------------------------

    @property
    def admin(self) -> Admin:
        """Changes of membership and leadership, as coroutines for the loop."""
        return self._server.admin

    @property
    def http_address(self) -> str:
        """Where HTTP is served, or ""."""
        return (
            join_host_port(self.components.advertised.ip, self._front.port) if self._front else ""
        )

    @property
    def is_leader(self) -> bool:
        """Whether this node believes to lead."""
        return self._server.is_leader

    @property
    def leader(self) -> tuple[str, str]:
        """Id and address of the known leader."""
        return self._server.leader

    def ready(self) -> tuple[bool, str]:
        """Whether requests can be served, and if not, why."""
        state = self._server.view.ready()
        if state[0] and self.failure is None:
            self._look_at_store()
        if self.failure is not None:
            return False, f"the node has stopped: {self.failure.message}"
        return state

    def notes(self) -> dict[str, str]:
        """Return what is wrong although the node may serve."""
        trouble = self._front.trouble if self._front is not None else ""
        notes = self._server.view.notes() | ({"HTTP": trouble} if trouble else {})
        return notes | self._front_ends.troubles

    def details(self) -> dict[str, Any]:
        """Return this node's entry of ``GET /raft``."""
        return self._server.view.details()

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Wait here for one of the coroutines below, which run on the node's loop."""
        return self._loop.run(work)

    async def awaited(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Wait for one of the coroutines below on the caller's loop."""
        return await self._loop.awaited(work)

    def view_of_cluster(self, timeout: float | None) -> Coroutine[Any, Any, dict[str, Any]]:
        """Return the whole of ``GET /raft``, as a coroutine for the loop."""
        return self._server.view.cluster(seconds(timeout, self._timing.view_timeout))

    def members(self) -> list[Member]:
        """Return the configuration in use. :raises NotReady: the node knows no configuration."""
        if members := self._server.view.members():
            return members
        raise NotReady(f"not ready: {self.ready()[1] or 'the members are not known yet'}")

    @property
    def lease_keeper(self) -> LeaseKeeper:
        """Renews the leases of this process."""
        return self._server.lease_keeper

    @property
    def leadership(self) -> LeadershipTerms:
        """The terms in which this node leads."""
        self.check_open()
        return self._server.leadership

    @property
    def watchers(self) -> WatchHub:
        """Watchers of the store."""
        self.check_open()
        return self._server.watchers

    def watch_distribution(
        self, callback: Callable[[Mapping[str, Any]], None]
    ) -> Callable[[], None]:
        """Call back with this node's share whenever it changes."""
        return self._server.distribution.watch(callback)
