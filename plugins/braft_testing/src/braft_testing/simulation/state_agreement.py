"""Check that every server has the same state after the same entries.

An observer of state machines and snapshots. The answers to an entry are equal everywhere. A
snapshot holds the state after exactly the entries that it covers, and the configuration there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from braft_core.errors import BraftError
from braft_core.raft.types import Configuration, Entry, EntryType, SnapshotMeta
from braft_testing.simulation.disk import configuration_of
from braft_testing.simulation.errors import InvariantBroken

__all__ = ["StateAgreement"]


class StateAgreement:
    """Records the first server's answers and snapshots, and compares all others with them."""

    def __init__(self, committed: Sequence[Entry]) -> None:
        self._committed = committed
        #: Whether equal states have equal bytes in snapshots.
        self.compares_contents = True
        self._configurations: list[tuple[int, Configuration]] = []
        self._answers: dict[int, Any] = {}
        self._contents: dict[int, tuple[bytes, str]] = {}
        #: How many snapshots were stored.
        self.placed = 0

    def note_committed(self, entry: Entry) -> None:
        """Record the next entry of the one history."""
        if entry.type == EntryType.CONFIGURATION:
            self._configurations.append((entry.index, configuration_of(entry)))

    def check_outcome(self, server: str, index: int, outcome: Any) -> None:
        """Check the outcome of an entry that a state machine applied.

        :raises InvariantBroken: if it differs from that of another one.
        """
        if isinstance(outcome, BraftError):
            outcome = (outcome.code, outcome.message)
        first = self._answers.setdefault(index, outcome)
        if first != outcome and repr(first) != repr(outcome):  # NaN differs from itself
            raise InvariantBroken(
                "all servers give the same answers",
                f"{server} answers {outcome!r} to entry {index}, another one {first!r}",
            )

    def check_snapshot(self, server: str, meta: SnapshotMeta, contents: bytes) -> None:
        """Check a snapshot that a server stored.

        :raises InvariantBroken: if it is not the state of a committed prefix.
        """
        self.placed += 1
        if meta.index > len(self._committed) or self._committed[meta.index - 1].term != meta.term:
            raise InvariantBroken("snapshots hold only committed entries", f"{server}: {meta}")
        before = [pair for pair in self._configurations if pair[0] <= meta.index]
        if before and before[-1] != (meta.configuration_index, meta.configuration):
            raise InvariantBroken(
                "a snapshot holds the configuration at its index",
                f"{server}: {meta}, but it is {before[-1]}",
            )
        if not self.compares_contents:
            return
        digest = hashlib.blake2b(contents, digest_size=16).digest()
        first, holder = self._contents.setdefault(meta.index, (digest, server))
        if first != digest:
            raise InvariantBroken(
                "a snapshot holds the state at its index",
                f"{server} and {holder} hold different ones at {meta.index}",
            )
