"""Changes of membership and leadership that a person or a stopping node asks for.

They may be asked of any node and are carried out by the leader. A membership change says what
shall be, not what to do, so unlike a command it may be tried again.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from braft_core.audit import audit
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
from braft_core.raft import ProgressState, Role, Suffrage
from braft_core.runtime import clock
from braft_core.runtime.core_requests import change_membership, transfer_leadership
from braft_core.runtime.requests import Command
from braft_core.services.envelope import encode_command
from braft_core.services.members import MEMBERS

if TYPE_CHECKING:
    from braft_core.runtime.engine import Engine

__all__ = ["Admin"]

_log = logging.getLogger(__name__)
_RETRY = 0.05
#: A peer that is probed and has left so many heartbeats unanswered is not there.
_SILENT_BEATS = 2
#: Seconds that a fresh leader is given to find a successor.
_SETTLE = 0.4


class Admin:
    """Lives on the loop."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

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
                if clock.monotonic() + _RETRY >= deadline or not _worth_repeating(error):
                    raise
                await asyncio.sleep(_RETRY)

    async def _change_once(self, kind: str, server_id: str, address: str, left: float) -> None:
        if self._engine.is_leader:
            await self._engine.change(kind, server_id, address, left)
            return
        request = ChangeMembershipRequest(kind, server_id, address, _for_leader(left))
        await self._call_leader(request, left)

    async def by_hand(self, kind: str, server_id: str, address: str, timeout: float) -> None:
        """One change that somebody asks for, here, as the leader.

        Who is removed so stays out, also if it was dead once and would be taken back for that.
        """
        deadline = clock.monotonic() + timeout
        if kind == "remove_server" and self._engine.membership.may_rejoin(server_id):
            await self._forbid_rejoin(server_id, timeout)
        if kind in ("add_voter", "add_nonvoter"):
            await self._engine.membership.check_newcomer(server_id, address)
        await self.carry_out(kind, server_id, address, max(0.0, deadline - clock.monotonic()))
        self._audit(kind, server=server_id, address=address)

    def _audit(self, what: str, **facts: object) -> None:
        driver = self._engine.driver
        index = driver.core.commit_index if driver is not None else 0
        audit(
            what,
            by="a node of the cluster",
            leader=self._engine.components.server_id,
            **facts,
            index=index,
        )

    async def _forbid_rejoin(self, server_id: str, timeout: float) -> None:
        engine = self._engine
        data = encode_command(engine.components.serializer, MEMBERS, "forbid_rejoin", [server_id])
        command = Command(data, timeout, asyncio.get_running_loop())
        engine.submit(command)
        await command.awaitable

    async def carry_out(self, kind: str, server_id: str, address: str, timeout: float) -> None:
        """One change, here, as the leader.

        A new voter begins as a nonvoter until it has caught up, and no other nonvoter is promoted
        sooner either: a mistyped address or a server that is down would otherwise count for the
        quorum at once, and could end it. And one that has not learned of its membership yet would
        be taken for a voter that lost its data, and be refused for ever.
        """
        driver = self._engine.running()
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
        core = self._engine.running().core
        goal = core.commit_index
        while core.role is Role.LEADER:
            if any(p.server_id == server_id and p.match_index >= goal for p in core.peers()):
                return
            if clock.monotonic() + _RETRY >= deadline:
                known = core.configuration.get(server_id)
                where = known.address if known is not None else "its address"
                raise Unreachable(
                    f"{server_id} is a nonvoter, and has not caught up in time; as soon as it runs "
                    f"at {where} it can be made a voter: braft members promote {server_id}",
                    server_id=server_id,
                    address=where,
                )
            await asyncio.sleep(_RETRY)
        raise NotLeader("leadership was lost during the change", leader=core.leader)

    async def request_transfer(self, to: str, timeout: float) -> str:
        """Transfer leadership, wherever the leader is; returns the new leader's id."""
        if self._engine.is_leader:
            return await self.transfer(to, timeout)
        request = TransferLeadershipRequest(to, _for_leader(timeout))
        reply = await self._call_leader(request, timeout)
        return reply.leader_id if isinstance(reply, AdminReply) else ""

    async def _call_leader(self, request: PeerRequest, timeout: float) -> PeerReply:
        leader, address = self._engine.leader
        if not address:
            why = self._engine.waiting() or "no leader is known"
            who = f"the leader {leader}" if leader else "the leader"
            raise NoLeader(f"{who} cannot be asked: {why}")
        return await self._engine.call(address, request, timeout)

    async def transfer(self, to: str, timeout: float) -> str:
        """Transfer leadership from this node and wait until another one leads."""
        engine = self._engine
        me = engine.components.server_id
        deadline = clock.monotonic() + timeout
        target = await self._begin_transfer(to, min(deadline, clock.monotonic() + _SETTLE))

        def decided() -> bool:
            leader = engine.leader[0]
            return (leader not in ("", me)) or (engine.is_leader and not self._transferring())

        await engine.condition.await_for(decided, deadline)
        leader = engine.leader[0]
        if leader in ("", me):
            raise NoLeader(f"leadership was not taken over by {target}", target=target)
        self._audit("transfer_leadership", to=leader)
        return leader

    async def _begin_transfer(self, to: str, deadline: float) -> str:
        """Begin; a leader that was only just elected may have to hear from its followers first."""
        while True:
            try:
                return await transfer_leadership(self._engine.running(), to)
            except Busy:
                alone = len(self._engine.configuration.voters) < 2 or self._nobody_is_there()
                if to or alone or clock.monotonic() + _RETRY >= deadline:
                    raise
                await asyncio.sleep(_RETRY)

    def _transferring(self) -> bool:
        return bool(self._engine.running().core.transferring_to)

    async def retire(self, timeout: float) -> None:
        """Before a stop: an ephemeral member leaves, a leader hands over. As far as possible."""
        engine = self._engine
        me, configuration = engine.components.server_id, engine.configuration
        others = [voter for voter in configuration.voters if voter != me]
        if not others or self._nobody_is_there():
            return
        try:
            async with asyncio.timeout(timeout):
                if engine.components.ephemeral and configuration.get(me) is not None:
                    await self.change("remove_server", me, "", timeout)
                elif engine.is_leader:
                    await self.transfer("", timeout)
        except (BraftError, TimeoutError) as error:
            if self._nobody_is_there():
                return
            why = str(error) or "it took too long"
            _log.warning("stopping without an orderly farewell: %s", why)

    def _nobody_is_there(self) -> bool:
        """Whether this node leads and no other voter answers: then there is no farewell to take.

        A connection that broke, or was never made, is probed; the answer is due at once.
        """
        engine = self._engine
        if not engine.is_leader:
            return False
        voters = engine.configuration.voters
        patience = _SILENT_BEATS * engine.components.settings.heartbeat_interval
        return not any(
            peer.server_id in voters
            and (peer.state is ProgressState.REPLICATE or peer.silent_for < patience)
            for peer in engine.running().core.peers()
        )


def _worth_repeating(error: BraftError) -> bool:
    return error.safe_to_retry or not isinstance(error, NotApplied)


def _for_leader(timeout: float) -> int:
    """Milliseconds for the leader: less than we wait, so that its answer can still arrive."""
    return max(1, int(1000 * (timeout - min(0.25, timeout / 4))))
