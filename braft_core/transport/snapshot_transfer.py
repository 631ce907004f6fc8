"""Both ends of a snapshot transfer, for every transport.

Owns the threads that read and write contents. Guarantees that each transfer is answered exactly
once. Enforces the receiver's rules: the node is asked before anything is stored, one snapshot at a
time, a bounded number of pieces, and a minimum rate. Knows nothing of how bytes travel.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from math import inf
from typing import Any, TypeVar

from braft_core.abc import SnapshotSink, TransportHandler
from braft_core.errors import BraftError, Busy, DecodeError, StorageError, Unreachable
from braft_core.raft.messages import InstallSnapshot, InstallSnapshotResponse
from braft_core.raft.types import SnapshotMeta

__all__ = ["InboundSnapshot", "SnapshotReader", "SnapshotReceiver", "SnapshotSender"]

_log = logging.getLogger(__name__)

_T = TypeVar("_T")
#: Bytes that have to arrive in :attr:`TransportTiming.snapshot_pace` of waiting for the sender.
_PACE_BYTES = 240 << 10
#: Limit of pieces: a fixed number, and one more for so many bytes of the snapshot.
_SMALL_PIECES, _PIECE_BYTES = 1000, 1024
#: Seconds between two log lines about snapshots that are not received.
_QUIET = 10.0
_SendSnapshot = Callable[[InstallSnapshot], Coroutine[Any, Any, InstallSnapshotResponse]]


class _Worker:
    """A thread that runs the blocking steps of one transfer in order."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    def start(self, step: Callable[..., _T], *args: object) -> asyncio.Future[_T]:
        return self._loop.run_in_executor(self._pool, step, *args)

    def end(self, last: Callable[[], object]) -> asyncio.Future[object]:
        """Run ``last`` after everything else and end the thread; do not wait for it."""
        ended = self._loop.run_in_executor(self._pool, last)
        # Nobody may ask for its outcome; asyncio would log an error as never retrieved.
        ended.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._pool.shutdown(wait=False)
        return ended


# --------------------------------------------------------------------------------------------
# Sending


class SnapshotReader:
    """Reads one of our snapshots on a thread, one chunk ahead. Loop only."""

    def __init__(self, handler: TransportHandler, meta: SnapshotMeta) -> None:
        self._open = handler.open_snapshot
        self._meta = meta
        self._chunks: Iterator[bytes] | None = None
        self._worker = _Worker("braft-snapshot-out")
        self._ahead = self._worker.start(self._read)
        #: Bytes returned so far.
        self.passed = 0

    async def next(self) -> bytes:
        """Return the next chunk; empty at the end.

        :raises StorageError: it cannot be read, or is not as long as its description says.
        """
        chunk = await self._ahead
        self.passed += len(chunk)
        if self.passed > self._meta.size or (not chunk and self.passed < self._meta.size):
            raise StorageError(
                f"snapshot {self._meta.id} does not hold the {self._meta.size} bytes of its "
                "description",
                id=self._meta.id,
            )
        if chunk:
            self._ahead = self._worker.start(self._read)
        return chunk

    def close(self) -> None:
        """Stop reading, at any point. Does not wait for a read under way."""
        if not self._ahead.cancel() and not self._ahead.cancelled():
            self._ahead.exception()  # retrieve it, or asyncio logs it as never retrieved
        self._worker.end(self._drop)

    def _read(self) -> bytes:
        if self._chunks is None:
            self._chunks = self._open(self._meta.id)
        for chunk in self._chunks:
            if chunk:
                return chunk
        return b""

    def _drop(self) -> None:
        self._chunks = None


