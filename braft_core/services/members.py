"""``$members``: what the cluster remembers of voters that were removed because they were dead.

Every node has it, and nobody chooses it. The configuration says who is a member, and nothing of
those who were; this table does, equal on every node, through snapshots and changes of leader. What
is done about it is decided in :mod:`braft_core.cluster.autopilot`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from braft_core.abc import CommandContext
from braft_core.errors import DecodeError, InvalidArgument
from braft_core.services.service import StateMachineService, command, query

__all__ = ["MEMBERS", "MembersService", "RemovedVoter"]

MEMBERS = "$members"
#: Most that are remembered; the oldest is forgotten first.
MAX_REMOVED = 256
#: Longest text that is kept of anything, characters.
_MAX_TEXT = 1024


class RemovedVoter(NamedTuple):
    """One removal. A server that is removed twice has one record, the later one."""

    index: int  # type: ignore[assignment]  # the field's name in the paper, over tuple.index
    server_id: str
    address: str
    #: How many voters there were before it.
    voters: int
    reason: str
    #: Whether it is taken back when it returns. Not, if somebody removed it on purpose later.
    may_rejoin: bool = True


class MembersService(StateMachineService):
    """The table. :attr:`removed` may be read from any thread."""

    name = MEMBERS

    def __init__(self) -> None:
        #: The oldest first. Replaced, never changed.
        self.removed: tuple[RemovedVoter, ...] = ()

    @command
    def record_removal(
        self, context: CommandContext, server_id: str, address: str, voters: int, reason: str
    ) -> int:
        """Remember a removal; returns its index."""
        record = _record([context.index, server_id, address, voters, reason])
        kept = [known for known in self.removed if known.server_id != server_id]
        self.removed = (*kept, record)[-MAX_REMOVED:]
        return context.index

    @command
    def forbid_rejoin(self, server_id: str) -> bool:
        """That server is removed on purpose now: it is not to return; whether it is remembered.

        Its record stays, and counts among the removals.
        """
        self.removed = tuple(
            known._replace(may_rejoin=False) if known.server_id == server_id else known
            for known in self.removed
        )
        return any(known.server_id == server_id for known in self.removed)

    @query
    def list(self) -> list[list[Any]]:
        """All records, the oldest first."""
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
        # Snapshots of a time when nobody was dismissed have no last field.
        case [int(index), str(server_id), str(address), int(voters), str(reason), *rest]:
            short = max(len(server_id), len(address), len(reason)) <= _MAX_TEXT
            if short and rest in ([], [True], [False]):
                return RemovedVoter(index, server_id, address, voters, reason, rest != [False])
    raise InvalidArgument(
        f"{row!r:.200} is no removal; accepted: a server id, its address, the number of voters, "
        f"a reason, and perhaps whether it may rejoin, texts of up to {_MAX_TEXT} characters"
    )
