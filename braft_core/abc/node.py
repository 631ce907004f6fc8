"""The node, as plugins see it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel

from braft_core.abc.service import Service
from braft_core.cluster_types import (
    Consistency,
    Leader,
    Member,
    Readiness,
    SnapshotBackup,
    SnapshotInfo,
)
from braft_core.handles import Distribute, Session
from braft_core.kv import KV
from braft_core.recipes import (
    Election,
    Leadership,
    Lock,
    Party,
    Rendezvous,
    Semaphore,
    Transaction,
)
from braft_core.store import Held, Lease, NodeStore
from braft_core.store.keys import Bytes

__all__ = ["NodeAPI", "NodeHandles"]

Options = TypeVar("Options", bound=BaseModel)
ServiceT = TypeVar("ServiceT", bound=Service)
_T = TypeVar("_T")


class NodeHandles(Protocol):
    """What a node makes for one caller, to be closed by it."""

    def session(self) -> Session:
        """Return a client session of your own, for a ``with`` statement."""

    def lease(self, ttl: float = 10.0) -> Lease:
        """Return a lease of the store, see :meth:`braft_core.Node.lease`."""

    def lock(
        self,
        name: str,
        *,
        ttl: float = 10.0,
        wait: float | None = None,
        cancel: bool = True,
    ) -> Lock:
        """Return a lock of the cluster, see :meth:`braft_core.Node.lock`."""

    def election(
        self,
        name: str,
        *,
        value: Bytes = b"",
        ttl: float = 10.0,
        wait: float | None = None,
        cancel: bool = True,
    ) -> Election:
        """Return an election of the cluster, see :meth:`braft_core.Node.election`."""

    def leadership(self, *, wait: float | None = None, cancel: bool = True) -> Leadership:
        """Return this node's leadership, see :meth:`braft_core.Node.leadership`."""

    def semaphore(
        self,
        name: str,
        seats: int,
        *,
        ttl: float = 10.0,
        wait: float | None = None,
        cancel: bool = True,
    ) -> Semaphore:
        """Return a seat of a semaphore, see :meth:`braft_core.Node.semaphore`."""

    def rendezvous(
        self,
        name: str,
        n: int,
        *,
        ttl: float = 10.0,
        wait: float | None = None,
        cancel: bool = True,
    ) -> Rendezvous:
        """Return a meeting of processes, see :meth:`braft_core.Node.rendezvous`."""

    def party(
        self, name: str, *, value: Bytes = b"", ttl: float = 10.0, cancel: bool = True
    ) -> Party:
        """Return a party of the cluster, see :meth:`braft_core.Node.party`."""

    def singleton(self, function: Callable[[Lock], _T], *, name: str, ttl: float = 10.0) -> _T:
        """Run a function in one process at a time, see :meth:`braft_core.Node.singleton`."""

    async def asingleton(
        self, function: Callable[[Lock], Awaitable[_T]], *, name: str, ttl: float = 10.0
    ) -> _T:
        """Call :meth:`singleton` asynchronously, with an asynchronous function."""

    def transaction(
        self,
        function: Callable[[Transaction], _T],
        *,
        attempts: int = 16,
        if_held: Held | None = None,
        timeout: float | None = None,
    ) -> _T:
        """Read and write as one step, see :meth:`braft_core.Node.transaction`."""

    async def atransaction(
        self,
        function: Callable[[Transaction], Awaitable[_T]],
        *,
        attempts: int = 16,
        if_held: Held | None = None,
        timeout: float | None = None,
    ) -> _T:
        """Call :meth:`transaction` asynchronously, with an asynchronous function."""


