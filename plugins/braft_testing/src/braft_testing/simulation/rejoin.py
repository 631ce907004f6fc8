"""Simulated rejoining of members that were removed as dead, with the real decisions.

Owns what ``braft_core.cluster.member`` does around :mod:`braft_core.cluster.member_rules` and
:mod:`braft_core.cluster.joining`: probes while no leader calls, requests to rejoin and for the
promotion, and on the leader adding and promoting. Everything takes virtual time and may get lost.
A crash loses all of it but the log.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, NamedTuple

from braft_core.cluster.address_book import AddressBook
from braft_core.cluster.interface import RaftView
from braft_core.cluster.joining import AddNonvoter, Refuse, handle_join
from braft_core.cluster.member_rules import (
    CaughtUp,
    hears_leader,
    next_change,
    removal_notice,
    was_removed,
)
from braft_core.errors import NotApplied, Rejected
from braft_core.peer import JoinRequest, ProbeReply, ProbeRequest
from braft_core.raft.types import Role
from braft_testing.simulation.bootstrap import CLUSTER, address_of
from braft_testing.simulation.errors import InvariantBroken
from braft_testing.simulation.network import Envelope

if TYPE_CHECKING:
    from braft_testing.simulation.autopilot_adapter import AutopilotAdapter
    from braft_testing.simulation.process import Process
    from braft_testing.simulation.server import Server

__all__ = ["RejoinAdapter", "RejoinCall", "RejoinReply"]

#: Virtual seconds: between two rounds of probes, and until a round has ended.
_INTERVAL = 0.5
_ROUND = 0.2


class RejoinCall(NamedTuple):
    """A call of a member, or of a removed member, to another node."""

    request: ProbeRequest | JoinRequest


class RejoinReply(NamedTuple):
    """The reply to a probe, addressed to one life of the caller."""

    life: int
    reply: ProbeReply


class RejoinAdapter:
    """One life of a server, which may be a removed member or the leader that adds it again."""

    def __init__(self, server: Server, live: Process, autopilot: AutopilotAdapter) -> None:
        self._server, self._live, self._autopilot = server, live, autopilot
        #: Whether a leader reported that this server was removed.
        self.removed = False
        self._replies: list[ProbeReply] | None = None
        self._round_ends = self._next_round = self._next_request = -inf
        self._caught_up = CaughtUp()
        self._wants_vote: dict[str, None] = {}

    # -- ticks ---------------------------------------------------------------------------

    def tick(self, now: float, view: RaftView) -> None:
        """Start the work that is due."""
        hears = hears_leader(view)
        if self.removed and hears:
            self._set_removed(False)
        if self._replies is not None and now >= self._round_ends:
            replies, self._replies = self._replies, None
            self._process(view, replies)
        if not hears and self._replies is None and now >= self._next_round:
            self._replies, self._round_ends = [], now + _ROUND
            self._next_round = now + _INTERVAL
            self._probe_all()
        own = view.configuration.get(self._server.id)
        learner = own is not None and not view.configuration.is_voter(self._server.id)
        if learner and view.leader_id and now >= self._next_request:
            self._next_request = now + _INTERVAL
            self._ask_to_join(view.leader_id)
        self._lead(now, view)

    def check(self) -> None:
        """Check the core after its inputs.

        :raises InvariantBroken: if a removed server campaigns.
        """
        if self.removed and self._live.core.role is Role.PRE_CANDIDATE:
            raise InvariantBroken(
                "removed servers do not campaign", f"{self._server.id} asks for votes"
            )

    # -- the removed member --------------------------------------------------------------

    def _probe_all(self) -> None:
        own = self._server.id
        request = ProbeRequest(own, CLUSTER, CLUSTER, address_of(own))
        for other in self._server.world.server_ids:
            if other != own:
                self._send(other, RejoinCall(request))

    def _process(self, view: RaftView, replies: list[ProbeReply]) -> None:
        leader = removal_notice(view, CLUSTER, replies)
        self._set_removed(leader is not None)
        if leader is not None and leader.rejoin_allowed:
            self._ask_to_join(leader.server_id)

    def _ask_to_join(self, leader: str) -> None:
        own, declared = self._server.id, self._server.declaration
        request = JoinRequest(own, address_of(own), CLUSTER, CLUSTER, True, declared)
        self._send(leader, RejoinCall(request))

    def _set_removed(self, removed: bool) -> None:
        if removed != self.removed:
            self._trace("was removed" if removed else "may be a member again")
            self._live.campaign_enabled = not removed
            self._server.reconsider(self._live)
        self.removed = removed

    # -- replies -------------------------------------------------------------------------

    def receive(self, envelope: Envelope) -> None:
        """Process a call or a reply."""
        match envelope.payload:
            case RejoinCall(ProbeRequest() as request):
                reply = self._reply(self._autopilot.raft_view(), request)
                self._send(envelope.sender, RejoinReply(envelope.life, reply))
            case RejoinCall(JoinRequest() as request):
                self._admit(request)
            case RejoinReply(life, reply) if (
                life == self._server.lives and self._replies is not None
            ):
                self._replies.append(reply)

    def _reply(self, view: RaftView, request: ProbeRequest) -> ProbeReply:
        removed = was_removed(view, request, CLUSTER)
        return ProbeReply(
            server_id=self._server.id,
            cluster_name=CLUSTER,
            cluster_id=CLUSTER,
            expect=1,
            initialised=True,
            leader_id=view.leader_id,
            leader_address=address_of(view.leader_id) if view.leader_id else "",
            address=address_of(self._server.id),
            removed=removed,
            rejoin_allowed=removed and self._autopilot.may_rejoin(request.server_id),
        )

    # -- the leader ----------------------------------------------------------------------

    def _admit(self, request: JoinRequest) -> None:
        view, negotiation = self._autopilot.raft_view(), self._live.negotiation
        if not view.is_leader:
            return
        decision = handle_join(
            request,
            cluster_name=CLUSTER,
            cluster_id=CLUSTER,
            configuration=view.configuration,
            was_removed=self._autopilot.was_removed_as_dead(request.server_id),
            lacking="" if negotiation is None else negotiation.lacking(request.capabilities),
        )
        if isinstance(decision, Refuse):
            self._trace(f"refuses {request.server_id}: {decision.error.message}")
            return
        if isinstance(decision, AddNonvoter):
            if negotiation is not None:
                negotiation.adds(decision.server_id, request.capabilities)
            if not self.change("add_nonvoter", decision.server_id, decision.address):
                return
        self._wants_vote[request.server_id] = None

    def _lead(self, now: float, view: RaftView) -> None:
        self._caught_up.observe(now, view, self._server.world.plan.promotion_lag)
        change = next_change(now, view, AddressBook(), self._caught_up, self._wants_vote)
        if change is not None:
            self.change(change.kind, change.server_id, change.address)

    def change(self, kind: str, server_id: str, address: str) -> bool:
        """Change the membership and check the invariants; return whether it was possible."""
        core, invariants = self._live.core, self._server.world.removals
        before = core.configuration
        try:
            core.change_membership(kind, server_id, address)
        except (NotApplied, Rejected) as refusal:
            self._trace(f"{kind} {server_id}: {type(refusal).__name__}")
            return False
        self._trace(f"{kind} {server_id}, which returned")
        invariants.returned(server_id, before, core.configuration)
        return True

    def _send(self, to: str, payload: RejoinCall | RejoinReply) -> None:
        server = self._server
        server.world.send(Envelope(server.id, to, server.lives, payload))

    def _trace(self, line: str) -> None:
        self._server.world.trace.add(f"{self._server.id} {line}")
