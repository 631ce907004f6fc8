"""What the members can execute: declared to the leader, agreed on in the log.

Every member declares its capabilities to the leader, whoever that is. The leader commits what all
members of the configuration have in common (:mod:`braft_core.services.cluster`), and appends no
command outside of it (:mod:`braft_core.runtime.admission`). A member that is down keeps neither a
new leader from going on with what was agreed before, nor its own declaration from being remembered.
Used on the node's loop alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from math import inf

from braft_core.cluster.address_book import AddressBook
from braft_core.cluster.interface import CapabilityHost, RaftView
from braft_core.compat.go_braft.server_id import short_id
from braft_core.errors import BraftError, DecodeError
from braft_core.peer import AnnounceReply, AnnounceRequest
from braft_core.services.capabilities import Capabilities, common

__all__ = ["CapabilityNegotiation"]

_log = logging.getLogger(__name__)

#: Seconds before a declaration or an negotiation that failed is tried again.
RETRY = 1.0
#: Names in a sentence about what a node lacks, at most.
MAX_NAMED = 8


class CapabilityNegotiation:
    """One member's part in it: declares as a follower, agrees as the leader.

    :param once: runs work unless the same is under way.
    """

    def __init__(
        self,
        ports: CapabilityHost,
        book: AddressBook,
        once: Callable[[str, Callable[[], Awaitable[None]]], None],
    ) -> None:
        self._ports, self._book, self._once = ports, book, once
        self._retry_at = -inf
        #: Leader, term and declaration that the leader has acknowledged.
        self._acknowledged: tuple[str, int, bytes] | None = None

    def tick(self, now: float, view: RaftView) -> None:
        """Do what is due; never blocks."""
        if now < self._retry_at:
            return
        if view.is_leader:
            self._ports.member_capabilities.forget_except(view.configuration.ids)
            if view.has_quorum and self.proposal(view) is not None:
                self._once("agree", lambda: self._attempt(self._agree()))
        elif view.leader_id and self._declaration(view) != self._acknowledged:
            self._once("declare", lambda: self._attempt(self._declare()))

    def learn(self, server_id: str, data: bytes) -> None:
        """Remember what a member says that it can execute."""
        try:
            self._ports.member_capabilities.learn(server_id, data)
        except DecodeError as error:
            _log.warning(
                "node %s declares nothing that this node can read: %s",
                short_id(server_id),
                error.message,
            )

    def undeclared(self, view: RaftView) -> list[str]:
        """Return the ids of the other members that have declared nothing to this node."""
        own = self._ports.identity.server_id
        member_capabilities = self._ports.member_capabilities
        return [i for i in view.configuration.ids if i != own and member_capabilities.of(i) is None]

    def proposal(self, view: RaftView) -> Capabilities | None:
        """Return what the leader is to commit; ``None`` while it is agreed, or cannot be known.

        The feature level never falls: what needs it may stand in logs and snapshots.
        """
        if self.undeclared(view):
            return None
        ports = self._ports
        declared = [
            ports.member_capabilities.of(i) or ports.capabilities for i in view.configuration.ids
        ]
        shared, agreed = common(declared), ports.agreed
        shared = replace(shared, level=max(shared.level, agreed.level))
        return None if shared == agreed else shared

    def lacking(self, data: bytes) -> str:
        """Return what a newcomer with this declaration lacks of what is agreed; "" if nothing."""
        if not data:
            return ""
        try:
            lacks = Capabilities.decode(data).lacks(self._ports.agreed)
        except DecodeError as error:
            return f"a declaration that this node can read ({error.message})"
        return _listed(lacks)

    def differences(self, view: RaftView) -> list[tuple[str, str]]:
        """Return who lacks what of what another one has: address and what, as far as declared."""
        ports = self._ports
        known = {
            server.address: ports.capabilities
            if server.id == ports.identity.server_id
            else ports.member_capabilities.of(server.id)
            for server in view.configuration.servers
        }
        declared = {address: each for address, each in known.items() if each is not None}
        found = []
        for address, own in declared.items():
            lacks = [lack for other in declared.values() for lack in own.lacks(other)]
            if lacks:
                found.append((address, _listed(list(dict.fromkeys(lacks)))))
        return found

    async def _attempt(self, work: Awaitable[None]) -> None:
        try:
            await work
        except BraftError as error:
            self._retry_at = self._ports.now() + RETRY
            _log.debug("capabilities: %s", error)

    async def _agree(self) -> None:
        proposal = self.proposal(self._ports.raft_view())
        if proposal is not None:
            await self._ports.agree(proposal)

    def _declaration(self, view: RaftView) -> tuple[str, int, bytes]:
        return view.leader_id, view.term, self._ports.capabilities.encode()

    async def _declare(self) -> None:
        view, identity = self._ports.raft_view(), self._ports.identity
        declaration = self._declaration(view)
        address = self._book.get(view.leader_id) or view.leader_address
        request = AnnounceRequest(
            identity.server_id, identity.address, identity.cluster_id, declaration[2]
        )
        reply = await self._ports.call(address, request, self._ports.settings.call_timeout)
        if isinstance(reply, AnnounceReply) and reply.server_id == view.leader_id:
            self._acknowledged = declaration
        else:
            await asyncio.sleep(RETRY)


def _listed(lacks: list[str]) -> str:
    more = f" and {len(lacks) - MAX_NAMED} more" if len(lacks) > MAX_NAMED else ""
    return ", ".join(lacks[:MAX_NAMED]) + more
