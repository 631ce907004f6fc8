"""Simulated capability negotiation, with the real code over the simulated network.

Owns what :mod:`braft_core.cluster.capability_negotiation` and :mod:`braft_core.runtime.admission`
need from a runtime. A declaration may get lost and an agreement may fail. A crash loses
declarations, but not agreements.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from braft_core.abc import Identity
from braft_core.cluster.address_book import AddressBook
from braft_core.cluster.capability_negotiation import CapabilityNegotiation
from braft_core.cluster.interface import MembershipSettings, RaftView
from braft_core.cluster.joining import lacks_capabilities
from braft_core.cluster.member_capabilities import MemberCapabilities
from braft_core.errors import Rejected, Unreachable
from braft_core.peer import AnnounceReply, AnnounceRequest, PeerReply, PeerRequest
from braft_core.raft.types import Role
from braft_core.runtime.admission import CommandAdmission
from braft_core.runtime.requests import Command
from braft_core.services.capabilities import Capabilities
from braft_core.services.cluster import agreement_command
from braft_testing.simulation.bootstrap import CLUSTER, address_of
from braft_testing.simulation.errors import InvariantBroken
from braft_testing.simulation.network import Envelope
from braft_testing.simulation.requests import ClientRequest
from braft_testing.simulation.virtual_tasks import (
    Condition,
    VirtualTasks,
    raft_view,
    wait_until_applied,
)

if TYPE_CHECKING:
    from braft_testing.simulation.process import Process
    from braft_testing.simulation.server import Server
    from braft_testing.simulation.versions import VersionedMachine, VersionInvariants

__all__ = ["AdmissionResult", "CapabilityAdapter", "DeclareCall", "DeclareReply"]

#: Virtual seconds: between two ticks, and until a call times out.
_TICK = 0.1
_CALL_TIMEOUT = 0.5


class DeclareCall(NamedTuple):
    """A member's report to the leader of what it can execute."""

    number: int
    request: PeerRequest


class DeclareReply(NamedTuple):
    """The reply, addressed to one life of the caller."""

    number: int
    life: int
    reply: PeerReply


class AdmissionResult(NamedTuple):
    """The admission's decision about commands of clients."""

    passed: list[ClientRequest]
    waiting: list[ClientRequest]
    refused: list[tuple[ClientRequest, BaseException | None]]


