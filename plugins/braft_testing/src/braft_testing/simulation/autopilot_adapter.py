"""Simulated removal of dead voters, with the real rules and the real cleanup.

Owns what ``braft_core.cluster.dead_server_cleanup`` needs of its host: a view of Raft, probes over
the simulated network, a record in the log, a change of the configuration. Everything takes virtual
time and may fail. A crash loses all of it but the log.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from braft_core.abc import Contact, Identity
from braft_core.cluster.address_book import AddressBook
from braft_core.cluster.dead_server_cleanup import DeadServerCleanup
from braft_core.cluster.interface import (
    AutopilotRules,
    MembershipSettings,
    RaftView,
    Removal,
)
from braft_core.cluster.probes import ProbeLog
from braft_core.errors import Rejected, Unreachable
from braft_core.peer import ProbeReply
from braft_core.raft.types import Role
from braft_core.raft.types import Server as Member
from braft_testing.simulation.bootstrap import CLUSTER, address_of
from braft_testing.simulation.network import Envelope
from braft_testing.simulation.rejoin import RejoinAdapter
from braft_testing.simulation.removal_invariants import LeaderObservation, RemovalInvariants
from braft_testing.simulation.state_machine import record_of
from braft_testing.simulation.virtual_tasks import VirtualTasks, raft_view, wait_until_applied

if TYPE_CHECKING:
    from braft_testing.simulation.process import Process
    from braft_testing.simulation.server import Server

__all__ = ["AutopilotAdapter", "LeaderProbe", "LeaderProbeReply"]

#: Virtual seconds: between two ticks, between two rounds of probes, timeout of a probe.
_TICK = 0.05
_PROBE_INTERVAL = 0.5
_PROBE_TIMEOUT = 0.2


class LeaderProbe(NamedTuple):
    """A probe by a leader."""

    number: int


class LeaderProbeReply(NamedTuple):
    """The reply to a probe, addressed to one life of the caller."""

    number: int
    life: int


class AutopilotAdapter:
    """One life of a server, which removes dead voters while it leads.

    It is the :class:`~braft_core.cluster.interface.CleanupHost` of its ``DeadServerCleanup``.
    """

    def __init__(
        self, server: Server, live: Process, rules: AutopilotRules, invariants: RemovalInvariants
    ) -> None:
        self._server, self._live, self._invariants = server, live, invariants
        self.identity = Identity(server.id, address_of(server.id), CLUSTER)
        self.settings = MembershipSettings(CLUSTER, 1, autopilot=rules)
        self.observation = LeaderObservation()
        self._probes = ProbeLog(self.now)
        self._tasks = VirtualTasks(lambda why: self._trace(f"removal failed: {why.message}"))
        self._cleanup = DeadServerCleanup(
            self, self._probes, AddressBook(), asyncio.Lock(), self._tasks.once
        )
        self._waits = False
        self._asked: dict[int, str] = {}
        self._next_probe = 1
        self._probe_at = 0.0
        self.rejoin = RejoinAdapter(server, live, self)
        server.world.scheduler.after(_TICK, self._tick)

    # -- ticks ---------------------------------------------------------------------------

    def _tick(self) -> None:
        if self._server.live is not self._live:
            return
        self._server.world.scheduler.after(_TICK, self._tick)
        if not self._waits:
            self._waits = True
            self._server.post(self._evaluate)

    def _evaluate(self) -> None:
        self._waits = False
        core, now, scheduler = self._live.core, self.now(), self._server.world.scheduler
        leads = core.role is Role.LEADER
        self.observation.leads(core.current_term if leads else 0, now)
        if leads:
            self._invariants.leader_counts(scheduler.now, len(core.configuration.voters))
        self._tasks.resume_ready()
        view = self.raft_view()
        self._cleanup.tick(now, view)
        self.rejoin.tick(now, view)
        if leads and now >= self._probe_at:
            self._probe_at = now + self._cleanup.interval(_PROBE_INTERVAL)
            for member in view.configuration.ids:
                self._probe(member)

    # -- probes --------------------------------------------------------------------------

    def _probe(self, member: str) -> None:
        if member == self._server.id:
            return
        number, self._next_probe = self._next_probe, self._next_probe + 1
        self._asked[number] = member
        server = self._server
        server.world.send(Envelope(server.id, member, server.lives, LeaderProbe(number)))
        server.world.scheduler.after(_PROBE_TIMEOUT, self._timed_out, number)

    def _timed_out(self, number: int) -> None:
        if self._server.live is self._live:
            self._server.post(self._missed, number)

    def _missed(self, number: int) -> None:
        member = self._asked.pop(number, "")
        if member:
            self._probes.note_failure(Contact(member, 1), Unreachable("no answer"))

    def probe_answered(self, answer: LeaderProbeReply) -> None:
        """Process the reply to a probe."""
        member = self._asked.pop(answer.number, "")
        if member and answer.life == self._server.lives:
            where = address_of(member)
            reply = ProbeReply(member, CLUSTER, CLUSTER, 1, True, "", "", where)
            self.observation.probed[member] = self.now()
            self._probes.note_answer(Contact(member, 1), reply)

    # -- CleanupHost ---------------------------------------------------------------------

    def now(self) -> float:
        """Return the time of this server's clock."""
        return self._server.clock.local(self._server.world.scheduler.now)

    def raft_view(self) -> RaftView:
        """Return the state of the core."""
        return raft_view(self._live.core)

    def removals(self) -> list[Removal]:
        """Return the removals that the state machine remembers."""
        return [Removal(*record) for record in self._live.frontend.machine.members.removed]

    def was_removed_as_dead(self, server_id: str) -> bool:
        """Return whether that server was once removed as dead."""
        return self._cleanup.was_removed_as_dead(server_id)

    def may_rejoin(self, server_id: str) -> bool:
        """Return whether that server may rejoin."""
        return self._cleanup.may_rejoin(server_id)

    async def record_removal(self, server: Member, voters: int, reason: str) -> None:
        """Append the record to the log and wait until it is applied."""
        if self._server.disk.full:
            raise Rejected("the disk is full")
        core = self._live.core
        data = record_of(server.id, server.address, voters, reason)
        if self._live.negotiation is not None:
            self._live.negotiation.require(data)
        index, term = core.propose([data])
        self._trace(f"records that {server.id} is dead: {reason}")
        await wait_until_applied(self._live, index, term, self.now)

    async def change_membership(self, kind: str, server_id: str, address: str) -> None:
        """Change the membership and check the invariants."""
        core = self._live.core
        index = core.change_membership(kind, server_id, address)
        self._trace(f"removes {server_id}, which is dead")
        after = core.configuration
        self._invariants.check(self._server.id, server_id, self.observation, self.now(), after)
        now = self._server.world.scheduler.now
        self._invariants.removed(now, server_id, index, core.current_term)
        await wait_until_applied(self._live, index, core.current_term, self.now)

    def _trace(self, line: str) -> None:
        self._server.world.trace.add(f"{self._server.id} {line}")
