"""The node, as plugins see it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel

__all__ = ["NodeAPI"]

Options = TypeVar("Options", bound=BaseModel)


class NodeAPI(Protocol):
    """The methods of :class:`braft_core.Node` that HTTP routes, CLI commands and observers use.

    Synchronous methods that wait may be called from any thread except the node's own loop and that
    of its HTTP server: HTTP routes await the methods with an ``a`` before their name.
    ``timeout`` is in seconds; ``None`` means the setting ``request_timeout``.
    """

    @property
    def settings(self) -> Any:
        """The frozen settings (``braft_core.config.Settings``)."""

    def plugin_options(self, model: type[Options]) -> Options:
        """The options of a plugin that declares them by ``braft_register_options``.

        :raises ConfigError: one is wrong, which a node that has started excludes.
        """

    @property
    def server_id(self) -> str:
        """This server's id in the Raft configuration."""

    @property
    def is_leader(self) -> bool:
        """Whether this node believes to lead now (a hint; only a commit proves it)."""

    @property
    def leader(self) -> tuple[str, str]:
        """Server id and address of the known leader, or two empty strings."""

    def ready(self) -> tuple[bool, str]:
        """Whether requests can be served, and if not, the sentence that says why."""

    def notes(self) -> dict[str, str]:
        """What is wrong though the node may serve: a sentence by its subject, such as
        ``rival cluster``; empty while there is nothing."""

    def execute(self, service: str, command: str, *args: Any, timeout: float | None = None) -> Any:
        """Replicate a command, wait until it is applied, return its answer.

        :raises NotApplied: it was surely not applied. :raises OutcomeUnknown: it may have been.
        :raises Rejected: it was applied and answered with an error.
        """

    def query(
        self,
        service: str,
        query: str,
        *args: Any,
        consistency: str = "linearizable",
        max_staleness: float | None = None,
        timeout: float | None = None,
    ) -> Any:
        """Read. ``consistency``: ``linearizable``, ``lease`` or ``stale``, see ``Node.query``."""

    async def aexecute(
        self, service: str, command: str, *args: Any, timeout: float | None = None
    ) -> Any:
        """Do what :meth:`execute` does, awaited, on any event loop."""

    async def aquery(
        self,
        service: str,
        query: str,
        *args: Any,
        consistency: str = "linearizable",
        max_staleness: float | None = None,
        timeout: float | None = None,
    ) -> Any:
        """Do what :meth:`query` does, awaited, on any event loop."""

    @property
    def staleness(self) -> float:
        """How many seconds old a stale read may be; infinity if that is not known."""

    def details(self) -> dict[str, Any]:
        """This node's entry in ``GET /raft``'s ``nodes``."""

    def cluster_view(self, timeout: float | None = None) -> dict[str, Any]:
        """The whole JSON of ``GET /raft``: every member asked, the silent ones with ``error``."""

    def members(self) -> list[dict[str, Any]]:
        """The current configuration: ``id``, ``address``, ``suffrage``, ``leader``.

        :raises NotReady: the node is in no cluster, or has not received its members yet.
        """

    def add_member(
        self, server_id: str, address: str, voter: bool = True, timeout: float | None = None
    ) -> None:
        """Add a server (as a nonvoter first; a voter once it has caught up)."""

    def remove_member(self, server_id: str, timeout: float | None = None) -> None:
        """Remove a server from the configuration."""

    def promote_member(self, server_id: str, timeout: float | None = None) -> None:
        """Make a nonvoter a voter."""

    def transfer_leadership(self, to: str = "", timeout: float | None = None) -> str:
        """Hand leadership to ``to`` or the most up-to-date voter; returns the new leader's id."""

    def take_snapshot(self, timeout: float | None = None) -> dict[str, Any]:
        """Take a snapshot of this node's state now: ``id``, ``index``, ``term``, ``size``."""

    async def acluster_view(self, timeout: float | None = None) -> dict[str, Any]:
        """Do what :meth:`cluster_view` does, awaited."""

    async def aadd_member(
        self, server_id: str, address: str, voter: bool = True, timeout: float | None = None
    ) -> None:
        """Do what :meth:`add_member` does, awaited."""

    async def aremove_member(self, server_id: str, timeout: float | None = None) -> None:
        """Do what :meth:`remove_member` does, awaited."""

    async def apromote_member(self, server_id: str, timeout: float | None = None) -> None:
        """Do what :meth:`promote_member` does, awaited."""

    async def atransfer_leadership(self, to: str = "", timeout: float | None = None) -> str:
        """Do what :meth:`transfer_leadership` does, awaited."""

    async def atake_snapshot(self, timeout: float | None = None) -> dict[str, Any]:
        """Do what :meth:`take_snapshot` does, awaited."""

    def snapshots(self) -> list[dict[str, Any]]:
        """The snapshots this node holds, newest first."""

    def open_snapshot(self, snapshot_id: str) -> tuple[dict[str, Any], Iterator[bytes]]:
        """One of them, described, and the bytes of its backup file, to be streamed anywhere.

        :raises StorageError: there is none of that id.
        """

    def on_leader_change(self, callback: Callable[[str, int], None]) -> Callable[[], None]:
        """Call ``callback(leader_id, term)`` on each change; returns a function that ends it."""
