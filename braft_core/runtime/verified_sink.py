"""The sink of a received snapshot, which is stored only if this node can restore it.

The contents are read back and checked before the snapshot has a name. An unreadable snapshot would
otherwise replace the state by nothing, now or at the next start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from braft_core.abc import SnapshotSink
from braft_core.raft import SnapshotMeta

__all__ = ["VerifiedSink"]


class VerifiedSink(SnapshotSink):
    """The sink of a received snapshot.

    :param check: raises for contents that the state machine cannot restore. On the transfer's
        thread.
    """

    def __init__(self, sink: SnapshotSink, check: Callable[[Iterator[bytes]], None]) -> None:
        self._sink = sink
        self._check = check

    def write(self, chunk: bytes) -> None:
        """See the base class."""
        self._sink.write(chunk)

    def commit(self, verify: Callable[[Iterator[bytes]], None] | None = None) -> SnapshotMeta:
        """See the base class. :raises DecodeError: the contents are no snapshot of ours."""
        return self._sink.commit(verify or self._check)

    def abort(self) -> None:
        """See the base class."""
        self._sink.abort()
