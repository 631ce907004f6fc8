"""What a node says of itself: ready or why not, its members, its entry of ``GET /raft``.

Reads the components of a running node and changes none. Must not know who asks.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from braft_core.compat.go_braft.build_info import BuildInfo, find_build_info
from braft_core.raft import Role
from braft_core.runtime import clock
from braft_core.runtime.status import Status

if TYPE_CHECKING:
    from braft_core.runtime.engine import Engine

__all__ = ["NodeView"]


class NodeView:
    """The state of one node in plain values. Any thread; :meth:`cluster` on the loop."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        settings = engine.components.settings
        build = BuildInfo(settings.app_version, settings.build_time, settings.git_commit)
        self._status = Status(engine.components, build.or_else(find_build_info()))

    def ready(self) -> tuple[bool, str]:
        """Whether requests can be served, and if not, why."""
        driver, fault = self._engine.driver, self._engine.applier.fault
        if fault:
            return False, fault
        if driver is None:
            return False, self._engine.waiting() or "starting"
        if self._engine.membership.removed or not driver.core.leader:
            return False, self._engine.waiting() or "no leader is known"
        # Looked at once: it may pass while a thread stands here.
        if (trouble := driver.disk_trouble) is not None:
            return False, f"no writes: {trouble.message}"
        stalled = (
            self._engine.writer.stalled(clock.monotonic())
            if self._engine.writer is not None
            else ""
        )
        return (False, f"no writes: {stalled}") if stalled else (True, "")

    def notes(self) -> dict[str, str]:
        """What is wrong though the node may serve: a sentence by its subject."""
        notes, writer = dict(self._engine.membership.notes), self._engine.writer
        if (stop := self._engine.applier.stopped) is not None:
            notes["applying"] = stop.message
        if differing := self._engine.digests.comparison.sentence:
            notes["state"] = differing
        if writer is not None and (slow := writer.slow(clock.monotonic())):
            notes["disk"] = slow
        if trouble := self._engine.components.tokens.trouble:
            notes["tokens"] = trouble
        driver = self._engine.driver
        if driver is not None and (broken := driver.violations.message(clock.monotonic())):
            notes["peers"] = broken
        return {**notes, **self._engine.components.transport.notes}

    def _refused(self) -> dict[str, int]:
        """What the transport did not take since the start, by why."""
        counters = self._engine.components.transport.counters.copy()
        return {
            name.removeprefix("refused_"): count
            for name, count in sorted(counters.items())
            if name.startswith("refused_")
        }

    def members(self) -> list[dict[str, Any]]:
        """The configuration in use, one entry a server."""
        leader = self._engine.leader[0]
        return [
            {
                "id": server.id,
                "address": server.address,
                "suffrage": server.suffrage.name.capitalize(),
                "leader": server.id == leader,
            }
            for server in self._engine.configuration.servers
        ]

    def details(self) -> dict[str, Any]:
        """This node's entry of ``GET /raft``."""
        driver = self._engine.driver
        ready, why = self.ready()
        core = driver.core if driver is not None else None
        return self._status.details(
            role=core.role if core is not None else Role.FOLLOWER,
            leader_address=self._engine.leader[1],
            configuration=self._engine.configuration,
            contacts=[str(contact) for contact in self._engine.membership.contacts],
            addresses=[self._engine.components.address],
            applied=self._engine.applier.applied_index,
            error="" if ready else why,
            extra={
                "clusterID": self._engine.identity.cluster_id,
                "term": core.current_term if core is not None else 0,
                "commitIndex": core.commit_index if core is not None else 0,
                "appliedIndex": self._engine.applier.applied_index,
                "lastIndex": core.last_index if core is not None else 0,
                "lastWriteSeconds": round(driver.last_write_seconds, 6) if driver else 0.0,
                "autopilot": self._engine.membership.autopilot,
                "wallClock": time.time(),
                "notes": self.notes(),
                "refused": self._refused(),
                "featureLevel": self._engine.components.cluster.agreed.level,
                "services": self._engine.components.machine.capabilities.digests(),
                "stateDigests": self._engine.digests.shown(),
                "foreign": [
                    {"address": f.address, "clusterID": f.cluster_id, "voters": f.voters}
                    for f in self._engine.membership.foreign
                ],
            },
        )

    async def cluster(self, timeout: float) -> dict[str, Any]:
        """The whole of ``GET /raft``."""
        ready, why = self.ready()
        return await self._status.view(
            own=self.details(),
            servers=self._engine.configuration.servers,
            leader=self._engine.leader,
            call=self._engine.call,
            timeout=timeout,
            extra={"clusterID": self._engine.identity.cluster_id, "waiting": "" if ready else why},
        )