class SnapshotSender:
    """The transfers of one node: at most one to each peer. Loop only.

    :param send_snapshot: sends the snapshot to ``message.to`` and returns the peer's answer.
    :param deliver: takes the one answer to each transfer: the peer's, or ours if it failed.
    """

    def __init__(
        self, send_snapshot: _SendSnapshot, deliver: Callable[[InstallSnapshotResponse], None]
    ) -> None:
        self._send_snapshot = send_snapshot
        self._deliver = deliver
        self._current: dict[str, asyncio.Task[InstallSnapshotResponse]] = {}
        self._running: set[asyncio.Task[InstallSnapshotResponse]] = set()
        #: Why the last transfer to a peer failed: the same reason is logged once.
        self._failures: dict[str, str] = {}
        self._stopped = False

    def send(self, message: InstallSnapshot) -> None:
        """Begin a transfer, and cancel an older one to the same peer."""
        self.cancel(message.to)
        task = asyncio.get_running_loop().create_task(self._send_snapshot(message))
        self._current[message.to] = task
        self._running.add(task)
        task.add_done_callback(lambda task: self._ended(message, task))

    def cancel(self, server_id: str) -> None:
        """Cancel the transfer to that peer, if there is one; it counts as failed."""
        task = self._current.pop(server_id, None)
        if task is not None:
            task.cancel()

    async def stop(self) -> None:
        """Cancel all transfers; deliver no more answers."""
        self._stopped = True
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _ended(self, message: InstallSnapshot, task: asyncio.Task[InstallSnapshotResponse]) -> None:
        self._running.discard(task)
        if self._current.get(message.to) is task:
            del self._current[message.to]
        response = self._outcome(message, task)
        if not self._stopped:
            self._deliver(replace(response, request_id=message.request_id))

    def _outcome(
        self, message: InstallSnapshot, task: asyncio.Task[InstallSnapshotResponse]
    ) -> InstallSnapshotResponse:
        error = None if task.cancelled() else task.exception()
        if error is None and not task.cancelled():
            self._failures.pop(message.to, None)
            return task.result()
        if error is not None:
            self._log_failure(message, error)
        return InstallSnapshotResponse(message.to, message.sender, term=0, success=False)

    def _log_failure(self, message: InstallSnapshot, error: BaseException) -> None:
        if not isinstance(error, BraftError):
            _log.error("internal error while sending a snapshot", exc_info=error)
        elif self._failures.get(message.to) != error.message:
            self._failures[message.to] = error.message
            _log.warning(
                "snapshot %s did not reach server %s: %s", message.meta.id, message.to, error
            )


# --------------------------------------------------------------------------------------------
# Receiving


class InboundSnapshot:
    """One snapshot that is being received, and written on its own thread. Loop only."""

    def __init__(
        self,
        handler: TransportHandler,
        message: InstallSnapshot,
        task: asyncio.Task[Any] | None,
    ) -> None:
        """:param task: the task that receives it."""
        self.message = message
        #: Whether a newer transfer replaced it.
        self.replaced = False
        #: Whether it is complete and being made durable.
        self.storing = False
        #: Called when it ends.
        self.on_close: Callable[[], None] = lambda: None
        self._task = task
        self._create = handler.create_snapshot
        self._missing = message.meta.size
        self._sink: SnapshotSink | None = None
        self._worker = _Worker("braft-snapshot-in")
        self._over = False
        self._ended: asyncio.Future[object] | None = None
        self._pieces = _SMALL_PIECES + message.meta.size // _PIECE_BYTES

    async def begin(self) -> None:
        """Open the sink. :raises StorageError: the store has no room for it."""
        await self._worker.start(self._open)

    async def write(self, chunk: bytes) -> None:
        """Write a piece of the contents; return when it is written.

        :raises DecodeError: more bytes, or smaller pieces, than allowed.
        :raises StorageError: they cannot be stored.
        """
        if len(chunk) > self._missing:
            raise DecodeError(
                f"the snapshot is larger than the announced {self.message.meta.size} bytes"
            )
        self._missing -= len(chunk)
        self._pieces -= 1
        if self._pieces < 0:
            raise DecodeError(
                f"the snapshot of {self.message.meta.size} bytes comes in too many small pieces"
            )
        if chunk and self._sink is not None:
            await self._worker.start(self._sink.write, chunk)

    def check_complete(self) -> None:
        """Check the length. :raises DecodeError: fewer bytes came than were announced."""
        if self._missing:
            raise DecodeError(
                f"the snapshot ended {self._missing} bytes before the announced "
                f"{self.message.meta.size}"
            )

    async def commit(self) -> InstallSnapshot:
        """Make it durable; return the message for the core."""
        self.check_complete()
        self.storing = True
        meta = await self._worker.start(self._commit)
        self.close()
        return replace(self.message, meta=meta)

    def close(self) -> None:
        """End it, and drop what is not committed. Does not wait. Idempotent."""
        if not self._over:
            self._over = True
            self._ended = self._worker.end(self._abort)
            self.on_close()

    @property
    def has_ended(self) -> bool:
        """Whether nothing of it is left on its thread."""
        return self._ended is not None and self._ended.done()

    async def ended(self) -> None:
        """Wait until its thread has ended, after :meth:`close`."""
        if self._ended is not None:
            await asyncio.shield(self._ended)

    def replace(self) -> None:
        """End it in favour of a newer transfer."""
        self.replaced = True
        self.close()
        if self._task is not None:
            self._task.cancel()

    # These run on the worker's thread.

    def _open(self) -> None:
        self._sink = self._create(self.message.meta)

    def _commit(self) -> SnapshotMeta:
        if self._sink is None:
            raise StorageError("the snapshot was never begun")
        return self._sink.commit()

    def _abort(self) -> None:
        if self._sink is not None:
            self._sink.abort()


