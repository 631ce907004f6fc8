"""Changes of membership and leadership, for an operator or a stopping node.

Any node accepts them; the leader carries them out. A membership change names the wanted result, so
unlike a command it may be retried.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from braft_core.audit import audit
from braft_core.cluster.membership import ClusterMembership
from braft_core.errors import (
    BraftError,
    Busy,
    NoLeader,
    NotApplied,
    NotLeader,
    OutcomeUnknown,
    Unreachable,
)
from braft_core.peer import (
    AdminReply,
    ChangeMembershipRequest,
    PeerReply,
    PeerRequest,
    TransferLeadershipRequest,
)
from braft_core.raft import Configuration, ProgressState, Role, Suffrage
from braft_core.runtime import clock
from braft_core.runtime.components import Components
from braft_core.runtime.conditions import StateCondition
from braft_core.runtime.core_requests import change_membership, transfer_leadership
from braft_core.runtime.replica import Replica
from braft_core.runtime.requests import Command, Query
from braft_core.services.envelope import encode_command
from braft_core.services.members import MEMBERS

__all__ = ["Admin"]

_log = logging.getLogger(__name__)
#: A probed peer that left this many heartbeats unanswered counts as gone.
_SILENT_BEATS = 2


class _Server(Protocol):
    """What these changes need of the server."""

    @property
    def components(self) -> Components:
        """The components of the node."""

    @property
    def replica(self) -> Replica | None:
        """The member part, if the node is a member."""

    @property
    def membership(self) -> ClusterMembership:
        """Discovery, bootstrap and the member loop."""

    @property
    def condition(self) -> StateCondition:
        """Woken when the state has changed."""

    @property
    def configuration(self) -> Configuration:
        """The configuration in use."""

    @property
    def is_leader(self) -> bool:
        """Whether this node believes that it leads."""

    @property
    def leader(self) -> tuple[str, str]:
        """Id and address of the known leader."""

    def running(self) -> Replica:
        """Return the replica. :raises NotReady: this node is in no cluster."""

    def submit(self, request: Command | Query) -> None:
        """Take a request."""

    def waiting(self) -> str:
        """Return why there is no cluster or no leader."""


class Admin:
    """Lives on the loop."""

    def __init__(self, server: _Server) -> None:
        self._server = server
        self._timing = server.components.timing

    async def change(self, kind: str, server_id: str, address: str, timeout: float) -> None:
        """Change the membership, wherever the leader is.

        :raises Rejected: the change makes no sense. :raises NotApplied: not possible in time.
        """
        deadline = clock.monotonic() + timeout
        while True:
            left = deadline - clock.monotonic()
            try:
                await self._change_once(kind, server_id, address, left)
                return
            except (NotApplied, Unreachable, OutcomeUnknown) as error:
                if (
                    clock.monotonic() + self._timing.request_retry >= deadline
                    or not _worth_repeating(error)
                ):
                    raise
                await asyncio.sleep(self._timing.request_retry)

    async def _change_once(self, kind: str, server_id: str, address: str, left: float) -> None:
        if self._server.is_leader:
            await self.by_hand(kind, server_id, address, left)
            return
        request = ChangeMembershipRequest(kind, server_id, address, _for_leader(left))
        await self._call_leader(request, left)

    async def by_hand(self, kind: str, server_id: str, address: str, timeout: float) -> None:
        """Change the membership here, as the leader, for an operator.

        A server removed by an operator may not rejoin automatically.
        """
        deadline = clock.monotonic() + timeout
        if kind == "remove_server" and self._server.membership.may_rejoin(server_id):
            await self._forbid_rejoin(server_id, timeout)
        if kind in ("add_voter", "add_nonvoter"):
            await self._server.membership.check_newcomer(server_id, address)
        await self.carry_out(kind, server_id, address, max(0.0, deadline - clock.monotonic()))
        self._audit(kind, server=server_id, address=address)

    def _audit(self, what: str, **facts: object) -> None:
        replica = self._server.replica
        index = replica.core.commit_index if replica is not None else 0
        audit(
            what,
            by="a node of the cluster",
            leader=self._server.components.server_id,
            **facts,
            index=index,
        )

    async def _forbid_rejoin(self, server_id: str, timeout: float) -> None:
        server = self._server
        data = encode_command(server.components.serializer, MEMBERS, "forbid_rejoin", [server_id])
        command = Command(data, timeout, asyncio.get_running_loop())
        server.submit(command)
        await command.awaitable

    async def carry_out(self, kind: str, server_id: str, address: str, timeout: float) -> None:
        """Change the membership here, as the leader.

        A new voter starts as a nonvoter and is promoted once it has caught up. A mistyped address
        or a server that is down would otherwise count for the quorum at once, and could break it.
        A server that does not know of its membership yet would be taken for a voter that lost its
        data, and be rejected.
        """
        driver = self._server.running().driver
        known = driver.core.configuration.get(server_id)
        votes = known is not None and known.suffrage == Suffrage.VOTER
        if kind not in ("add_voter", "promote") or votes or (kind == "promote" and known is None):
            await change_membership(driver, kind, server_id, address, timeout)
            return
        deadline = clock.monotonic() + timeout
        if kind == "add_voter":
            await change_membership(driver, "add_nonvoter", server_id, address, timeout)
        await self._catch_up(server_id, deadline)
        left = max(0.0, deadline - clock.monotonic())
        await change_membership(driver, "promote", server_id, "", left)

    async def _catch_up(self, server_id: str, deadline: float) -> None:
        core = self._server.running().core
        goal = core.commit_index
        while core.role is Role.LEADER:
            if any(p.server_id == server_id and p.match_index >= goal for p in core.peers()):
                return
            if clock.monotonic() + self._timing.request_retry >= deadline:
                known = core.configuration.get(server_id)
                where = known.address if known is not None else "its address"
                raise Unreachable(
                    f"{server_id} is a nonvoter, and has not caught up in time; as soon as it runs "
                    f"at {where} it can be made a voter: braft members promote {server_id}",
                    server_id=server_id,
                    address=where,
                )
            await asyncio.sleep(self._timing.request_retry)
        raise NotLeader("leadership was lost during the change", leader=core.leader)

    async def request_transfer(self, to: str, timeout: float) -> str:
        """Transfer leadership, wherever the leader is; returns the new leader's id."""
        if self._server.is_leader:
            return await self.transfer(to, timeout)
        request = TransferLeadershipRequest(to, _for_leader(timeout))
        reply = await self._call_leader(request, timeout)
        return reply.leader_id if isinstance(reply, AdminReply) else ""

    async def _call_leader(self, request: PeerRequest, timeout: float) -> PeerReply:
        leader, address = self._server.leader
        if not address:
            why = self._server.waiting() or "no leader is known"
            who = f"the leader {leader}" if leader else "the leader"
            raise NoLeader(f"{who} cannot be asked: {why}")
        return await self._server.components.transport.call(address, request, timeout)

    async def transfer(self, to: str, timeout: float) -> str:
        """Transfer leadership from this node and wait until another one leads."""
        server = self._server
        me = server.components.server_id
        deadline = clock.monotonic() + timeout
        target = await self._begin_transfer(
            to, min(deadline, clock.monotonic() + self._timing.successor_patience)
        )

        def decided() -> bool:
            leader = server.leader[0]
            return (leader not in ("", me)) or (server.is_leader and not self._transferring())

        await server.condition.await_for(decided, deadline)
        leader = server.leader[0]
        if leader in ("", me):
            raise NoLeader(f"leadership was not taken over by {target}", target=target)
        self._audit("transfer_leadership", to=leader)
        return leader

    async def _begin_transfer(self, to: str, deadline: float) -> str:
        """Start a transfer; a new leader may have to hear from its followers first."""
        while True:
            try:
                return await transfer_leadership(self._server.running().driver, to)
            except Busy:
                alone = len(self._server.configuration.voters) < 2 or self._nobody_is_there()
                if to or alone or clock.monotonic() + self._timing.request_retry >= deadline:
                    raise
                await asyncio.sleep(self._timing.request_retry)

    def _transferring(self) -> bool:
        return bool(self._server.running().core.transferring_to)

    async def retire(self, timeout: float) -> None:
        """Prepare a stop: an ephemeral member leaves, a leader hands over, as far as possible."""
        server = self._server
        me, configuration = server.components.server_id, server.configuration
        others = [voter for voter in configuration.voters if voter != me]
        if not others or self._nobody_is_there():
            return
        try:
            async with asyncio.timeout(timeout):
                if server.components.ephemeral and configuration.get(me) is not None:
                    await self.change("remove_server", me, "", timeout)
                elif server.is_leader:
                    await self.transfer("", timeout)
        except (BraftError, TimeoutError) as error:
            if self._nobody_is_there():
                return
            why = str(error) or "it took too long"
            _log.info("could not hand over leadership before stopping: %s", why)

    def _nobody_is_there(self) -> bool:
        """Return whether this node leads and no other voter answers: nobody can take over.

        A peer whose connection broke, or was never made, is probed; its answer is due at once.
        """
        server = self._server
        if not server.is_leader:
            return False
        voters = server.configuration.voters
        patience = _SILENT_BEATS * server.components.settings.heartbeat_interval
        return not any(
            peer.server_id in voters
            and (peer.state is ProgressState.REPLICATE or peer.silent_for < patience)
            for peer in server.running().core.peers()
        )


def _worth_repeating(error: BraftError) -> bool:
    return error.safe_to_retry or not isinstance(error, NotApplied)


def _for_leader(timeout: float) -> int:
    """Milliseconds for the leader: less than we wait, so that its answer can still arrive."""
    return max(1, int(1000 * (timeout - min(0.25, timeout / 4))))
