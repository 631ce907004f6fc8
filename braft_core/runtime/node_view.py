"""The state of a node in plain values: readiness, members, its entry of ``GET /raft``.

Reads the parts of a running node and changes none.
"""

from __future__ import annotations

from typing import Any, Protocol

from braft_core.abc import Identity
from braft_core.cluster.membership import ClusterMembership
from braft_core.cluster_types import Member, Suffrage
from braft_core.compat.go_braft.build_info import BuildInfo, find_build_info
from braft_core.raft import Configuration, Role
from braft_core.raft.types import Suffrage as RaftSuffrage
from braft_core.runtime import clock
from braft_core.runtime.applier import Applier
from braft_core.runtime.components import Components
from braft_core.runtime.digests import StateDigests
from braft_core.runtime.replica import Replica
from braft_core.runtime.status import Status

__all__ = ["NodeView"]

_SUFFRAGE: dict[RaftSuffrage, Suffrage] = {
    RaftSuffrage.VOTER: "Voter",
    RaftSuffrage.NONVOTER: "Nonvoter",
    RaftSuffrage.STAGING: "Staging",
}


class _Server(Protocol):
    """What the view needs of the server."""

    @property
    def components(self) -> Components:
        """The components of the node."""

    @property
    def identity(self) -> Identity:
        """Who this node is."""

    @property
    def replica(self) -> Replica | None:
        """The member part, if the node is a member."""

    @property
    def applier(self) -> Applier:
        """Runs the services."""

    @property
    def membership(self) -> ClusterMembership:
        """Discovery, bootstrap and the member loop."""

    @property
    def digests(self) -> StateDigests:
        """The digests of the members' states."""

    @property
    def configuration(self) -> Configuration:
        """The configuration in use."""

    @property
    def leader(self) -> tuple[str, str]:
        """Id and address of the known leader."""

    def waiting(self) -> str:
        """Return why there is no cluster or no leader."""


class NodeView:
    """The state of one node in plain values. Any thread; :meth:`cluster` on the loop."""

    def __init__(self, server: _Server) -> None:
        self._server = server
        settings = server.components.settings
        build = BuildInfo(settings.app_version, settings.build_time, settings.git_commit)
        self._status = Status(server.components, build.or_else(find_build_info()))

    def ready(self) -> tuple[bool, str]:
        """Return whether requests can be served, and if not, why."""
        replica, fault = self._server.replica, self._server.applier.fault
        if fault:
            return False, fault
        if replica is None:
            return False, self._server.waiting() or "starting"
        if self._server.membership.removed or not replica.core.leader:
            return False, self._server.waiting() or "no leader is known"
        # Read once: the loop thread may clear it concurrently.
        if (trouble := replica.driver.disk_trouble) is not None:
            return False, f"no writes: {trouble.message}"
        stalled = replica.writer.stalled(clock.monotonic())
        return (False, f"no writes: {stalled}") if stalled else (True, "")

    def notes(self) -> dict[str, str]:
        """Return what is wrong although the node may serve: messages by subject."""
        notes, replica = dict(self._server.membership.notes), self._server.replica
        if (stop := self._server.applier.stopped) is not None:
            notes["applying"] = stop.message
        if differing := self._server.digests.comparison.message:
            notes["state"] = differing
        if replica is not None and (slow := replica.writer.slow(clock.monotonic())):
            notes["disk"] = slow
        if trouble := self._server.components.tokens.trouble:
            notes["tokens"] = trouble
        if replica is not None and (broken := replica.driver.violations.message(clock.monotonic())):
            notes["peers"] = broken
        return {**notes, **self._server.components.transport.notes}

    def _refused(self) -> dict[str, int]:
        """Return how many messages the transport rejected since the start, by reason."""
        counters = self._server.components.transport.counters.copy()
        return {
            name.removeprefix("refused_"): count
            for name, count in sorted(counters.items())
            if name.startswith("refused_")
        }

    def members(self) -> list[Member]:
        """Return the configuration in use."""
        leader = self._server.leader[0]
        return [
            Member(server.id, server.address, _SUFFRAGE[server.suffrage], server.id == leader)
            for server in self._server.configuration.servers
        ]

    def details(self) -> dict[str, Any]:
        """Return this node's entry of ``GET /raft``."""
        replica = self._server.replica
        ready, why = self.ready()
        core = replica.core if replica is not None else None
        return self._status.details(
            role=core.role if core is not None else Role.FOLLOWER,
            leader_address=self._server.leader[1],
            configuration=self._server.configuration,
            contacts=[str(contact) for contact in self._server.membership.contacts],
            addresses=[self._server.components.advertised.address],
            applied=self._server.applier.applied_index,
            error="" if ready else why,
            extra={
                "clusterID": self._server.identity.cluster_id,
                "term": core.current_term if core is not None else 0,
                "commitIndex": core.commit_index if core is not None else 0,
                "appliedIndex": self._server.applier.applied_index,
                "lastIndex": core.last_index if core is not None else 0,
                "lastWriteSeconds": (
                    round(replica.driver.last_write_seconds, 6) if replica is not None else 0.0
                ),
                "autopilot": self._server.membership.autopilot,
                "wallClock": clock.wall_ns() / 1e9,
                "notes": self.notes(),
                "refused": self._refused(),
                "featureLevel": self._server.components.cluster.agreed.level,
                "services": self._server.components.machine.capabilities.digests(),
                "stateDigests": self._server.digests.shown(),
                "foreign": [
                    {"address": f.address, "clusterID": f.cluster_id, "voters": f.voters}
                    for f in self._server.membership.foreign
                ],
            },
        )

    async def cluster(self, timeout: float) -> dict[str, Any]:
        """Return the whole of ``GET /raft``."""
        ready, why = self.ready()
        return await self._status.view(
            own=self.details(),
            servers=self._server.configuration.servers,
            leader=self._server.leader,
            call=self._server.components.transport.call,
            timeout=timeout,
            extra={"clusterID": self._server.identity.cluster_id, "waiting": "" if ready else why},
        )
