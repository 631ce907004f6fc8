"""Invariants of the bootstrap: one cluster per node, never two clusters.

Checks what is durable on all disks at the moment when a node starts Raft.
"""

from __future__ import annotations

from collections.abc import Mapping

from braft_core.raft.types import Configuration
from braft_testing.simulation.disk import Disk
from braft_testing.simulation.errors import InvariantBroken

__all__ = ["BootstrapInvariants"]


class BootstrapInvariants:
    """Remembers the first cluster, and the cluster of each server."""

    def __init__(self, disks: Mapping[str, Disk], expect: int) -> None:
        self._disks = disks
        self._expect = expect
        #: The cluster, "" before there is one.
        self.cluster_id = ""
        self._configuration: Configuration | None = None
        self._of: dict[str, str] = {}

    def started(self, server: str, cluster_id: str, configuration: Configuration) -> None:
        """Check a node that starts Raft from a bootstrap proposal.

        :raises InvariantBroken: if the node started another cluster, the configuration differs, or
            a member has not accepted it.
        """
        self._belongs(server, cluster_id)
        known = self._configuration or configuration
        if known != configuration or len(configuration.servers) != self._expect:
            raise InvariantBroken(
                "one bootstrap configuration", f"{server}: {configuration}, elsewhere {known}"
            )
        self._configuration = configuration
        for member in configuration.ids:
            disk = self._disks[member]
            accepted = disk.bootstrap_record.accepted
            held = accepted.cluster_id if accepted is not None else ""
            if cluster_id not in (held, disk.cluster_id):
                raise InvariantBroken(
                    "every member accepted the bootstrap proposal",
                    f"{server} starts {cluster_id}, {member} accepted {held or 'nothing'}",
                )

    def joined(self, server: str, cluster_id: str) -> None:
        """Check a node that joined a cluster.

        :raises InvariantBroken: if it is a second cluster.
        """
        self._belongs(server, cluster_id)

    def _belongs(self, server: str, cluster_id: str) -> None:
        first = self._of.setdefault(server, cluster_id)
        if first != cluster_id:
            raise InvariantBroken(
                "one cluster per node", f"{server} was in {first}, and starts {cluster_id}"
            )
        self.cluster_id = self.cluster_id or cluster_id
        if self.cluster_id != cluster_id:
            raise InvariantBroken(
                "at most one cluster", f"{server} starts {cluster_id} beside {self.cluster_id}"
            )
