"""The log of one server: its entries, and how far they were emitted and are durable.

It holds the entries after the compaction point and every configuration among them. A server uses
the latest configuration in its log, committed or not (Raft §6), and returns to the one before it
when entries are truncated.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from operator import attrgetter

from braft_core.errors import InvariantViolation
from braft_core.raft.types import (
    EMPTY_CONFIGURATION,
    Configuration,
    Entry,
    EntryType,
    SnapshotMeta,
    decode_configuration,
)

__all__ = ["RaftLog"]


class RaftLog:
    """Consecutive entries from ``first_index`` to ``last_index``.

    ``compacted_index`` and ``compacted_term`` are those of the entry before the first one (0 and 0
    for a whole log); ``base`` is the configuration in force there.
    """

    __slots__ = (
        "_configurations",
        "_entries",
        "_taken_index",
        "_truncate_from",
        "_truncation_batch",
        "compacted_index",
        "compacted_term",
        "durable_index",
        "last_index",
        "size",
        "voters",
    )

    def __init__(
        self,
        entries: Sequence[Entry],
        compacted_index: int = 0,
        compacted_term: int = 0,
        base: Configuration = EMPTY_CONFIGURATION,
        base_index: int = 0,
    ) -> None:
        self.compacted_index = compacted_index
        self.compacted_term = compacted_term
        self._entries: list[Entry] = []
        self._configurations: list[tuple[int, Configuration]] = [(base_index, base)]
        #: Ids of the voters of the configuration in use; cached because every message needs them.
        self.voters = base.voters
        #: Index of the last entry.
        self.last_index = compacted_index
        self._taken_index = compacted_index
        self._truncate_from: int | None = None
        self._truncation_batch = 0
        self.durable_index = compacted_index
        #: Bytes of data in the entries held.
        self.size = 0
        self.append(entries)
        self._taken_index = self.durable_index = self.last_index

    # -- reading ------------------------------------------------------------------------

    @property
    def first_index(self) -> int:
        """Index of the first entry of the log; of an empty log, the next index."""
        return self.compacted_index + 1

    @property
    def last_term(self) -> int:
        """Term of the last entry."""
        return self._entries[-1].term if self._entries else self.compacted_term

    def term_at(self, index: int) -> int | None:
        """Return the term of the entry at ``index``; ``None`` if it is compacted or missing."""
        position = index - self.compacted_index - 1
        if 0 <= position < len(self._entries):
            return self._entries[position].term
        return self.compacted_term if position == -1 else None

    def slice(self, low: int, high: int, max_bytes: int | None = None) -> list[Entry]:
        """Return entries ``low`` ≤ index < ``high``, at least one, then up to ``max_bytes``."""
        start = low - self.compacted_index - 1
        if start < 0:
            raise InvariantViolation(
                f"entry {low} was requested, but the log begins at {self.first_index}",
                index=low,
                first_index=self.first_index,
            )
        found = self._entries[start : high - self.compacted_index - 1]
        if max_bytes is not None:
            total = 0
            for count, entry in enumerate(found):
                total += len(entry.data)
                if total > max_bytes and count:
                    return found[:count]
        return found

    def first_index_of_term_at(self, index: int) -> int:
        """Return the first index of the term at ``index`` (fast backtracking, Raft §5.3)."""
        term = self.term_at(index)
        if term is None or index <= self.first_index:
            return index
        # Terms never decrease along a log.
        place = bisect_left(
            self._entries, term, hi=index - self.compacted_index, key=attrgetter("term")
        )
        return self.first_index + place

    @property
    def configuration(self) -> Configuration:
        """The configuration in use: the latest in the log (Raft §6)."""
        return self._configurations[-1][1]

    @property
    def configuration_index(self) -> int:
        """Index of the entry that holds the configuration in use."""
        return self._configurations[-1][0]

    @property
    def previous_configuration(self) -> Configuration:
        """The configuration before the one in use; the one in use if no other is known."""
        return self._configurations[max(0, len(self._configurations) - 2)][1]

    def configuration_at(self, index: int) -> Configuration:
        """Return the configuration in force at ``index``: the latest one at or before it."""
        return self.configuration_entry_at(index)[1]

    def configuration_entry_at(self, index: int) -> tuple[int, Configuration]:
        """Return the configuration in force at ``index`` and the index of its entry."""
        for entry in reversed(self._configurations):
            if entry[0] <= index:
                return entry
        return self._configurations[0]

    # -- writing ------------------------------------------------------------------------

    def append(self, entries: Sequence[Entry]) -> bool:
        """Add entries at the end; return True if a configuration was among them."""
        if not entries:
            return False
        if entries[0].index != self.last_index + 1:
            raise InvariantViolation(
                f"entry {entries[0].index} does not follow {self.last_index}",
                index=entries[0].index,
                last_index=self.last_index,
            )
        self._entries.extend(entries)
        self.last_index += len(entries)
        self.size += _size(entries)
        changed = False
        for entry in entries:
            if entry.type == EntryType.CONFIGURATION:
                self._configurations.append((entry.index, decode_configuration(entry.data)))
                changed = True
        if changed:
            self.voters = self.configuration.voters
        return changed

    def truncate(self, index: int, next_batch: int) -> bool:
        """Remove the entries from ``index`` on; return True if the configuration in use changed.

        ``next_batch`` is the number of the first batch that can bring the truncation to disk.
        :meth:`stable_to` ignores earlier batches, which wrote the removed entries.
        """
        position = index - self.compacted_index - 1
        self.size -= _size(self._entries[position:])
        del self._entries[position:]
        self.last_index = index - 1
        if index <= self._taken_index:
            pending = self._truncate_from
            self._truncate_from = index if pending is None else min(pending, index)
            self._taken_index = index - 1
            self._truncation_batch = next_batch
        self.durable_index = min(self.durable_index, index - 1)
        changed = False
        while len(self._configurations) > 1 and self._configurations[-1][0] >= index:
            self._configurations.pop()
            changed = True
        if changed:
            self.voters = self.configuration.voters
        return changed

    def compact(self, index: int) -> None:
        """Remove the entries up to and including ``index``, which a snapshot covers."""
        term = self.term_at(index)
        if term is None or index > self.durable_index:
            raise InvariantViolation(
                f"cannot compact to {index}: the log holds {self.first_index} to "
                f"{self.last_index}, durably to {self.durable_index}",
                index=index,
            )
        base = max(c for c in self._configurations if c[0] <= index or c is self._configurations[0])
        self._configurations = [base, *(c for c in self._configurations if c[0] > index)]
        count = index - self.compacted_index
        self.size -= _size(self._entries[:count])
        del self._entries[:count]
        self.compacted_index, self.compacted_term = index, term

    def restore(self, meta: SnapshotMeta, next_batch: int) -> None:
        """Replace the whole log by a snapshot, which ``next_batch`` makes durable."""
        self._entries.clear()
        self.size = 0
        self._configurations = [(meta.configuration_index, meta.configuration)]
        self.voters = meta.configuration.voters
        self.compacted_index, self.compacted_term = meta.index, meta.term
        self.last_index = self._taken_index = meta.index
        self._truncate_from = None
        self._truncation_batch = next_batch
        self.durable_index = 0

    # -- the disk -----------------------------------------------------------------------

    @property
    def has_unstable(self) -> bool:
        """True if there is something that :meth:`take_unstable` has not yet returned."""
        return self._taken_index < self.last_index or self._truncate_from is not None

    def take_unstable(self) -> tuple[int | None, list[Entry]]:
        """Return what the next batch must make durable: a truncation point, and new entries."""
        truncate_from, self._truncate_from = self._truncate_from, None
        entries = self._entries[self._taken_index - self.compacted_index :]
        self._taken_index = self.last_index
        return truncate_from, entries

    def stable_to(self, batch: int, last_index: int, last_term: int) -> None:
        """Note that ``batch``, whose last entry was (``last_index``, ``last_term``), is durable."""
        if batch >= self._truncation_batch and self.term_at(last_index) == last_term:
            self.durable_index = max(self.durable_index, last_index)


def _size(entries: Sequence[Entry]) -> int:
    return sum([len(entry.data) for entry in entries])
