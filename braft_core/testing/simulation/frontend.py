"""What a live server does for clients: proposals, linearizable reads, the state machine.

Owns everything between a client's request and its answer that dies with the process. It calls the
core as a driver does and must not know how messages or batches travel.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from braft_core.errors import NotApplied
from braft_core.raft.ready import ReadReady
from braft_core.raft.types import Entry, EntryType, Role
from braft_core.testing.simulation.core import Core
from braft_core.testing.simulation.errors import InvariantBroken
from braft_core.testing.simulation.history import Kind
from braft_core.testing.simulation.kv import Registers, encode_command
from braft_core.testing.simulation.requests import Answer, Ask, ReadIndexAnswer, ReadIndexAsk

if TYPE_CHECKING:
    from braft_core.testing.simulation.world import World

__all__ = ["Frontend"]


class Frontend:
    """Serves clients during one life of a server. ``send`` is given a destination and a payload."""

    def __init__(self, world: World, core: Core, send: Callable[[str, Any], None]) -> None:
        self._world = world
        self._core = core
        self._send = send
        self._proposals: list[Ask] = []
        #: Clients that wait for the entry at an index: its term, and who asked.
        self._waiting: dict[int, list[tuple[int, Ask]]] = {}
        #: Reads under way: what to do with the index, and what was committed when it was asked.
        self._reads: dict[int, tuple[Callable[[int], None], int]] = {}
        #: Reads that wait until the machine has applied an index.
        self._deferred: list[tuple[int, Ask]] = []
        self._next_read = 1
        self.machine = Registers()
        self.to_apply: deque[Entry] = deque()
        self.applied = 0

    @property
    def reads_under_way(self) -> int:
        """How many reads the core has not answered."""
        return len(self._reads)

    # -- writes --------------------------------------------------------------------------

    def asked(self, ask: Ask) -> None:
        """A client's request arrived."""
        if ask.operation.kind is not Kind.READ:
            self._proposals.append(ask)
        elif self._core.role is Role.LEADER or not self._core.leader:
            self._read(lambda index: self._read_answered(ask, index))
        else:
            self._send(self._core.leader, ReadIndexAsk(ask))

    def propose(self) -> None:
        """Propose all commands that wait, in one call, as a driver does."""
        if not self._proposals:
            return
        asks, self._proposals = self._proposals, []
        try:
            first, term = self._core.propose([encode_command(a.operation) for a in asks])
        except NotApplied:
            for ask in asks:
                self._answer(ask, ok=False)
            return
        for index, ask in enumerate(asks, first):
            # Clients of an entry that was truncated here wait on: others may still hold it.
            self._waiting.setdefault(index, []).append((term, ask))

    def apply(self) -> None:
        """Apply all that is committed, and answer those who waited for it."""
        while self.to_apply:
            entry = self.to_apply.popleft()
            command = entry.type == EntryType.COMMAND
            seen = self.machine.apply(entry.data) if command else 0
            self.applied = entry.index
            # Another entry at the index means that the one waited for is surely lost.
            for term, ask in self._waiting.pop(entry.index, ()):
                self._answer(ask, ok=term == entry.term, seen=seen)
        self._serve_deferred()

    # -- reads ---------------------------------------------------------------------------

    def _read(self, then: Callable[[int], None]) -> None:
        number, self._next_read = self._next_read, self._next_read + 1
        self._reads[number] = (then, len(self._world.invariants.committed))
        try:
            self._core.read(number)
        except NotApplied:
            del self._reads[number]
            then(-1)

    def read_confirmed(self, read: ReadReady) -> None:
        """The core answers a read.

        :raises InvariantBroken: it was answered before, or misses a commit made before it.
        """
        found = self._reads.pop(read.read_id, None)
        if found is None:
            raise InvariantBroken("one answer per read", f"read {read.read_id} again")
        then, committed = found
        if 0 <= read.index < committed:
            raise InvariantBroken(
                "a read sees all commits before it", f"index {read.index}, committed {committed}"
            )
        then(read.index)

    def _read_answered(self, ask: Ask, index: int) -> None:
        if index < 0:
            self._answer(ask, ok=False)
        else:
            self._deferred.append((index, ask))
            self._serve_deferred()

    def read_index_asked(self, question: ReadIndexAsk, asker: str) -> None:
        """A follower asks for a read index."""
        self._read(lambda index: self._send(asker, ReadIndexAnswer(question.ask, index)))

    def read_index_answered(self, answer: ReadIndexAnswer) -> None:
        """The leader's answer to our question."""
        self._read_answered(answer.ask, answer.read_index)

    def _serve_deferred(self) -> None:
        ready = [ask for index, ask in self._deferred if index <= self.applied]
        self._deferred = [pair for pair in self._deferred if pair[0] > self.applied]
        for ask in ready:
            self._answer(ask, ok=True, seen=self.machine.read(ask.operation.key))

    def _answer(self, ask: Ask, *, ok: bool, seen: int = 0) -> None:
        self._send(ask.client, Answer(ask.operation, ok, seen, self._core.leader))
