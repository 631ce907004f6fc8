"""A simulated disk: what was written, what of it is durable, and what a crash leaves behind.

Batches are queued by the server, synced in groups after a latency, and become durable one by one
in order. A crash keeps any prefix of the unsynced batches (a torn batch is a lost batch). The
disk also refuses what no correct core may ask of it: gaps, a term that decreases, a vote that
changes.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

from braft_core.raft.ready import Ready
from braft_core.raft.types import (
    Configuration,
    Entry,
    EntryType,
    HardState,
    decode_configuration,
)
from braft_core.testing.simulation.clock import Scheduler
from braft_core.testing.simulation.errors import InvariantBroken

__all__ = ["Disk", "LogImage", "configuration_of"]

_cached_configuration = lru_cache(maxsize=4096)(decode_configuration)


def configuration_of(entry: Entry) -> Configuration:
    """The configuration that a CONFIGURATION entry carries."""
    return _cached_configuration(bytes(entry.data))


@dataclass(slots=True)
class LogImage:
    """Hard state and log as some observer would find them; entry ``i`` is ``entries[i - 1]``."""

    hard_state: HardState = field(default_factory=HardState)
    entries: list[Entry] = field(default_factory=list)
    #: (index, configuration) of each CONFIGURATION entry, in order.
    configurations: list[tuple[int, Configuration]] = field(default_factory=list)

    def copy(self) -> LogImage:
        """An independent copy."""
        return LogImage(self.hard_state, list(self.entries), list(self.configurations))

    def term_at(self, index: int) -> int:
        """Term of the entry at ``index``; 0 before the first, -1 beyond the last."""
        if index == 0:
            return 0
        return self.entries[index - 1].term if index <= len(self.entries) else -1

    def apply(self, ready: Ready) -> None:
        """Take over the persistent part of a batch.

        :raises InvariantBroken: if no correct core would ask for it.
        """
        if ready.hard_state is not None:
            self._set_hard_state(ready.hard_state)
        if ready.truncate_from is not None:
            self._truncate(ready.truncate_from)
        for entry in ready.entries:
            self.append(entry)

    def append(self, entry: Entry) -> None:
        """Add one entry at the end."""
        if entry.index != len(self.entries) + 1:
            raise InvariantBroken(
                "no gaps", f"entry {entry.index} written after {len(self.entries)}"
            )
        self.entries.append(entry)
        if entry.type == EntryType.CONFIGURATION:
            self.configurations.append((entry.index, configuration_of(entry)))

    def _truncate(self, index: int) -> None:
        if index < 1:
            raise InvariantBroken("no gaps", f"truncation from {index}")
        del self.entries[index - 1 :]
        while self.configurations and self.configurations[-1][0] >= index:
            self.configurations.pop()

    def _set_hard_state(self, new: HardState) -> None:
        old = self.hard_state
        if new.term < old.term:
            raise InvariantBroken("stored term never decreases", f"{old} then {new}")
        if new.term == old.term and old.voted_for and new.voted_for != old.voted_for:
            raise InvariantBroken("stored vote never changes", f"{old} then {new}")
        self.hard_state = new


class Disk:
    """One server's disk. ``latency`` is asked for the seconds of each sync."""

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
        self._queue: deque[Ready] = deque()
        self._syncing = False
        self._life = 0
        self.durable = initial.copy()
        self.volatile = initial.copy()
        #: Called for each batch at the moment it became durable.
        self.on_durable: Callable[[Ready], None] = lambda ready: None

    def submit(self, ready: Ready) -> None:
        """Queue one batch; the first of an idle disk starts a sync."""
        self.volatile.apply(ready)
        if not self._queue and not ready.must_persist:
            self.on_durable(ready)
            return
        self._queue.append(ready)
        if not self._syncing:
            self._start()

    def crash(self) -> int:
        """Lose a random suffix of what was not synced; returns how many batches were lost."""
        kept = self._rng.randint(0, len(self._queue))
        for _ in range(kept):
            self.persist(self._queue.popleft())
        lost = len(self._queue)
        self._queue.clear()
        self._syncing = False
        self._life += 1
        self.volatile = self.durable.copy()
        return lost

    def persist(self, ready: Ready) -> None:
        """Make one batch durable. (A separate method so that a mutant disk may forget parts.)"""
        self.durable.apply(ready)

    def _start(self) -> None:
        self._syncing = True
        count = len(self._queue)
        if count > 1 and self._rng.random() < 0.3:
            count = self._rng.randint(1, count)
        self._scheduler.after(self._latency(), self._finish, self._life, count)

    def _finish(self, life: int, count: int) -> None:
        if life != self._life:
            return
        for _ in range(count):
            ready = self._queue.popleft()
            self.persist(ready)
            self.on_durable(ready)
        self._syncing = False
        if self._queue:
            self._start()
