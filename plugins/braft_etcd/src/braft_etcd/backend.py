"""What the handlers need of a node: the store, who is who, and the header of answers."""

from __future__ import annotations

import hashlib
from typing import Any

from braft_core.abc import NodeAPI
from braft_core.http2 import Call
from braft_etcd.wire import Values

__all__ = ["Backend", "member_id"]


def member_id(name: str) -> int:
    """Return the number by which clients know a server or a cluster, never 0.

    It follows from braft's id, so every node computes the same.
    """
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") or 1


class Backend:
    """One node. Its methods belong to the loop of the front end; :meth:`refresh` to any thread."""

    def __init__(self, node: NodeAPI, version: str) -> None:
        self.node = node
        #: The version of etcd that clients are answered.
        self.version = version
        self.member_id = member_id(node.server_id)
        self._patience: float = node.settings.request_timeout
        self._cluster_id = 0
        self._term = 0

    def refresh(self) -> dict[str, Any]:
        """Take over the cluster and its term; return the node's details. Costs milliseconds."""
        details = self.node.details()
        if details["clusterID"]:
            self._cluster_id = member_id(details["clusterID"])
        self._term = max(self._term, details["term"])
        return details

    def leader_changed(self, _leader: str | None, term: int) -> None:
        """Note another leader; the cluster may be another one, too."""
        self._term = max(self._term, term)
        self.refresh()

    def header(self, revision: int) -> Values:
        """Return the header of an answer."""
        if not self._cluster_id:
            self.refresh()
        return {
            "cluster_id": self._cluster_id,
            "member_id": self.member_id,
            "revision": revision,
            "raft_term": self._term,
        }

    @property
    def revision(self) -> int:
        """The revision that this node has applied."""
        return self.node.store.watchers.applied_revision

    async def execute(self, call: Call, command: str, *args: Any) -> Any:
        """Execute a command of the store.

        :raises BraftError: see :func:`braft_etcd.errors.failed`.
        """
        return await self.node.aexecute("store", command, *args, timeout=self.timeout(call))

    async def query(self, call: Call, query: str, *args: Any) -> Any:
        """Read from the store, linearizably."""
        return await self.node.aquery("store", query, *args, timeout=self.timeout(call))

    async def stale(self, query: str, *args: Any) -> Any:
        """Read the state of this node."""
        return await self.node.aquery("store", query, *args, consistency="stale")

    def timeout(self, call: Call) -> float:
        """Return for how long a caller waits: its deadline, or the node's setting."""
        left = call.time_remaining()
        return self._patience if left is None else max(0.001, min(left, self._patience))
