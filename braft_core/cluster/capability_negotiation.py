"""Agreement of the members on what all of them can execute.

Every member declares its capabilities to the current leader. The leader commits what all members of
the configuration have in common (:mod:`braft_core.services.cluster`), and appends no command
outside of it (:mod:`braft_core.runtime.admission`). While a member is down, its last declaration
and the last agreement stay in force, also under a new leader. Use on the node's loop only.
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

#: Most names in a message about what a node lacks.
MAX_NAMED = 8


class CapabilityNegotiation:
    """Declares the capabilities as a follower, commits the agreement as the leader.

    :param once: runs work in the background unless work of that name is under way.
    """

    def __init__(
        self,
        host: CapabilityHost,
        book: AddressBook,
        once: Callable[[str, Callable[[], Awaitable[None]]], None],
    ) -> None:
        self._host, self._book, self._once = host, book, once
        self._retry_at = -inf
        #: Leader, term and declaration of the last acknowledged declaration.
        self._acknowledged: tuple[str, int, bytes] | None = None

    def tick(self, now: float, view: RaftView) -> None:
        """Start the work that is due; never block."""
        if now < self._retry_at:
            return
        if view.is_leader:
            self._host.member_capabilities.forget_except(view.configuration.ids)
            if view.has_quorum and self.proposal(view) is not None:
                self._once("agree", lambda: self._attempt(self._agree()))
        elif view.leader_id and self._declaration(view) != self._acknowledged:
            self._once("declare", lambda: self._attempt(self._declare()))

    def learn(self, server_id: str, data: bytes) -> None:
        """Store the declaration of a member; log one that cannot be decoded."""
        try:
            self._host.member_capabilities.learn(server_id, data)
        except DecodeError as error:
            _log.warning(
                "cannot decode the capabilities of node %s: %s",
                short_id(server_id),
                error.message,
            )

    def undeclared(self, view: RaftView) -> list[str]:
        """Return the ids of the other members without a declaration at this node."""
        own = self._host.identity.server_id
        member_capabilities = self._host.member_capabilities
        return [i for i in view.configuration.ids if i != own and member_capabilities.of(i) is None]

    def proposal(self, view: RaftView) -> Capabilities | None:
        """Return what the leader should commit; ``None`` if it is agreed already or unknown.

        The feature level never decreases, since logs and snapshots may need it.
        """
        if self.undeclared(view):
            return None
        host = self._host
        declared = [
            host.member_capabilities.of(i) or host.capabilities for i in view.configuration.ids
        ]
        shared, agreed = common(declared), host.agreed
        shared = replace(shared, level=max(shared.level, agreed.level))
        return None if shared == agreed else shared

    def lacking(self, data: bytes) -> str:
        """Return the agreed capabilities that this declaration lacks, "" if none."""
        if not data:
            return ""
        try:
            lacks = Capabilities.decode(data).lacks(self._host.agreed)
        except DecodeError as error:
            return f"a declaration that this node can read ({error.message})"
        return _listed(lacks)

    def differences(self, view: RaftView) -> list[tuple[str, str]]:
        """Return the members that lack capabilities of another: address and what it lacks."""
        host = self._host
        known = {
            server.address: host.capabilities
            if server.id == host.identity.server_id
            else host.member_capabilities.of(server.id)
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
            self._retry_at = self._host.now() + self._host.settings.timing.retry_interval
            _log.debug("capabilities: %s", error)

    async def _agree(self) -> None:
        proposal = self.proposal(self._host.raft_view())
        if proposal is not None:
            await self._host.agree(proposal)

    def _declaration(self, view: RaftView) -> tuple[str, int, bytes]:
        return view.leader_id, view.term, self._host.capabilities.encode()

    async def _declare(self) -> None:
        view, identity = self._host.raft_view(), self._host.identity
        declaration = self._declaration(view)
        address = self._book.get(view.leader_id) or view.leader_address
        request = AnnounceRequest(
            identity.server_id, identity.address, identity.cluster_id, declaration[2]
        )
        reply = await self._host.call(address, request, self._host.settings.call_timeout)
        if isinstance(reply, AnnounceReply) and reply.server_id == view.leader_id:
            self._acknowledged = declaration
        else:
            await asyncio.sleep(self._host.settings.timing.retry_interval)


def _listed(lacks: list[str]) -> str:
    more = f" and {len(lacks) - MAX_NAMED} more" if len(lacks) > MAX_NAMED else ""
    return ", ".join(lacks[:MAX_NAMED]) + more
