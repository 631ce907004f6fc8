"""Recovery: after all faults have ended the cluster must recover in bounded virtual time.

Owns the liveness rules: one leader, a probe write commits, all members agree in log and state, and
then nothing changes any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from braft_core.raft.types import Role
from braft_testing.simulation.errors import InvariantBroken
from braft_testing.simulation.operators import fill
from braft_testing.simulation.server import Server

if TYPE_CHECKING:
    from braft_testing.simulation.world import World

__all__ = ["Recovery"]

_BOUND = 20.0
#: A proposal that no node holds any more is rejected and dropped after 30 s.
_BOOTSTRAP_BOUND = 60.0
#: Additional time, as a number of consecutive syncs: they may be slow for the whole run.
_SYNCS = 100
_POLL = 0.1
_ANSWER_BOUND = 1.0
#: Seconds between two upgrades.
_UPGRADE_INTERVAL = 0.3


class Recovery:
    """Heals a world and waits until it has recovered."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._calm_since = 0.0

    def run(self) -> None:
        """Heal, wait, and check that the cluster stays stable.

        :raises InvariantBroken: if the cluster does not recover in bounded virtual time.
        """
        world = self._world
        self._heal()
        bound = _BOUND + (_BOOTSTRAP_BOUND if world.plan.bootstrap else 0.0)
        bound += _SYNCS * world.sync_latencies.slowest
        if world.plan.autopilot is not None:
            bound += 2 * world.plan.autopilot.window
        deadline = world.scheduler.now + bound
        probe, missing = 0, "nothing tried"
        while missing or not probe:
            if world.scheduler.now > deadline:
                raise InvariantBroken("recovery", f"after {bound} s of calm: {missing}")
            if probe or not missing:  # first without a probe: a leader must commit what it finds
                probe = self._probe(probe)
            world.scheduler.run_until(world.scheduler.now + _POLL)
            missing = self._missing(probe)
        self._check_stability()

    def _heal(self) -> None:
        world = self._world
        world.trace.add("calm")
        world.calm = True
        self._calm_since = world.scheduler.now
        world.discovery.accurate = True
        world.network.calm()
        world.sync_latencies.calm()
        for client in world.clients.values():
            client.stopped = True
        for server in world.servers.values():
            server.disk.full = server.disk.unreadable = server.deaf = False
            server.disk.snapshots.damaged.clear()
            server.clock.adjust(world.scheduler.now, rate=1.0)
            server.clock_changed()
            server.resume()
            if not server.up:
                server.start()
        self._upgrade()

    def _upgrade(self) -> None:
        """Upgrade all servers to the newest version, one after the other."""
        world = self._world
        behind = [s for s in world.servers.values() if s.version < world.newest and not s.lost]
        for place, server in enumerate(behind):
            world.scheduler.after(place * _UPGRADE_INTERVAL, self._renew, server)

    def _renew(self, server: Server) -> None:
        server.version = self._world.newest
        self._world.trace.add(f"{server.id} gets version {server.version}")
        if server.up:
            self._world.crash(server)
        server.start()

    def _leader(self) -> Server | None:
        """Return the one leader of the highest term."""
        leaders = [
            s
            for s in self._world.servers.values()
            if s.live is not None and s.live.core.role is Role.LEADER
        ]
        return max(leaders, key=lambda s: s.live.core.current_term if s.live else 0, default=None)

    def _members(self, leader: Server) -> list[Server]:
        ids = leader.process.core.configuration.ids
        return [s for s in self._world.servers.values() if s.id in ids and not s.lost]

    def _missing(self, probe: int) -> str:
        """Return what is still missing, "" if the cluster has recovered."""
        for server in self._world.servers.values():
            if server.version < self._world.newest and not server.lost:
                return f"{server.id} is yet to be upgraded"
            if server.live is None and not server.lost:
                return f"{server.id} is in no cluster"
            if server.disk.writing_since < self._calm_since:
                return f"{server.id} waits for a sync that stalled before"
        leader = self._leader()
        if leader is None:
            return "no leader"
        core = leader.process.core
        if core.commit_index < max(core.last_index, probe):
            return f"{leader.id} committed {core.commit_index} of {core.last_index}, probe {probe}"
        if core.configuration.get(leader.id) is None:
            return f"{leader.id} leads and is no member"
        for server in self._members(leader):
            live = server.live
            if live is None or live.core.leader != leader.id:
                return f"{server.id} does not follow {leader.id}"
            if (
                live.frontend.applied != core.commit_index
                or live.core.last_applied != core.commit_index
            ):
                return (
                    f"{server.id} applied {live.frontend.applied} of {core.commit_index}"
                    f" (its commit index {live.core.commit_index}, last {live.core.last_index})"
                )
        for client in self._world.clients.values():
            if client.owed is not None:
                return f"{client.name} was never answered: {client.owed}"
        return (
            self._not_removed(core.configuration.voters)
            or self._not_voting_again(leader)
            or self._not_agreed(leader)
        )

    def _not_agreed(self, leader: Server) -> str:
        """Return what all members support by now and have not agreed on."""
        negotiation = leader.process.negotiation
        if negotiation is None:
            return ""
        lacks = negotiation.agreed.lacks(negotiation.capabilities)
        return f"the members have not agreed on {lacks}" if lacks else ""

    def _not_removed(self, voters: Sequence[str]) -> str:
        """Return which dead servers the leader has yet to remove."""
        rules = self._world.plan.autopilot
        if rules is None or len(voters) <= rules.min_quorum:
            return ""
        dead = [voter for voter in voters if self._world.servers[voter].lost]
        return f"{dead[0]} is dead, and is one of {len(voters)} voters" if dead else ""

    def _not_voting_again(self, leader: Server) -> str:
        """Return which members removed as dead have yet to become voters again."""
        voters = leader.process.core.configuration.voters
        removed = [record.server_id for record in leader.process.frontend.machine.members.removed]
        for server_id in removed:
            if server_id not in voters and not self._world.servers[server_id].lost:
                return f"{server_id} was removed as dead and is no voter again"
        return ""

    def _probe(self, pending: int) -> int:
        """Propose one entry at the leader, unless one is pending; return its index."""
        leader = self._leader()
        if leader is None:
            return 0
        core = leader.process.core
        if pending and core.last_index >= pending:
            return pending
        leader.post(fill, leader, 1)
        return core.last_index + 1

    def _check_stability(self) -> None:
        """Check that removed and late servers do not disturb a healthy cluster."""
        world = self._world
        leader = self._leader()
        if leader is None:
            raise InvariantBroken("a healthy cluster keeps its leader", "no leader")
        term = leader.process.core.current_term
        config = world.plan.config
        world.scheduler.run_until(
            world.scheduler.now + 3 * (config.election_timeout + config.election_jitter)
        )
        core = leader.process.core
        if core.role is not Role.LEADER or core.current_term != term:
            if self._handed_over():
                self._check_stability()  # again, with the new leader
                return
            raise InvariantBroken(
                "a healthy cluster keeps its leader",
                f"{leader.id} led term {term}, then {core.role}",
            )
        for server in self._members(leader):
            self._check_equal(leader, server)
        for server in world.servers.values():
            self._check_answered(server)

    def _handed_over(self) -> bool:
        """Return whether a leader requested the latest election by a transfer."""
        leader = self._leader()
        if leader is None:
            return False
        return leader.process.observed.transfer_term == leader.process.core.current_term

    def _check_equal(self, leader: Server, server: Server) -> None:
        mine, its = server.disk.durable, leader.disk.durable
        first = max(mine.base, its.base)
        if mine.entries[first - mine.base :] != its.entries[first - its.base :]:
            raise InvariantBroken("logs converge", f"{server.id} versus {leader.id}")
        machines = server.process.frontend.machine, leader.process.frontend.machine
        if machines[0].capture() != machines[1].capture():
            raise InvariantBroken("states converge", f"{server.id} versus {leader.id}")

    def _check_answered(self, server: Server) -> None:
        if server.live is None:
            return
        reads = server.process.frontend.reads_under_way
        if reads:
            raise InvariantBroken("one answer per read", f"{server.id} owes {reads}")
        now = self._world.scheduler.now
        for pending in server.process.unanswered.values():
            if now - pending.since > _ANSWER_BOUND + 3 * self._world.sync_latencies.slowest:
                raise InvariantBroken(
                    "one answer per request", f"{server.id} never answered {pending.request}"
                )