class NodeAPI(NodeHandles, Protocol):
    """A :class:`braft_core.Node` for HTTP routes, CLI commands and observers.

    It has everything of a node but its lifecycle: braft starts and stops it.

    Methods that wait may be called from any thread except the node's own loop and that of its HTTP
    server. HTTP routes await the methods with an ``a`` before their name. ``timeout`` is in
    seconds; ``None`` means the setting ``request_timeout``.
    """

    kv: KV
    store: NodeStore
    distribute: Distribute

    @property
    def settings(self) -> Any:
        """The frozen settings (``braft_core.config.Settings``)."""

    def plugin_options(self, model: type[Options]) -> Options:
        """Return the options of a plugin that declares them by ``braft_register_options``.

        :raises ConfigError: one is wrong, which a node that has started excludes.
        """

    @property
    def server_id(self) -> str:
        """This server's id in the Raft configuration."""

    @property
    def address(self) -> str:
        """The ``host:port`` that this node advertises."""

    @property
    def http_address(self) -> str | None:
        """The ``host:port`` of the HTTP server, or ``None`` without one."""

    @property
    def is_leader(self) -> bool:
        """Whether this node believes to lead now (a hint; only a commit proves it)."""

    @property
    def leader(self) -> Leader | None:
        """The leader that this node knows, or ``None``."""

    @property
    def state(self) -> str:
        """``new``, ``running``, ``failed`` or ``stopped``."""

    def ready(self) -> Readiness:
        """Return whether requests can be served, and if not, why. Checks the data directory."""

    async def aready(self) -> Readiness:
        """Call :meth:`ready` asynchronously."""

    def wait_ready(self, timeout: float | None = None) -> None:
        """Wait until the node is in a cluster whose leader it knows.

        :raises NotReady: not in time; the message says what is missing.
        """

    async def await_ready(self, timeout: float | None = None) -> None:
        """Call :meth:`wait_ready` asynchronously."""

    def notes(self) -> dict[str, str]:
        """Return what is wrong though the node may serve: a message by subject."""

    def execute(self, service: str, command: str, *args: Any, timeout: float | None = None) -> Any:
        """Replicate a command, wait until it is applied, return its answer.

        :raises NotApplied: it was surely not applied. :raises OutcomeUnknown: it may have been.
        :raises Rejected: it was applied and answered with an error.
        """

    async def aexecute(
        self, service: str, command: str, *args: Any, timeout: float | None = None
    ) -> Any:
        """Call :meth:`execute` asynchronously."""

    def query(
        self,
        service: str,
        query: str,
        *args: Any,
        consistency: Consistency = "linearizable",
        max_staleness: float | None = None,
        timeout: float | None = None,
    ) -> Any:
        """Read from a service, see :meth:`braft_core.Node.query`."""

    async def aquery(
        self,
        service: str,
        query: str,
        *args: Any,
        consistency: Consistency = "linearizable",
        max_staleness: float | None = None,
        timeout: float | None = None,
    ) -> Any:
        """Call :meth:`query` asynchronously."""

    @property
    def staleness(self) -> float:
        """How many seconds old this node's own state may be; infinity if that is unknown."""

    def service(self, service: type[ServiceT]) -> ServiceT:
        """Return a handle of a service, typed as its class, see :meth:`braft_core.Node.service`."""

    def barrier(self, timeout: float | None = None) -> None:
        """On the leader, wait until everything committed before is applied here."""

    async def abarrier(self, timeout: float | None = None) -> None:
        """Call :meth:`barrier` asynchronously."""

    def details(self) -> dict[str, Any]:
        """Return this node's entry in the ``nodes`` of ``GET /raft``."""

    def cluster_view(self, timeout: float | None = None) -> dict[str, Any]:
        """Return the JSON of ``GET /raft``: all members' details, or why one did not answer."""

    async def acluster_view(self, timeout: float | None = None) -> dict[str, Any]:
        """Call :meth:`cluster_view` asynchronously."""

    def members(self) -> list[Member]:
        """Return the configuration in use.

        :raises NotReady: the node is in no cluster, or has not received its members yet.
        """

    def add_member(
        self, server_id: str, address: str, voter: bool = True, timeout: float | None = None
    ) -> None:
        """Add a server as a nonvoter, and make it a voter once it has caught up."""

    async def aadd_member(
        self, server_id: str, address: str, voter: bool = True, timeout: float | None = None
    ) -> None:
        """Call :meth:`add_member` asynchronously."""

    def remove_member(self, server_id: str, timeout: float | None = None) -> None:
        """Remove a server from the configuration."""

    async def aremove_member(self, server_id: str, timeout: float | None = None) -> None:
        """Call :meth:`remove_member` asynchronously."""

    def promote_member(self, server_id: str, timeout: float | None = None) -> None:
        """Make a nonvoter a voter."""

    async def apromote_member(self, server_id: str, timeout: float | None = None) -> None:
        """Call :meth:`promote_member` asynchronously."""

    def transfer_leadership(self, to: str | None = None, timeout: float | None = None) -> str:
        """Hand leadership to ``to`` or the most up-to-date voter; return the new leader's id."""

    async def atransfer_leadership(
        self, to: str | None = None, timeout: float | None = None
    ) -> str:
        """Call :meth:`transfer_leadership` asynchronously."""

    def on_leader_change(self, callback: Callable[[str | None, int], None]) -> Callable[[], None]:
        """Call ``callback(leader_id, term)`` on each change; return a function that ends it."""

    def take_snapshot(self, timeout: float | None = None) -> SnapshotInfo:
        """Take a snapshot of this node's state now."""

    async def atake_snapshot(self, timeout: float | None = None) -> SnapshotInfo:
        """Call :meth:`take_snapshot` asynchronously."""

    def snapshots(self) -> list[SnapshotInfo]:
        """Return the snapshots of this node, newest first. Reads the disk."""

    async def asnapshots(self) -> list[SnapshotInfo]:
        """Call :meth:`snapshots` asynchronously."""

    def open_snapshot(self, snapshot_id: str) -> SnapshotBackup:
        """Return a snapshot and the bytes of its backup file.

        :raises StorageError: there is no such snapshot.
        """

    async def aopen_snapshot(self, snapshot_id: str) -> SnapshotBackup:
        """Call :meth:`open_snapshot` asynchronously. Iterating over ``chunks`` blocks."""
