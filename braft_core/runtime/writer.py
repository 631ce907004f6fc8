"""The writer thread: the only one that touches the store while the node runs.

Group commit: everything that queued up during one durable write goes into the next. Batches are
written and reported in order. A full disk is waited out (nothing is lost, nothing is
acknowledged); any other failure of the store ends the node, because after a failed sync nobody
knows what the disk holds.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from math import inf
from typing import NamedTuple

from braft_core.abc import Storage, WriteBatch
from braft_core.errors import StorageError, StorageFull
from braft_core.raft import Message
from braft_core.runtime import clock
from braft_core.runtime.platform import THREADS, Platform
from braft_core.runtime.timing import Timing
from braft_core.runtime.workers import EndOfWork

__all__ = ["Writer", "WriterReport", "as_storage_error"]

_log = logging.getLogger(__name__)


class WriterReport(NamedTuple):
    """Batches up to ``number`` are durable; ``messages`` waited for that."""

    number: int
    messages: list[Message]
    #: Seconds the durable write took.
    seconds: float


class _Job(NamedTuple):
    number: int
    batch: WriteBatch | None
    messages: list[Message]
    action: Callable[[], None] | None = None


class Writer:
    """Runs ``Storage.write``. ``on_durable`` and ``on_trouble`` are called on ``loop``."""

    def __init__(
        self,
        storage: Storage,
        loop: asyncio.AbstractEventLoop,
        name: str,
        on_durable: Callable[[WriterReport], None],
        on_trouble: Callable[[StorageError | None], None],
        timing: Timing,
        platform: Platform = THREADS,
    ) -> None:
        self._timing = timing
        self._storage = storage
        self._loop = loop
        self._on_durable = on_durable
        self._on_trouble = on_trouble
        self._worker = platform.worker(name, self._work, self._begin, many=True)
        self._in_flight = 0
        #: When the jobs under way were taken, and whether the disk was full for them.
        self._began, self._troubled = 0.0, False
        #: When the write under way began; infinity between writes. Read on any thread.
        self.writing_since = inf
        #: Seconds that the latest write took, and when it ended.
        self._took, self._ended = 0.0, -inf
        self._logged = -inf

    def start(self) -> None:
        """Start the thread."""
        self._worker.start()

    @property
    def idle(self) -> bool:
        """Whether everything submitted was reported. Loop thread only."""
        return self._in_flight == 0

    def stalled(self, now: float) -> str:
        """Return that a write takes too long, "" if none does. Any thread."""
        taken = now - self.writing_since
        return (
            f"a write to the disk has taken {taken:.1f} s so far"
            if taken > self._timing.write_stalled
            else ""
        )

    def slow(self, now: float) -> str:
        """Return that the disk is slow, "" if it is not. Any thread."""
        taken, timing = now - self.writing_since, self._timing
        if taken > timing.write_slow:
            return f"the disk is slow: a write has taken {taken:.1f} s so far"
        if self._took > timing.write_slow and now - self._ended < timing.slow_write_reported:
            return f"the disk is slow: the last write took {self._took:.1f} s"
        return ""

    def submit(self, number: int, batch: WriteBatch | None, messages: list[Message]) -> None:
        """Queue a batch (``None``: nothing to write, but its messages keep their place)."""
        self._in_flight += 1
        self._worker.put(_Job(number, batch, messages))

    def run(self, action: Callable[[], None]) -> None:
        """Queue maintenance of the store, such as compaction, behind what was submitted."""
        self._in_flight += 1
        self._worker.put(_Job(0, None, [], action))

    def stop(self, timeout: float) -> None:
        """Write what is queued and end the thread."""
        self._worker.stop(timeout)

    @property
    def ended(self) -> bool:
        """Whether the thread has ended, after :meth:`stop`."""
        return self._worker.ended

    # -- on the writer thread --------------------------------------------------------------------

    def _begin(self) -> None:
        self._began = self.writing_since = clock.monotonic()
        self._troubled = False

    def _work(self, jobs: Sequence[_Job]) -> float | None:
        """Write and report. Return seconds to wait for space if the disk is full."""
        batches = [job.batch for job in jobs if job.batch is not None]
        if batches and not self._persist(batches):
            return self._timing.full_disk_retry
        ended = clock.monotonic()
        self._took, self._ended, self.writing_since = ended - self._began, ended, inf
        quiet = ended - self._logged <= self._timing.slow_write_reported
        if self._took > self._timing.write_slow and not quiet:
            self._logged = ended
            _log.warning(
                "a write to the disk took %.1f s; elections and acknowledgements wait for the disk",
                self._took,
            )
        messages = [message for job in jobs for message in job.messages]
        number = max(job.number for job in jobs)
        report = WriterReport(number, messages, self._took)
        self._tell(self._report, report, len(jobs))
        maintained = [self._maintain(job.action) for job in jobs if job.action is not None]
        if not all(maintained):
            raise EndOfWork
        return None

    def _maintain(self, action: Callable[[], None]) -> bool:
        try:
            action()
        except StorageFull as error:
            # Compaction frees space but may need some first; the next one is tried later.
            _log.error("the store could not be compacted: %s", error)
        except Exception as error:  # noqa: BLE001 - as in _persist
            self._tell(self._on_trouble, as_storage_error(error))
            return False
        return True

    def _persist(self, batches: list[WriteBatch]) -> bool:
        """Write; return whether it is durable, ``False`` if the disk is full.

        :raises EndOfWork: the store failed for good.
        """
        try:
            self._storage.write(batches)
        except StorageFull as error:
            if not self._troubled:
                _log.error("the disk is full, writes wait for space: %s", error)
                self._tell(self._on_trouble, error)
                self._troubled = True
            return False
        except Exception as error:
            self._tell(self._on_trouble, as_storage_error(error))
            raise EndOfWork from error
        if self._troubled:
            _log.info("the disk has space again, writes go on")
            self._tell(self._on_trouble, None)
        return True

    def _report(self, report: WriterReport, jobs: int) -> None:
        self._in_flight -= jobs
        self._on_durable(report)

    def _tell(self, callback: Callable[..., None], *args: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:
            # The loop is closed: the node has stopped.
            _log.debug("a write finished after the node had stopped")


def as_storage_error(error: Exception) -> StorageError:
    """Return an error of the store as a ``StorageError``."""
    if isinstance(error, StorageError):
        return error
    wrapped = StorageError(f"the store failed unexpectedly: {error!r}")
    wrapped.__cause__ = error
    return wrapped
