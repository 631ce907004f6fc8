"""The service ``Maintenance``: status, alarms, hashes, leadership."""

from __future__ import annotations

from typing import Any, Final

from braft_core.errors import NotApplied
from braft_core.http2 import Call, CallFailed, Status
from braft_core.tokens import Role
from braft_etcd.backend import Backend, member_id
from braft_etcd.cluster import find_member
from braft_etcd.errors import failure, unsupported
from braft_etcd.rpc import Rpc, rpc
from braft_etcd.wire import Values

__all__ = ["MaintenanceHandlers"]

_GET, _ACTIVATE, _DEACTIVATE = range(3)
_ALARMS: Final = ("NONE", "NOSPACE", "CORRUPT")
_MASK32: Final = 0xFFFF_FFFF


class MaintenanceHandlers:
    """Handlers of one node."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def calls(self) -> tuple[Rpc, ...]:
        """Return the calls of the service."""
        return (
            rpc("Maintenance/Alarm", self.alarm, role=_role_for_alarm),
            rpc("Maintenance/Status", self.status, role=Role.READ),
            rpc("Maintenance/Defragment", self.defragment, role=Role.ADMIN),
            rpc("Maintenance/Hash", self.hash, role=Role.READ),
            rpc("Maintenance/HashKV", self.hash_kv, role=Role.READ),
            rpc("Maintenance/MoveLeader", self.move_leader, role=Role.ADMIN),
            rpc("Maintenance/Downgrade", self.downgrade, role=Role.ADMIN),
        )

    async def alarm(self, request: Values, call: Call) -> Values:
        """List, raise or take back alarms; answer those that it is about."""
        action, member, alarm = request["action"], request["memberID"], request["alarm"]
        if action not in (_GET, _ACTIVATE, _DEACTIVATE) or not 0 <= alarm < len(_ALARMS):
            raise failure(
                Status.INVALID_ARGUMENT, f"there is no action {action} or no alarm {alarm}"
            )
        if action == _GET:
            alarms = (await self._backend.query(call, "status"))["alarms"]
            found = [each for each in alarms if member in (0, each[0]) and alarm in (0, each[1])]
        else:
            found = await self._backend.execute(call, "alarm", action, member, alarm)
        return {
            "header": self._backend.header(self._backend.revision),
            "alarms": [{"memberID": number, "alarm": kind} for number, kind in found],
        }

    async def status(self, _request: Values, _call: Call) -> Values:
        """Describe this node, from its own state."""
        store = await self._backend.stale("status")
        details, leader = self._backend.refresh(), self._backend.node.leader
        own = next(
            (each for each in self._members() if each.id == self._backend.node.server_id), None
        )
        errors = [] if leader else ["etcdserver: no leader"]
        errors += [f"memberID:{number} alarm:{_ALARMS[alarm]}" for number, alarm in store["alarms"]]
        return {
            "header": self._backend.header(store["revision"]),
            "version": self._backend.version,
            "dbSize": store["size"],
            "dbSizeInUse": store["size"],
            "dbSizeQuota": store["quota"],
            "leader": member_id(leader.id) if leader else 0,
            "raftIndex": details["commitIndex"],
            "raftTerm": details["term"],
            "raftAppliedIndex": details["appliedIndex"],
            "errors": errors,
            "isLearner": own is not None and own.suffrage != "Voter",
            "storageVersion": f"{self._backend.version.rpartition('.')[0]}.0",
            "downgradeInfo": {},
        }

    def _members(self) -> list[Any]:
        try:
            return list(self._backend.node.members())
        except NotApplied:  # in no cluster yet; the status is asked to see that
            return []

    async def defragment(self, _request: Values, _call: Call) -> Values:
        """Do nothing: the store keeps no file that could have gaps."""
        return {"header": self._backend.header(self._backend.revision)}

    async def hash(self, _request: Values, _call: Call) -> Values:
        """Return a hash of this node's state, equal on nodes with the same state."""
        found, revision, _ = await self._backend.stale("hash")
        return {"header": self._backend.header(revision), "hash": _short(found)}

    async def hash_kv(self, request: Values, _call: Call) -> Values:
        """Return a hash of this node's state at a revision."""
        at = max(request["revision"], 0)
        found, revision, compacted = await self._backend.stale("hash", at)
        return {
            "header": self._backend.header(self._backend.revision),
            "hash": _short(found),
            "compact_revision": compacted,
            "hash_revision": revision,
        }

    async def move_leader(self, request: Values, call: Call) -> Values:
        """Hand leadership to another member; only the leader does."""
        node = self._backend.node
        if not node.is_leader:
            raise failure(Status.FAILED_PRECONDITION, "not leader")
        try:
            target = find_member(self._backend, request["targetID"])
        except CallFailed as error:
            raise failure(Status.FAILED_PRECONDITION, "bad leader transferee") from error
        if target.suffrage != "Voter":
            raise failure(Status.FAILED_PRECONDITION, "bad leader transferee")
        if target.id != node.server_id:
            await node.atransfer_leadership(target.id, timeout=self._backend.timeout(call))
        return {"header": self._backend.header(self._backend.revision)}

    async def downgrade(self, _request: Values, _call: Call) -> Values:
        """Refuse: the version that is shown is a setting."""
        raise unsupported("Downgrade", "set BRAFT_ETCD_VERSION to what clients are to be answered")


def _role_for_alarm(request: Values) -> Role:
    # Health checks list the alarms.
    return Role.READ if request["action"] == _GET else Role.ADMIN


def _short(number: int) -> int:
    """Fold a hash of 64 bits into the 32 that etcd's have."""
    return (number ^ number >> 32) & _MASK32
