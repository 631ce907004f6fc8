"""``$members``: the replicated record of voters that were removed as dead.

An internal service that every node has. The configuration lists the current members only; this
table keeps the removed ones, equal on every node, across snapshots and changes of the leader.
:mod:`braft_core.cluster.autopilot` decides what follows from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from braft_core.abc import CommandContext
from braft_core.errors import DecodeError, InvalidArgument
from braft_core.services.service import StateMachineService, command, query

__all__ = ["MEMBERS", "MembersService", "RemovedVoter"]

MEMBERS = "$members"
#: Most records; the oldest is dropped first.
MAX_REMOVED = 256
#: Longest text of a field, characters.
_MAX_TEXT = 1024


class RemovedVoter(NamedTuple):
    """One removal. Of a server that is removed twice, only the later record is kept."""

    index: int  # type: ignore[assignment]  # the field's name in the paper, over tuple.index
    server_id: str
    address: str
    #: The number of voters before it.
    voters: int
    reason: str
    #: Whether the server may rejoin; ``False`` after an operator removed it.
    may_rejoin: bool = True


class MembersService(StateMachineService):
    """The table of removed voters. Any thread may read :attr:`removed`."""

    name = MEMBERS

    def __init__(self) -> None:
        #: The oldest first. Replaced, never changed.
        self.removed: tuple[RemovedVoter, ...] = ()

    @command
    def record_removal(
        self, context: CommandContext, server_id: str, address: str, voters: int, reason: str
    ) -> int:
        """Record a removal; return its index."""
        record = _record([context.index, server_id, address, voters, reason])
        kept = [known for known in self.removed if known.server_id != server_id]
        self.removed = (*kept, record)[-MAX_REMOVED:]
        return context.index

    @command
    def forbid_rejoin(self, server_id: str) -> bool:
        """Note that an operator removes the server, so it may not rejoin automatically.

        Its record stays and still counts as a removal. Return whether there is one.
        """
        self.removed = tuple(
            known._replace(may_rejoin=False) if known.server_id == server_id else known
            for known in self.removed
        )
        return any(known.server_id == server_id for known in self.removed)

    @query
    def list(self) -> list[list[Any]]:
        """Return all records, the oldest first."""
        return [[*record] for record in self.removed]

    def dump(self) -> Any:
        """See :meth:`StateMachineService.dump`."""
        return [[*record] for record in self.removed]

    def check_snapshot(self, chunks: Iterator[bytes]) -> None:
        """See :meth:`Service.check_snapshot`. :raises DecodeError: it is something else."""
        MembersService().restore(chunks)

    def load(self, value: Any) -> None:
        """See :meth:`StateMachineService.load`. :raises DecodeError: it is something else."""
        try:
            self.removed = tuple(_record(row) for row in value)
        except (InvalidArgument, TypeError) as error:
            raise DecodeError(f"not a table of removed voters: {error}") from error


def _record(row: Any) -> RemovedVoter:
    match row:
        # The last field is missing in records from before it was added.
        case [int(index), str(server_id), str(address), int(voters), str(reason), *rest]:
            short = max(len(server_id), len(address), len(reason)) <= _MAX_TEXT
            if short and rest in ([], [True], [False]):
                return RemovedVoter(index, server_id, address, voters, reason, rest != [False])
    raise InvalidArgument(
        f"{row!r:.200} is no removal; accepted: a server id, its address, the number of voters, "
        f"a reason, and perhaps whether it may rejoin, texts of up to {_MAX_TEXT} characters"
    )
