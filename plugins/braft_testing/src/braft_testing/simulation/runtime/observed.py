"""The transport of simulated nodes, which shows everything that leaves to the judges of disks."""

from __future__ import annotations

from math import inf
from typing import ClassVar, cast

from braft_core.abc import TransportHandler, TransportOptions
from braft_core.errors import BraftError, ProtocolViolation
from braft_core.raft.limits import MAX_TERM_STEP
from braft_core.raft.messages import (
    AppendEntries,
    InstallSnapshot,
    Message,
    Request,
    RequestPreVote,
    RequestVote,
    Response,
)
from braft_core.raft.types import HardState
from braft_core.transport.memory import MemoryTransport
from braft_testing.simulation.disk import LogImage
from braft_testing.simulation.durability_invariants import DurabilityInvariants
from braft_testing.simulation.errors import InvariantBroken
from braft_testing.simulation.runtime.disk import VirtualDisk

__all__ = ["DurabilityJudge", "Forgery", "ObservedTransport"]


_REQUESTS = (AppendEntries, RequestVote, RequestPreVote)


class DurabilityJudge:
    """Checks, of all nodes, that what leaves is on the disk."""

    def __init__(self) -> None:
        self._rules = DurabilityInvariants()
        #: The rules that were broken. A driver would take an exception for its own.
        self.broken: list[InvariantBroken] = []

    def check(self, disk: VirtualDisk, message: Message, request: Message | None) -> None:
        """Check a message as it leaves.

        :param request: what it answers.
        """
        if _last(request) < disk.bounds.compacted_index:
            return  # only what is committed is compacted
        try:
            self._rules.check(cast(LogImage, _Image(disk)), message, request)
        except InvariantBroken as broken:
            self.broken.append(broken)


def _last(request: Message | None) -> float:
    """Return the index that an acknowledgement of ``request`` speaks of; infinity for none."""
    if isinstance(request, InstallSnapshot):
        return request.meta.index
    if isinstance(request, AppendEntries):
        return request.entries[-1].index if request.entries else request.prev_log_index
    return inf


class _Image:
    """What the rules look at of a disk."""

    def __init__(self, disk: VirtualDisk) -> None:
        self._disk = disk

    @property
    def hard_state(self) -> HardState:
        return self._disk.hard_state

    @property
    def last_index(self) -> int:
        return self._disk.bounds.compacted_index + len(self._disk.entries)

    def term_at(self, index: int) -> int:
        bounds, entries = self._disk.bounds, self._disk.entries
        if index == bounds.compacted_index:
            return bounds.compacted_term
        position = index - bounds.compacted_index - 1
        return entries[position].term if 0 <= position < len(entries) else -1


class Forgery:
    """The way back of a forged request. It leads nowhere."""


class ObservedTransport(MemoryTransport):
    """A memory transport whose messages are judged."""

    name: ClassVar[str] = "observed"

    def __init__(
        self, options: TransportOptions, disk: VirtualDisk, judge: DurabilityJudge
    ) -> None:
        super().__init__(options)
        self._disk, self._judge = disk, judge
        #: By the way back of their answers.
        self._asked: dict[object, Request] = {}

    def _receive(self, handler: TransportHandler, message: Request, cluster_id: str) -> None:
        self._asked[message.context] = message
        super()._receive(handler, message, cluster_id)

    def send(self, message: Request) -> None:
        """See the base class."""
        self._judge.check(self._disk, message, None)
        super().send(message)

    def reply(self, message: Response) -> None:
        """See the base class."""
        self._judge.check(self._disk, message, self._asked.pop(message.context, None))
        if not isinstance(message.context, Forgery):
            super().reply(message)

    def refuse(self, message: Message, error: BraftError) -> None:
        """See the base class. What a real server sends breaks no rule."""
        if isinstance(message.context, Forgery):
            return
        highest = self._disk.hard_state.term + MAX_TERM_STEP
        real = isinstance(message, _REQUESTS) and message.term <= highest
        if real and isinstance(error, ProtocolViolation):
            rule = "messages of real servers are never rejected"
            self._judge.broken.append(InvariantBroken(rule, str(error)))
        super().refuse(message, error)
