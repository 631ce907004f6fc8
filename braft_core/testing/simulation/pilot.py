"""The removal of dead voters in the simulation: the real decisions, carried out by the real code.

Owns what ``braft_core.membership.removing`` needs of a runtime: a view of Raft, probes over the
simulated network, a record in the log, a change of the configuration. Everything takes virtual
time and may fail; a crash forgets all of it but the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Any, NamedTuple

from braft_core.abc import Contact, Identity
from braft_core.errors import (
    BraftError,
    InvariantViolation,
    NotLeader,
    OutcomeUnknown,
    Rejected,
    Unreachable,
)
from braft_core.membership.addresses import AddressBook
from braft_core.membership.contact import ProbeLog
from braft_core.membership.ports import (
    AutopilotRules,
    MembershipSettings,
    PeerView,
    RaftView,
    Removal,
)
from braft_core.membership.removing import Remover
from braft_core.peer import ProbeReply
from braft_core.raft.types import Configuration, Role
from braft_core.raft.types import Server as Member
from braft_core.testing.simulation.founding import CLUSTER, address_of
from braft_core.testing.simulation.homecoming import Homecoming
from braft_core.testing.simulation.machine import record_of
from braft_core.testing.simulation.network import Envelope
from braft_core.testing.simulation.removals import Attention, RemovalRules

if TYPE_CHECKING:
    from braft_core.testing.simulation.process import Process
    from braft_core.testing.simulation.server import Server

__all__ = ["Hail", "Hailed", "Pilot"]

#: Virtual seconds: between two looks, between two rounds of probes, until a probe has failed, and
#: until a change has.
_TICK = 0.05
_PROBE_INTERVAL = 0.5
_PROBE_TIMEOUT = 0.2
_CHANGE_TIMEOUT = 2.0


class Hail(NamedTuple):
    """A leader asks directly whether somebody is there."""

    number: int


class Hailed(NamedTuple):
    """The answer, to a life of the asker."""

    number: int
    life: int


class _Until:
    """Awaited until an entry is applied here."""

    def __init__(self, index: int, term: int, deadline: float) -> None:
        self.index, self.term, self.deadline = index, term, deadline

    def __await__(self) -> Generator[_Until, None, None]:
        yield self


class Pilot:
    """One life of a server, looking after the voters while it leads.

    It is the :class:`~braft_core.membership.ports.RemovingPorts` of its own ``Remover``.
    """

    def __init__(
        self, server: Server, live: Process, rules: AutopilotRules, judge: RemovalRules
    ) -> None:
        self._server, self._live, self._judge = server, live, judge
        self.identity = Identity(server.id, address_of(server.id), CLUSTER)
        self.settings = MembershipSettings(CLUSTER, 1, autopilot=rules)
        self.attention = Attention()
        self._probes = ProbeLog(self.now)
        self._remover = Remover(self, self._probes, AddressBook(), asyncio.Lock(), self._begin)
        self._waits = False
        self._asked: dict[int, str] = {}
        self._next_probe = 1
        self._probe_at = 0.0
        #: The removal under way, and what it waits for.
        self._work: Coroutine[_Until, None, None] | None = None
        self._until: _Until | None = None
        self.home = Homecoming(server, live, self)
        server.world.scheduler.after(_TICK, self._tick)

    # -- the clock's side ----------------------------------------------------------------

    def _tick(self) -> None:
        if self._server.live is not self._live:
            return
        self._server.world.scheduler.after(_TICK, self._tick)
        if not self._waits:
            self._waits = True
            self._server.post(self._look)

    def _look(self) -> None:
        self._waits = False
        core, now, scheduler = self._live.core, self.now(), self._server.world.scheduler
        leads = core.role is Role.LEADER
        self.attention.leads(core.current_term if leads else 0, now)
        if leads:
            self._judge.leader_counts(scheduler.now, len(core.configuration.voters))
        self._go_on(now)
        view = self.raft_view()
        self._remover.tick(now, view)
        self.home.look(now, view)
        if leads and now >= self._probe_at:
            self._probe_at = now + self._remover.interval(_PROBE_INTERVAL)
            for member in view.configuration.ids:
                self._hail(member)

    # -- probes --------------------------------------------------------------------------

    def _hail(self, member: str) -> None:
        if member == self._server.id:
            return
        number, self._next_probe = self._next_probe, self._next_probe + 1
        self._asked[number] = member
        server = self._server
        server.world.send(Envelope(server.id, member, server.lives, Hail(number)))
        server.world.scheduler.after(_PROBE_TIMEOUT, self._timed_out, number)

    def _timed_out(self, number: int) -> None:
        if self._server.live is self._live:
            self._server.post(self._missed, number)

    def _missed(self, number: int) -> None:
        member = self._asked.pop(number, "")
        if member:
            self._probes.note_failure(Contact(member, 1), Unreachable("no answer"))

    def hailed(self, answer: Hailed) -> None:
        """Somebody answers."""
        member = self._asked.pop(answer.number, "")
        if member and answer.life == self._server.lives:
            where = address_of(member)
            reply = ProbeReply(member, CLUSTER, CLUSTER, 1, True, "", "", where)
            self.attention.probed[member] = self.now()
            self._probes.note_answer(Contact(member, 1), reply)

    # -- the ports -----------------------------------------------------------------------

    def now(self) -> float:
        """This server's clock."""
        return self._server.clock.local(self._server.world.scheduler.now)

    def raft_view(self) -> RaftView:
        """What the core says."""
        core = self._live.core
        leads = core.role is Role.LEADER
        changed_at, configuration = core.log.configuration_entry_at(core.last_index)
        members = (m._replace(address=address_of(m.id)) for m in configuration.servers)
        peers = {p.server_id: PeerView(p.silent_for, p.match_index) for p in core.peers()}
        if not leads:
            peers = {core.leader: PeerView(core.leader_silent_for)} if core.leader else {}
        return RaftView(
            configuration=Configuration(tuple(members)),
            leader_id=core.leader,
            is_leader=leads,
            term=core.current_term,
            has_quorum=leads and core.log.term_at(core.commit_index) == core.current_term,
            change_pending=changed_at > core.commit_index,
            last_index=core.last_index,
            peers=peers,
        )

    def removals(self) -> list[Removal]:
        """What the state machine remembers."""
        return [Removal(*record) for record in self._live.frontend.machine.members.removed]

    def remembers(self, server_id: str) -> bool:
        """Whether that server was once removed because it was dead."""
        return self._remover.is_remembered(server_id)

    def welcomes(self, server_id: str) -> bool:
        """Whether it is taken back."""
        return self._remover.is_welcome(server_id)

    async def record_removal(self, server: Member, voters: int, reason: str) -> None:
        """Write it into the log."""
        if self._server.disk.full:
            raise Rejected("the disk is full")
        core = self._live.core
        data = record_of(server.id, server.address, voters, reason)
        index, term = core.propose([data])
        self._trace(f"remembers that {server.id} is dead: {reason}")
        await self._applied(index, term)

    async def change_membership(self, kind: str, server_id: str, address: str) -> None:
        """Change it, and let the judge look at it."""
        core = self._live.core
        index = core.change_membership(kind, server_id, address)
        self._trace(f"removes {server_id}, which is dead")
        after = core.configuration
        self._judge.check(self._server.id, server_id, self.attention, self.now(), after)
        now = self._server.world.scheduler.now
        self._judge.removed(now, server_id, index, core.current_term)
        await self._applied(index, core.current_term)

    def _trace(self, line: str) -> None:
        self._server.world.trace.add(f"{self._server.id} {line}")

    # -- work that waits -----------------------------------------------------------------

    async def _applied(self, index: int, term: int) -> None:
        await _Until(index, term, self.now() + _CHANGE_TIMEOUT)

    def _begin(self, name: str, work: Callable[[], Any]) -> None:
        """What is under way goes on from look to look, without a loop of its own."""
        if self._work is None:
            self._work = work()
            self._step(None)

    def _go_on(self, now: float) -> None:
        until, core = self._until, self._live.core
        if self._work is None or until is None:
            return
        if self._live.frontend.applied >= until.index:
            lost = core.log.term_at(until.index) not in (until.term, None)
            self._step(OutcomeUnknown("another entry came first") if lost else None)
        elif core.role is not Role.LEADER or core.current_term != until.term:
            self._step(NotLeader("leadership was lost"))
        elif now >= until.deadline:
            self._step(OutcomeUnknown("it takes too long"))

    def _step(self, error: BraftError | None) -> None:
        work = self._work
        if work is None:
            return
        try:
            self._until = work.send(None) if error is None else work.throw(error)
        except StopIteration:
            self._work = self._until = None
        except InvariantViolation:
            raise
        except BraftError as refusal:
            self._work = self._until = None
            self._trace(f"removes nobody: {refusal.message}")
