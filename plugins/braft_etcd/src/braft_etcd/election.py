"""The service ``v3electionpb.Election``: the leader is the key under a name that was created first.

The keys are those of etcd's client recipes, so that both see the same elections.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

from braft_core.errors import Compacted
from braft_core.http2 import Call, CallFailed, Status
from braft_core.store import Event
from braft_core.tokens import Role
from braft_etcd.backend import Backend
from braft_etcd.lease import LeaseHandlers
from braft_etcd.operations import key_value, prefix_end
from braft_etcd.queueing import Queueing
from braft_etcd.rpc import Rpc, rpc
from braft_etcd.waiting import KeyWaiter, is_delete
from braft_etcd.wire import Values

__all__ = ["ElectionHandlers"]

_SERVICE: Final = "v3electionpb.Election"
_KEY, _VALUE, _CREATE, _MOD, _LEASE = 0, 1, 2, 3, 6
_CREATED, _EQUAL = 1, 0
_PUT, _DELETE = 1, 2


class ElectionHandlers:
    """Handlers of one node."""

    def __init__(self, backend: Backend, leases: LeaseHandlers) -> None:
        self._backend = backend
        self._waiter = KeyWaiter(backend)
        self._queueing = Queueing(backend, leases)

    def calls(self) -> tuple[Rpc, ...]:
        """Return the calls of the service."""
        return (
            rpc(f"{_SERVICE}/Campaign", self.campaign, role=Role.WRITE),
            rpc(f"{_SERVICE}/Proclaim", self.proclaim, role=Role.WRITE),
            rpc(f"{_SERVICE}/Resign", self.resign, role=Role.WRITE),
            rpc(f"{_SERVICE}/Leader", self.leader, role=Role.READ),
            rpc(
                f"{_SERVICE}/Observe",
                stream=self.observe,
                role=Role.READ,
                request="LeaderRequest",
                response="LeaderResponse",
                takes_one=True,
            ),
        )

    async def stop(self) -> None:
        """Wait until the keys of callers that went away are deleted."""
        await self._queueing.stop()

    async def campaign(self, request: Values, call: Call) -> Values:
        """Wait until the caller leads."""
        prefix = request["name"] + b"/"
        key, record = await self._queueing.enter(call, prefix, request["lease"], request["value"])
        leader = {
            "name": request["name"],
            "key": key,
            "rev": record[_CREATE],
            "lease": record[_LEASE],
        }
        async with self._queueing.leaving(key):
            if record[_VALUE] != request["value"]:  # it campaigned before
                await self._proclaim(leader, request["value"], call)
            await self._waiter.none_before(call, prefix, record[_CREATE])
            revision, count = await self._backend.query(call, "count", key)
            if not count:
                raise _not_leader()
        return {"header": self._backend.header(revision), "leader": leader}

    async def proclaim(self, request: Values, call: Call) -> Values:
        """Change the leader's value."""
        revision = await self._proclaim(_leader(request), request["value"], call)
        return {"header": self._backend.header(revision)}

    async def _proclaim(self, leader: Values, value: bytes, call: Call) -> int:
        put = [_PUT, leader["key"], value, leader["lease"]]
        revision, held, _ = await self._if_led(leader, put, call)
        if not held:
            raise _not_leader()
        return int(revision)

    async def resign(self, request: Values, call: Call) -> Values:
        """Lead no longer."""
        leader = _leader(request)
        found = await self._if_led(leader, [_DELETE, leader["key"]], call)
        return {"header": self._backend.header(found[0])}

    async def _if_led(self, leader: Values, operation: list[Any], call: Call) -> Any:
        compare = [_CREATED, _EQUAL, leader["key"], b"", leader["rev"]]
        return await self._backend.execute(call, "txn", [compare], [operation], [])

    async def leader(self, request: Values, call: Call) -> Values:
        """Return the leader's key and value."""
        revision, record = await self._waiter.oldest(call, request["name"] + b"/")
        if record is None:
            raise CallFailed(Status.UNKNOWN, "election: no leader")
        return {"header": self._backend.header(revision), "kv": key_value(record)}

    async def observe(self, requests: AsyncIterator[Values], call: Call) -> AsyncIterator[Values]:
        """Return the leader, each other one, and each value that one proclaims.

        Values that are replaced soon may be left out.
        """
        request = await anext(requests)
        prefix = request["name"] + b"/"
        while True:
            revision, record = await self._waiter.oldest(call, prefix)
            try:
                if record is None:
                    await self._waiter.event(prefix, prefix_end(prefix), revision + 1, _is_put)
                    continue
                while record[_VALUE] is not None:
                    header = self._backend.header(max(revision, record[_MOD]))
                    yield {"header": header, "kv": key_value(record)}
                    event = await self._waiter.event(
                        record[_KEY], b"", record[_MOD] + 1, _any_event
                    )
                    record = event.record
            except Compacted:
                continue  # look who leads now


def _is_put(event: Event) -> bool:
    return not is_delete(event)


def _any_event(_event: Event) -> bool:
    return True


def _leader(request: Values) -> Values:
    leader: Values | None = request["leader"]
    if leader is None:
        raise CallFailed(Status.INVALID_ARGUMENT, '"leader" field must be provided')
    return leader


def _not_leader() -> CallFailed:
    return CallFailed(Status.UNKNOWN, "election: not leader")
