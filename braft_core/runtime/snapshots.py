"""Snapshots of a running node: decide when one is due, take it, offer and receive one.

The applier thread captures the state between two commands, which is cheap. Another thread writes it
while commands go on. Once it is durable the log is compacted, except for a tail from which slow
followers catch up by entries.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from braft_core.abc import SnapshotStore, WriteBatch
from braft_core.errors import BraftError, InvalidRequest, NotReady, ProtocolViolation, StorageError
from braft_core.raft import Configuration, InstallSnapshot, RaftCore, SnapshotMeta
from braft_core.runtime.applier import Applier, Capture
from braft_core.runtime.components import Components
from braft_core.runtime.platform import Platform

__all__ = ["SnapshotPolicy", "Snapshotter"]

_log = logging.getLogger(__name__)
#: What an entry takes in memory beside its data: a tuple and three numbers.
_ENTRY_BYTES = 200
#: Snapshots kept: the one in use, and one to restore by hand.
_KEEP = 2


Compact = Callable[[SnapshotMeta, int], Awaitable[int]]


class SnapshotPolicy(NamedTuple):
    """When a snapshot is due, and what is left of the log then."""

    #: Entries applied since the last one.
    entries: int
    #: Bytes that the log takes in memory.
    bytes: int
    #: Entries left in front of it for followers a little behind.
    trailing: int

    def due(self, since: int, log_bytes: int, last_size: int) -> bool:
        """Whether the log has grown enough to be worth another snapshot.

        A large state is written less often: not before the log holds a quarter of its size.
        """
        grown = since >= self.entries or log_bytes >= self.bytes
        return since > 0 and grown and log_bytes >= min(last_size // 4, 4 * self.bytes)


class Snapshotter:
    """Lives on the loop; one snapshot at a time."""

    def __init__(
        self,
        components: Components,
        applier: Applier,
        core: RaftCore,
        policy: SnapshotPolicy,
        on_taken: Callable[[SnapshotMeta], None],
    ) -> None:
        self._components = components
        self._store = components.storage.snapshots
        self._applier = applier
        self._core = core
        self._loop = asyncio.get_running_loop()
        self._policy = policy
        self._on_taken = on_taken
        self._lock = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._asked: set[asyncio.Task[SnapshotMeta]] = set()
        self._tidying: set[asyncio.Future[None]] = set()
        self._writing: _Write | None = None
        self._compact: Compact | None = None
        #: The newest snapshot, taken, received or found at start.
        self.last: SnapshotMeta | None = None
        #: Whether its file is gone, so that another one is needed at once.
        self._lost = False

    @property
    def is_taking(self) -> bool:
        """Whether a snapshot is on its way to the store."""
        return self._lock.locked()

    def start(self, last: SnapshotMeta | None, compact: Compact) -> None:
        """Start taking snapshots when they are due.

        :param last: the snapshot from which the replica starts.
        :param compact: called with each durable snapshot.
        """
        self.last, self._compact = last, compact
        self._task = self._loop.create_task(self._run())

    def verify(self) -> None:
        """*Any thread.* Take another snapshot if the newest was removed from the store.

        The log before it is compacted: the next start could not restore the state.
        """
        last = self.last
        if last is None or self._lost or self._store.holds(last.id):
            return
        if last is self.last:
            self._lost = True
            _log.error("snapshot %s is gone from the data directory: taking another one", last.id)

    def cancel(self) -> None:
        """Take no more snapshots, and abort the one that is being written. Idempotent."""
        if self._writing is not None:
            self._writing.cancel()
        if self._task is not None:
            self._task.cancel()

    async def stop(self) -> None:
        """Wait for the end of all tasks, after :meth:`cancel`."""
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
        if self._writing is not None:
            await self._writing.end(self._components.timing.thread_join)
        await asyncio.gather(*self._tidying, return_exceptions=True)

    async def _run(self) -> None:
        timing = self._components.timing
        while True:
            await asyncio.sleep(timing.snapshot_check)
            if not self._is_due():
                continue
            try:
                await self.take()
            except BraftError as error:
                _log.error("no snapshot could be taken; trying again later: %s", error)
                await asyncio.sleep(timing.snapshot_retry)

    def _is_due(self) -> bool:
        if self._applier.fault:
            return False
        if self._lost:
            return True
        last_index = self.last.index if self.last is not None else 0
        last_size = self.last.size if self.last is not None else 0
        since = self._applier.applied_index - last_index
        log = self._core.log
        held = log.last_index - log.compacted_index
        return self._policy.due(since, log.size + held * _ENTRY_BYTES, last_size)

    async def request(self) -> SnapshotMeta:
        """:meth:`take`, which goes on when the caller no longer waits."""
        asked = asyncio.get_running_loop().create_task(self.take())
        self._asked.add(asked)
        asked.add_done_callback(self._answered)
        return await asyncio.shield(asked)

    def _answered(self, asked: asyncio.Task[SnapshotMeta]) -> None:
        self._asked.discard(asked)
        if not asked.cancelled() and (error := asked.exception()) is not None:
            _log.warning("a snapshot that was asked for could not be taken: %s", error)

    async def take(self) -> SnapshotMeta:
        """Take a snapshot now and compact the log.

        :raises NotReady: nothing was applied yet.
        :raises StorageError: it could not be written; nothing is compacted then.
        """
        async with self._lock:
            compact = self._compact
            if compact is None:
                raise NotReady("no snapshot can be taken before the node has started")
            capture = await self._applier.capture()
            if capture.index == 0:
                raise NotReady("there is nothing to take a snapshot of: no entry was applied yet")
            if self.last is not None and self.last.index == capture.index and not self._lost:
                return self.last
            log = self._core.log
            if self.last is not None and log.compacted_index > capture.index:
                return self.last  # a received snapshot has overtaken the capture
            at, configuration = log.configuration_entry_at(capture.index)
            name = f"braft-{self._components.ports.raft}-snapshot"
            platform = self._components.platform
            self._writing = _Write(self._store, capture, configuration, at, platform, name)
            try:
                meta = await self._writing.result()
            except BraftError:
                self._writing = None
                raise
            self.last, self._lost = meta, False
            self._on_taken(meta)
            compacted = await compact(meta, meta.index - self._policy.trailing)
            self._writing = None
            # Only after the core knows the new one: until then it sends an older one.
            in_use = self._core.snapshot or meta
            await asyncio.to_thread(self._store.retain, _KEEP, in_use.id)
            _log.info(
                "snapshot at index %d, %d bytes; the log begins at %d now",
                meta.index,
                meta.size,
                compacted + 1,
                extra={"node": self._components.server_id},
            )
            return meta

    def name_last(self) -> None:
        """*Writer*, after :meth:`stop`. Name a complete snapshot that the stop came before.

        The files of those that the store names may be gone, which is why this one was taken.
        """
        if self._writing is not None and (meta := self._writing.written) is not None:
            self._components.storage.write([WriteBatch(snapshot=meta)])

    def name(self, meta: SnapshotMeta, index: int, term: int) -> None:
        """*Writer.* Name a snapshot of ours in the store, then forget entries up to ``index``."""
        storage = self._components.storage
        storage.write([WriteBatch(snapshot=meta)])
        storage.compact(index, term)

    # -- receiving -------------------------------------------------------------------------------

    def wants(self, message: InstallSnapshot) -> bool:
        """See :meth:`TransportHandler.wants_snapshot`."""
        offer = message.meta
        limit = self._components.settings.snapshot_max_bytes
        what = f"the snapshot at entry {offer.index} that server {message.sender} offers is refused"
        try:
            needed = self._core.needs_snapshot(message)
        except ProtocolViolation as error:
            raise InvalidRequest(f"{what}: {error.data['rule']}") from error
        if offer.size > limit:
            raise InvalidRequest(
                f"{what}: it has {offer.size} bytes; BRAFT_SNAPSHOT_MAX_BYTES allows {limit}"
            )
        return needed

    def received(self, meta: SnapshotMeta) -> None:
        """Count from a received snapshot, which replaces the state."""
        self.last = meta

    def discard(self, meta: SnapshotMeta) -> None:
        """Delete a received snapshot that Raft did not take."""
        _log.info("deleting the received snapshot %s: Raft has no use for it", meta.id)
        self._tidy(self._store.delete, meta.id)

    def named(self, meta: SnapshotMeta) -> None:
        """*Writer.* Delete the snapshots that a received one replaces."""
        try:
            self._loop.call_soon_threadsafe(self._tidy, self._store.retain, _KEEP, meta.id)
        except RuntimeError:
            _log.debug("a snapshot was named after the node had stopped")

    def _tidy(self, action: Callable[..., None], *args: object) -> None:
        task = asyncio.ensure_future(asyncio.to_thread(action, *args))
        self._tidying.add(task)
        task.add_done_callback(self._tidied)

    def _tidied(self, task: asyncio.Future[None]) -> None:
        self._tidying.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.warning("a snapshot that is not used cannot be deleted now: %s", error)


class _Write:
    """One snapshot on its way to the store, in a thread of its own."""

    def __init__(
        self,
        store: SnapshotStore,
        capture: Capture,
        configuration: Configuration,
        configuration_index: int,
        platform: Platform,
        name: str,
    ) -> None:
        self._store = store
        self._capture = capture
        self._configuration = configuration
        self._configuration_index = configuration_index
        self._loop = asyncio.get_running_loop()
        self._done: asyncio.Future[SnapshotMeta] = self._loop.create_future()
        self._cancelled = threading.Event()
        #: The snapshot once it is complete and durable.
        self.written: SnapshotMeta | None = None
        platform.spawn(name, self._run)

    async def result(self) -> SnapshotMeta:
        """Wait until it is durable. The write goes on if the caller is cancelled."""
        return await asyncio.shield(self._done)

    async def end(self, timeout: float) -> None:
        """Wait at most so long until the thread has written it or given it up."""
        await asyncio.wait([self._done], timeout=timeout)
        if self._done.done() and not self._done.cancelled():
            self._done.exception()  # whoever waited for it is gone

    def cancel(self) -> None:
        """Abort at the next chunk."""
        self._cancelled.set()

    def _run(self) -> None:
        try:
            meta = self.written = self._write()
        except Exception as error:  # noqa: BLE001 - a service's snapshot may raise anything
            self._tell(error)
        else:
            self._tell(meta)

    def _write(self) -> SnapshotMeta:
        capture = self._capture
        sink = self._store.create(
            capture.index, capture.term, self._configuration, self._configuration_index
        )
        try:
            for chunk in capture.chunks:
                if self._cancelled.is_set():
                    raise StorageError("the node is stopping")
                sink.write(chunk)
            meta = sink.commit()
        except BaseException:
            sink.abort()
            raise
        return meta

    def _tell(self, outcome: SnapshotMeta | Exception) -> None:
        def settle() -> None:
            if self._done.done():
                return
            if isinstance(outcome, SnapshotMeta):
                self._done.set_result(outcome)
            elif isinstance(outcome, BraftError):
                self._done.set_exception(outcome)
            else:
                problem = StorageError(f"the state could not be captured: {outcome!r}")
                problem.__cause__ = outcome
                self._done.set_exception(problem)

        try:
            self._loop.call_soon_threadsafe(settle)
        except RuntimeError:
            _log.debug("a snapshot was finished after the node had stopped")
