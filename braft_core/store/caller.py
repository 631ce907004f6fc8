"""What the store's handles need: a node, or a client of nodes."""

from __future__ import annotations

from typing import Any, Protocol

from braft_core.cluster_types import Consistency

__all__ = ["StoreCaller"]


class StoreCaller(Protocol):
    """Sends commands and queries to the service ``store``, and returns its answers."""

    def execute(self, service: str, command: str, *args: Any, timeout: float | None = None) -> Any:
        """Send a command; see :meth:`braft_core.Node.execute`."""

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
        timeout: float | None = None,
    ) -> Any:
        """Send a query; see :meth:`braft_core.Node.query`."""

    async def aquery(
        self,
        service: str,
        query: str,
        *args: Any,
        consistency: Consistency = "linearizable",
        timeout: float | None = None,
    ) -> Any:
        """Call :meth:`query` asynchronously."""