class CapabilityAdapter:
    """One life of a server: the :class:`~braft_core.cluster.interface.CapabilityHost`."""

    def __init__(
        self, server: Server, live: Process, machine: VersionedMachine, rules: VersionInvariants
    ) -> None:
        self._server, self._live = server, live
        self._machine, self._rules = machine, rules
        self.identity = Identity(server.id, address_of(server.id), CLUSTER)
        self.settings = MembershipSettings(CLUSTER, 1)
        self.member_capabilities = MemberCapabilities()
        self._tasks = VirtualTasks(lambda why: self._trace(f"agreement failed: {why.message}"))
        self.agreement = CapabilityNegotiation(self, AddressBook(), self._tasks.once)
        self._admission = CommandAdmission(
            server.id, machine, machine.cluster, self.member_capabilities
        )
        self._violation: InvariantBroken | None = None
        #: Calls in progress, and their replies.
        self._replies: dict[int, PeerReply | None] = {}
        self._next_call = 1
        server.world.scheduler.after(_TICK * server.rng.random(), self._tick)

    # -- ticks ---------------------------------------------------------------------------

    def _tick(self) -> None:
        if self._server.live is self._live:
            self._server.world.scheduler.after(_TICK, self._tick)
            if not self._server.frozen:
                self._server.post(self._evaluate)

    def _evaluate(self) -> None:
        self._tasks.resume_ready()
        self.agreement.tick(self.now(), self.raft_view())

    def check(self) -> None:
        """Check the server after its inputs.

        :raises InvariantBroken: if it leads although it applies nothing any more, or if a rule
            failed while it agreed.
        """
        if self._violation is not None:
            raise self._violation
        stop = self._live.frontend.stopped
        if stop is not None and self._live.core.role is Role.LEADER:
            self._rules.leads_stopped(self._server.id, stop.message)

    # -- admission -----------------------------------------------------------------------

    def admit(self, requests: list[ClientRequest]) -> AdmissionResult:
        """Decide which commands may be appended, and check the rules for those."""
        commands = {
            id(command): (command, request) for command, request in map(_as_command, requests)
        }
        passed, waiting = self._admission.admit(
            self._live.core.configuration, [command for command, _ in commands.values()]
        )
        pass_on = [commands.pop(id(command))[1] for command in passed]
        wait = [commands.pop(id(command))[1] for command in waiting]
        refused = [
            (request, command.blocking.exception(0)) for command, request in commands.values()
        ]
        self.appends([request.command for request in pass_on])
        return AdmissionResult(pass_on, wait, refused)

    def appends(self, commands: list[bytes]) -> None:
        """Check the rules for commands that this leader is about to append."""
        applied_index = self._live.frontend.applied
        self._rules.appends(self._server.id, applied_index, self._known(), commands)

    def require(self, data: bytes) -> None:
        """Check that a command of the server itself may be appended.

        :raises BraftError: with the reason, if not.
        """
        self._admission.admit(self._live.core.configuration, [])
        error = self._admission.refusal(data)
        if error is not None:
            raise error
        self.appends([data])

    def _known(self) -> Iterator[tuple[str, Capabilities | None]]:
        for member in self._live.core.configuration.ids:
            own = member == self._server.id
            yield member, self.capabilities if own else self.member_capabilities.of(member)

    # -- new servers ---------------------------------------------------------------------

    def lacking(self, declared: bytes) -> str:
        """Return what a new server lacks of the agreed capabilities; "" if nothing."""
        return self.agreement.lacking(declared)

    def adds(self, newcomer: str, declared: bytes) -> None:
        """Store what a new server declared before it is added, and check the rules."""
        self._rules.adds(self._server.id, self._live.frontend.applied, newcomer, declared)
        self.agreement.learn(newcomer, declared)

    def check_operator_addition(self, newcomer: str, declared: bytes) -> None:
        """Check a server that an operator adds.

        :raises Conflict: if it lacks something.
        """
        if lacks := self.lacking(declared):
            raise lacks_capabilities(newcomer, address_of(newcomer), lacks)
        self.adds(newcomer, declared)

    # -- replies -------------------------------------------------------------------------

    def receive(self, envelope: Envelope) -> None:
        """Process a declaration, or the reply to ours."""
        match envelope.payload:
            case DeclareCall(number, AnnounceRequest() as request):
                self.agreement.learn(request.server_id, request.capabilities)
                reply = AnnounceReply(self._server.id, address_of(self._server.id))
                self._send(envelope.sender, DeclareReply(number, envelope.life, reply))
            case DeclareReply(number, life, reply):
                if life == self._server.lives and number in self._replies:
                    self._replies[number] = reply

    # -- CapabilityHost ------------------------------------------------------------------

    def now(self) -> float:
        """Return the time of this server's clock."""
        return self._server.clock.local(self._server.world.scheduler.now)

    def raft_view(self) -> RaftView:
        """Return the state of the core."""
        return raft_view(self._live.core)

    async def call(self, address: str, request: PeerRequest, timeout: float) -> PeerReply:
        """Send a call and wait for the reply.

        :raises Unreachable: if no reply comes in time.
        """
        number, self._next_call = self._next_call, self._next_call + 1
        self._replies[number] = None
        self._send(address.partition(":")[0], DeclareCall(number, request))
        deadline = self.now() + min(timeout, _CALL_TIMEOUT)
        await Condition(lambda: self._replies[number] is not None or self.now() >= deadline)
        reply = self._replies.pop(number)
        if reply is None:
            raise Unreachable("no answer")
        return reply

    @property
    def capabilities(self) -> Capabilities:
        """What this server can execute."""
        return self._machine.capabilities

    @property
    def agreed(self) -> Capabilities:
        """What the cluster has agreed on, as far as applied here."""
        return self._machine.cluster.agreed

    async def agree(self, capabilities: Capabilities) -> None:
        """Commit an agreement, and check the rules."""
        if self._server.disk.full:
            raise Rejected("the disk is full")
        server, frontend = self._server, self._live.frontend
        try:
            self._rules.agrees(server.id, frontend.applied, self._known(), capabilities)
        except InvariantBroken as broken:
            self._violation = broken  # the awaiting code would treat it as a temporary failure
            raise
        index, term = self._live.core.propose([agreement_command(capabilities)])
        self._trace(f"proposes level {capabilities.level} and {capabilities.digests()}")
        await wait_until_applied(self._live, index, term, self.now)

    def _send(self, to: str, payload: DeclareCall | DeclareReply) -> None:
        server = self._server
        server.world.send(Envelope(server.id, to, server.lives, payload))

    def _trace(self, line: str) -> None:
        self._server.world.trace.add(f"{self._server.id} {line}")


def _as_command(request: ClientRequest) -> tuple[Command, ClientRequest]:
    return Command(request.command, 0.0), request
