"""The commands and queries of leases: what :class:`Leases` does, and the keys that go with it."""

from __future__ import annotations

from typing import Any

from braft_core.abc import CommandContext
from braft_core.services.service import StateMachineService, command, query
from braft_core.services.store.keyspace import Keyspace
from braft_core.services.store.limits import check_number

__all__ = ["LeaseCommands"]


class LeaseCommands(StateMachineService):
    """The part of the store that is about leases."""

    def __init__(self) -> None:
        self._keyspace = Keyspace()

    @command
    def grant(self, context: CommandContext, lease: int, ttl: float) -> int | float:
        """Make a lease; see :meth:`Leases.grant`."""
        return self._keyspace.leases.grant(context, lease, ttl)

    @command
    def renew(self, context: CommandContext, leases: list[int]) -> list[int | float]:
        """Renew leases; see :meth:`Leases.renew`."""
        return self._keyspace.leases.renew(context, leases)

    @command
    def revoke(self, context: CommandContext, lease: int) -> int:
        """End a lease and delete its keys; return the store's revision.

        :raises LeaseNotFound: there is no such lease.
        """
        return self._keyspace.delete_keys(self._keyspace.leases.revoke(context, lease))

    @command
    def tick(self, context: CommandContext, term: int) -> int:
        """End the leases that are due; return how many. The keys of each go in one revision.

        See :meth:`Leases.tick`.
        """
        expired = self._keyspace.leases.tick(context, term)
        for _, keys in expired:
            self._keyspace.delete_keys(keys)
        return len(expired)

    @query
    def lease(self, lease: int) -> list[Any] | None:
        """Return ttl, seconds left and keys of a lease; ``None`` if there is none."""
        leases = self._keyspace.leases
        info = leases.info(lease)
        return None if info is None else [info.ttl, info.remaining, leases.keys(lease)]

    @query
    def leases(self, after: int = 0, limit: int = 10_000) -> list[int]:
        """Return the ids of leases above ``after`` in ascending order, ``limit`` at most."""
        check_number("after", after)
        check_number("the limit of leases", limit)
        return self._keyspace.leases.ids(after, limit)

    @property
    def leases_due_at(self) -> int | None:
        """When the first lease is due; see :attr:`Leases.due_at`. Any thread."""
        return self._keyspace.leases.due_at
