"""Where a stored log begins and ends, and which changes keep it consecutive.

Pure. All stores share it, so that they refuse the same writes with the same messages.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from braft_core.abc import WriteBatch
from braft_core.errors import StorageError

__all__ = ["Bounds"]


class Bounds(NamedTuple):
    """A log holds the indexes ``compacted_index + 1 .. last_index``, without a gap."""

    compacted_index: int = 0
    compacted_term: int = 0
    last_index: int = 0

    @property
    def begin(self) -> tuple[int, int]:
        """Index and term of the last entry before the log."""
        return self.compacted_index, self.compacted_term

    def after(self, batches: Iterable[WriteBatch]) -> Bounds:
        """Return the bounds after ``batches`` are written.

        :raises StorageError: they would leave a gap, repeat an index, or truncate compacted
            entries. The store must then write none of them.
        """
        bounds = self
        for batch in batches:
            if batch.truncate_from is not None:
                bounds = bounds._truncated(batch.truncate_from)
            if batch.reset is not None:
                index, term = batch.reset
                bounds = Bounds(index, term, index)
            if batch.entries:
                bounds = bounds._replace(last_index=_appended(bounds.last_index, batch))
        return bounds

    def compacted(self, index: int, term: int) -> Bounds:
        """Return the bounds after everything up to and including ``index`` is removed.

        :raises StorageError: the log does not reach that far.
        """
        if index > self.last_index:
            raise StorageError(
                f"cannot compact up to index {index}: the log ends at {self.last_index}",
                index=index,
                last_index=self.last_index,
            )
        return self._replace(compacted_index=index, compacted_term=term)

    def _truncated(self, first_removed: int) -> Bounds:
        if first_removed <= self.compacted_index:
            raise StorageError(
                f"cannot truncate from index {first_removed}: "
                f"entries up to {self.compacted_index} are compacted",
                index=first_removed,
                compacted_index=self.compacted_index,
            )
        return self._replace(last_index=min(self.last_index, first_removed - 1))


def _appended(last: int, batch: WriteBatch) -> int:
    first, final, count = batch.entries[0].index, batch.entries[-1].index, len(batch.entries)
    if first != last + 1:
        raise StorageError(
            f"cannot append index {first}: the log ends at {last}", index=first, last_index=last
        )
    # Check each index: a store may keep only the position of an entry.
    if [entry.index for entry in batch.entries] != list(range(first, last + count + 1)):
        raise StorageError(
            f"cannot append {count} entries from {first} to {final}: indexes are not consecutive",
            index=first,
        )
    return final