class _UnwantedSnapshot(InboundSnapshot):
    """An offer whose contents the node does not want; it answers from the description."""

    async def commit(self) -> InstallSnapshot:
        return self.message

    def close(self) -> None:
        """Do nothing: nothing was opened."""


class _MinimumRate:
    """Enforces a minimum rate. Time spent waiting for our own disk does not count."""

    def __init__(self, pace: float) -> None:
        self._pace = pace
        self._waited, self._came = 0.0, 0

    async def next(self, contents: AsyncGenerator[bytes]) -> bytes | None:
        """Return the next piece, or ``None``. :raises Unreachable: the sender is too slow."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        piece = await anext(contents, None)
        self._waited += loop.time() - began
        self._came += len(piece or b"")
        if self._waited >= self._pace:
            if piece is not None and self._came < _PACE_BYTES:
                raise Unreachable(
                    f"only {self._came} bytes of the snapshot came in {self._waited:.0f} s",
                    sent=True,
                )
            self._waited, self._came = 0.0, 0
        return piece


class SnapshotReceiver:
    """Receives snapshots for a node, one at a time. Loop only.

    :param pace: see :attr:`TransportTiming.snapshot_pace`.
    """

    def __init__(self, handler: TransportHandler, pace: float) -> None:
        self._handler, self._pace = handler, pace
        self._current: InboundSnapshot | None = None
        #: Those of which something may be left on their threads, oldest first.
        self._unfinished: list[InboundSnapshot] = []
        self._logged_at = -inf
        self._suppressed = 0

    def log_failure(self, error: BraftError) -> None:
        """Log that a snapshot was not received, at a bounded rate."""
        now = asyncio.get_running_loop().time()
        if now - self._logged_at < _QUIET:
            self._suppressed += 1
            return
        more = f" (and {self._suppressed} others before)" if self._suppressed else ""
        self._logged_at, self._suppressed = now, 0
        _log.warning("a snapshot was not received: %s%s", error, more)

    async def receive(
        self, message: InstallSnapshot, contents: AsyncGenerator[bytes]
    ) -> InboundSnapshot:
        """Receive a snapshot to its last byte. The caller commits or closes the result.

        A snapshot of a later term, or a newer one of the same leader, replaces the one under way.

        :param contents: not read before the node wants the snapshot and its sink is open.
        :raises Busy: another leader's is under way, or a newer one replaced this one.
        :raises DecodeError: it is longer or shorter than announced.
        :raises Unreachable: the sender is too slow.
        :raises StorageError: it cannot be stored. After any error, nothing of it is left.
        """
        if not self._handler.wants_snapshot(message):
            await contents.aclose()
            return _UnwantedSnapshot(self._handler, message, None)
        incoming = self._admit(message)
        earlier = list(self._unfinished)
        self._unfinished.append(incoming)
        try:
            # All of them are closed, but their files are deleted on their own threads.
            for closed in earlier:
                await closed.ended()
            await incoming.begin()
            rate = _MinimumRate(self._pace)
            async with contextlib.aclosing(contents):
                while (chunk := await rate.next(contents)) is not None:
                    await incoming.write(chunk)
            incoming.check_complete()
        except asyncio.CancelledError:
            incoming.close()
            if not incoming.replaced:
                raise
            raise Busy("a newer snapshot transfer replaced this one") from None
        except BaseException:
            incoming.close()
            raise
        return incoming

    def _admit(self, message: InstallSnapshot) -> InboundSnapshot:
        current = self._current
        if current is not None:
            theirs, term = current.message.sender, current.message.term
            if message.term < term or (message.term == term and message.sender != theirs):
                raise Busy(f"a snapshot of server {theirs} in term {term} is being received")
            if current.storing:
                raise Busy(f"a snapshot of server {theirs} in term {term} is being stored")
            current.replace()
        self._unfinished = [one for one in self._unfinished if not one.has_ended]
        incoming = self._current = InboundSnapshot(self._handler, message, asyncio.current_task())
        incoming.on_close = lambda: self._over(incoming)
        return incoming

    def _over(self, incoming: InboundSnapshot) -> None:
        if self._current is incoming:
            self._current = None
