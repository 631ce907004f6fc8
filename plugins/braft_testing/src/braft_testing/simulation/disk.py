"""A simulated disk: what was written, what is durable, and what is left after a crash.

The server queues batches. They are synced in groups after a latency, and become durable one by one,
in order. A crash keeps any prefix of the unsynced batches (a torn batch is lost). A full disk keeps
everything waiting. The disk also rejects what a correct core never requests: gaps, a term that
decreases, a vote that changes, a log compacted without a snapshot.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import inf
from typing import NamedTuple

from braft_core.abc import StoredState
from braft_core.cluster.bootstrap_record import EMPTY_RECORD, BootstrapRecord
from braft_core.raft.ready import Ready
from braft_core.raft.types import (
    Configuration,
    Entry,
    EntryType,
    HardState,
    SnapshotMeta,
    decode_configuration,
)
from braft_testing.simulation.clock import Scheduler
from braft_testing.simulation.errors import InvariantBroken
from braft_testing.simulation.snapshot_store import SimulatedSnapshotStore

__all__ = ["Compaction", "Disk", "LogImage", "configuration_of"]

#: Seconds after which a write to a full disk is tried again.
_RETRY_FULL = 0.5

_cached_configuration = lru_cache(maxsize=4096)(decode_configuration)


def configuration_of(entry: Entry) -> Configuration:
    """Return the configuration in a CONFIGURATION entry."""
    return _cached_configuration(bytes(entry.data))


class Compaction(NamedTuple):
    """Compact the log up to an entry that a snapshot covers."""

    upto: int
    term: int


@dataclass(slots=True)
class LogImage:
    """Hard state and log as stored; ``base`` is the last compacted entry."""

    hard_state: HardState = field(default_factory=HardState)
    entries: list[Entry] = field(default_factory=list)
    #: (index, configuration) of each CONFIGURATION entry, in order, and of the last before them.
    configurations: list[tuple[int, Configuration]] = field(default_factory=list)
    base: int = 0
    base_term: int = 0
    #: What all servers have committed: only that is ever compacted.
    history: Sequence[Entry] = ()

    def copy(self) -> LogImage:
        """Return an independent copy."""
        return LogImage(
            self.hard_state,
            list(self.entries),
            list(self.configurations),
            self.base,
            self.base_term,
            self.history,
        )

    @property
    def last_index(self) -> int:
        """Index of the last entry."""
        return self.base + len(self.entries)

    @property
    def stored(self) -> StoredState:
        """The state that a store returns to a starting node."""
        return StoredState(self.hard_state, list(self.entries), self.base, self.base_term)

    def term_at(self, index: int) -> int:
        """Return the term of the entry at ``index``; 0 before the first, -1 beyond the last."""
        if index > self.base:
            position = index - self.base - 1
            return self.entries[position].term if position < len(self.entries) else -1
        if index == self.base:
            return self.base_term
        return self.history[index - 1].term if index else 0

    def apply(self, change: Ready | Compaction) -> None:
        """Apply the persistent part of a batch, or compact the log.

        :raises InvariantBroken: if no correct core would request it.
        """
        if isinstance(change, Compaction):
            self._compact(change)
            return
        if change.hard_state is not None:
            self.set_hard_state(change.hard_state)
        if change.truncate_from is not None:
            self._truncate(change.truncate_from)
        if change.snapshot is not None:
            self.reset(change.snapshot)
        for entry in change.entries:
            self.append(entry)

    def append(self, entry: Entry) -> None:
        """Add one entry at the end."""
        if entry.index != self.last_index + 1:
            raise InvariantBroken(
                "the log has no gaps", f"entry {entry.index} written after {self.last_index}"
            )
        self.entries.append(entry)
        if entry.type == EntryType.CONFIGURATION:
            self.configurations.append((entry.index, configuration_of(entry)))

    def reset(self, meta: SnapshotMeta) -> None:
        """Discard the whole log and continue behind a snapshot."""
        self.entries.clear()
        self.configurations = [(meta.configuration_index, meta.configuration)]
        self.base, self.base_term = meta.index, meta.term

    def _compact(self, compaction: Compaction) -> None:
        if compaction.upto <= self.base:
            return
        if self.term_at(compaction.upto) != compaction.term:
            raise InvariantBroken(
                "the log has no gaps",
                f"cut at {compaction}, which holds {self.term_at(compaction.upto)}",
            )
        del self.entries[: compaction.upto - self.base]
        self.base, self.base_term = compaction.upto, compaction.term
        while len(self.configurations) > 1 and self.configurations[1][0] <= compaction.upto:
            del self.configurations[0]

    def _truncate(self, index: int) -> None:
        if index <= self.base:
            raise InvariantBroken(
                "the log has no gaps", f"truncation from {index}, behind {self.base}"
            )
        del self.entries[index - self.base - 1 :]
        while self.configurations and self.configurations[-1][0] >= index:
            self.configurations.pop()

    def set_hard_state(self, new: HardState) -> None:
        """Store term and vote."""
        old = self.hard_state
        if new.term < old.term:
            raise InvariantBroken("stored term never decreases", f"{old} then {new}")
        if new.term == old.term and old.voted_for and new.voted_for != old.voted_for:
            raise InvariantBroken("stored vote never changes", f"{old} then {new}")
        self.hard_state = new


class Disk:
    """One server's disk. ``latency`` returns the seconds of each sync."""

    def __init__(
        self,
        scheduler: Scheduler,
        latency: Callable[[], float],
        rng: random.Random,
        initial: LogImage,
    ) -> None:
        self._scheduler = scheduler
        self._latency = latency
        self._rng = rng
        self._queue: deque[Ready | Compaction] = deque()
        self._life = 0
        self.durable = initial.copy()
        self.volatile = initial.copy()
        self.snapshots = SimulatedSnapshotStore()
        #: The durable state of the bootstrap, and the cluster of this server.
        self.bootstrap_record: BootstrapRecord = EMPTY_RECORD
        self.cluster_id = ""
        self.full = False
        #: Whether nothing can be read; then the server does not start.
        self.unreadable = False
        #: When the present write began, infinity between writes.
        self.writing_since = inf
        #: Called for each batch when it becomes durable.
        self.on_durable: Callable[[Ready], None] = lambda ready: None

    def submit(self, ready: Ready) -> None:
        """Queue one batch; the first of an idle disk starts a sync."""
        self.volatile.apply(ready)
        if not self._queue and not ready.must_persist:
            self.on_durable(ready)
            return
        self._enqueue(ready)

    def compact(self, compaction: Compaction) -> None:
        """Queue the compaction of the log, behind earlier batches.

        :raises InvariantBroken: if no snapshot covers what would be lost.
        """
        reached = max((meta.index for meta in self.snapshots.list()), default=0)
        if reached < compaction.upto:
            raise InvariantBroken(
                "only entries in a snapshot are compacted",
                f"{compaction}, snapshots reach {reached}",
            )
        self.volatile.apply(compaction)
        self._enqueue(compaction)

    def _enqueue(self, change: Ready | Compaction) -> None:
        self._queue.append(change)
        if self.writing_since == inf:
            self._start()

    def crash(self) -> int:
        """Lose a random suffix of what was not synced; return how many batches were lost."""
        kept = 0 if self.full else self._rng.randint(0, len(self._queue))
        for _ in range(kept):
            self.persist(self._queue.popleft())
        lost = len(self._queue)
        self._queue.clear()
        self.writing_since = inf
        self._life += 1
        self.volatile = self.durable.copy()
        return lost

    def wipe(self) -> None:
        """Lose everything, as if the data directory had been emptied. The server is dead."""
        self.durable = LogImage(history=self.durable.history)
        self.volatile = self.durable.copy()
        self.snapshots.clear()
        self.bootstrap_record, self.cluster_id = EMPTY_RECORD, ""

    def persist(self, change: Ready | Compaction) -> None:
        """Make one batch durable, in a separate method so that a mutant disk may lose parts."""
        self.durable.apply(change)

    def repair(self, change: Callable[[LogImage], None]) -> None:
        """Change what is stored, durably, while the server does not run."""
        change(self.durable)
        self.volatile = self.durable.copy()

    def _start(self) -> None:
        self.writing_since = self._scheduler.now
        count = len(self._queue)
        if count > 1 and self._rng.random() < 0.3:
            count = self._rng.randint(1, count)
        self._scheduler.after(self._latency(), self._finish, self._life, count)

    def _finish(self, life: int, count: int) -> None:
        if life != self._life:
            return
        if self.full:  # nothing was written; try again until there is space
            self._scheduler.after(_RETRY_FULL, self._finish, life, count)
            return
        for _ in range(count):
            change = self._queue.popleft()
            self.persist(change)
            if isinstance(change, Ready):
                self.on_durable(change)
        self.writing_since = inf
        if self._queue:
            self._start()
