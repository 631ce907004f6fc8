"""The service ``Cluster``: the members, and what can be changed about them."""

from __future__ import annotations

from typing import Any

from braft_core.abc import Member
from braft_core.http2 import Call, Status
from braft_core.tokens import Role
from braft_etcd.backend import Backend, member_id
from braft_etcd.errors import failure, unsupported
from braft_etcd.rpc import Rpc, rpc
from braft_etcd.wire import Values

__all__ = ["ClusterHandlers", "find_member"]


def find_member(backend: Backend, number: int) -> Member:
    """Return the member that clients know by a number.

    :raises CallFailed: there is none.
    """
    for member in backend.node.members():
        if member_id(member.id) == number:
            return member
    raise failure(Status.NOT_FOUND, "member not found")


class ClusterHandlers:
    """Handlers of one node."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def calls(self) -> tuple[Rpc, ...]:
        """Return the calls of the service."""
        return (
            rpc("Cluster/MemberList", self.list, role=Role.READ),
            rpc("Cluster/MemberAdd", self.add, role=Role.ADMIN),
            rpc("Cluster/MemberRemove", self.remove, role=Role.ADMIN),
            rpc("Cluster/MemberUpdate", self.update, role=Role.ADMIN),
            rpc("Cluster/MemberPromote", self.promote, role=Role.ADMIN),
        )

    async def list(self, request: Values, call: Call) -> Values:
        """List the members, with the URLs that they announced."""
        if request["linearizable"]:
            # The configuration here is then at least as new as the call.
            await self._backend.query(call, "members")
        return await self._members()

    async def add(self, _request: Values, _call: Call) -> Values:
        """Refuse: a server's id is known once it runs."""
        raise unsupported(
            "MemberAdd", "start a node whose discovery finds the cluster, and it joins by itself"
        )

    async def update(self, _request: Values, _call: Call) -> Values:
        """Refuse: nodes report their addresses themselves."""
        raise unsupported("MemberUpdate", "restart the node with another address")

    async def remove(self, request: Values, call: Call) -> Values:
        """Remove a member."""
        member = find_member(self._backend, request["ID"])
        node, timeout = self._backend.node, self._backend.timeout(call)
        await node.aremove_member(member.id, timeout=timeout)
        await self._backend.execute(call, "announce", member.id, "", [])
        return await self._members()

    async def promote(self, request: Values, call: Call) -> Values:
        """Make a learner a voter."""
        member = find_member(self._backend, request["ID"])
        if member.suffrage == "Voter":
            raise failure(Status.FAILED_PRECONDITION, "can only promote a learner member")
        await self._backend.node.apromote_member(member.id, timeout=self._backend.timeout(call))
        return await self._members()

    async def _members(self) -> Values:
        announced = {row[0]: row for row in await self._backend.stale("members")}
        members = [
            _shown(member, announced.get(member.id)) for member in self._backend.node.members()
        ]
        return {"header": self._backend.header(self._backend.revision), "members": members}


def _shown(member: Member, announced: list[Any] | None) -> Values:
    return {
        "ID": member_id(member.id),
        # etcd leaves the name of a member that did not start yet empty.
        "name": announced[1] if announced else "",
        "peerURLs": [f"http://{member.address}"],
        "clientURLs": announced[2] if announced else [],
        "isLearner": member.suffrage != "Voter",
    }
