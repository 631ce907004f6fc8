"""A node holds the file of one received snapshot at a time, however transfers follow each other."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from typing import Any, cast

import pytest

from braft_core.abc import SnapshotSink, TransportHandler
from braft_core.errors import Busy, Unreachable
from braft_core.raft import InstallSnapshot, SnapshotMeta
from braft_core.raft.types import Configuration, Server
from braft_core.transport.snapshot_transfer import InboundSnapshot, SnapshotReceiver

LONG = 20.0


class Sink(SnapshotSink):
    """Counts as a file from its creation to the end of its abort, which may be held up."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        handler.count(+1)

    def write(self, chunk: bytes) -> None:
        """Take anything."""

    def commit(self, verify: Any = None) -> SnapshotMeta:
        raise NotImplementedError

    def abort(self) -> None:
        assert self._handler.may_delete.wait(LONG)
        self._handler.count(-1)


class Handler:
    """Wants every snapshot."""

    def __init__(self) -> None:
        self.may_delete = threading.Event()
        self.files = self.most = self.created = 0
        self._lock = threading.Lock()

    def count(self, change: int) -> None:
        with self._lock:
            self.files += change
            self.created += change > 0
            self.most = max(self.most, self.files)

    def wants_snapshot(self, message: InstallSnapshot) -> bool:
        return True

    def create_snapshot(self, meta: SnapshotMeta) -> SnapshotSink:
        return Sink(self)


def offer() -> InstallSnapshot:
    configuration = Configuration((Server("a", "127.0.0.1:1"),))
    return InstallSnapshot("a", "b", 2, SnapshotMeta("", 5, 1, configuration, 1, 4))


async def contents(*chunks: bytes, then: BaseException | None = None) -> AsyncGenerator[bytes]:
    for chunk in chunks:
        yield chunk
    if then is not None:
        raise then
    await asyncio.Event().wait()


def test_a_transfer_begins_when_no_file_of_earlier_ones_is_left() -> None:
    handler = Handler()
    receiver = SnapshotReceiver(cast(TransportHandler, handler), LONG)

    async def scenario() -> None:
        with pytest.raises(Unreachable):  # its file is still being deleted
            await receiver.receive(offer(), contents(b"ab", then=Unreachable("gone", sent=True)))
        second = asyncio.create_task(receiver.receive(offer(), contents(b"ab")))
        await asyncio.sleep(0)
        third = asyncio.create_task(receiver.receive(offer(), contents(b"abcd", b"")))
        with pytest.raises(Busy):
            await second
        for _ in range(20):  # a third one that does not wait would begin meanwhile
            await asyncio.sleep(0.005)
        assert handler.created == 1
        handler.may_delete.set()
        while handler.created < 2:  # noqa: ASYNC110 - other threads count
            await asyncio.sleep(0.001)
        third.cancel()
        with pytest.raises(asyncio.CancelledError):
            await third
        while handler.files:  # noqa: ASYNC110 - other threads count
            await asyncio.sleep(0.001)

    asyncio.run(asyncio.wait_for(scenario(), LONG))
    assert handler.most == 1


def test_ended_transfers_are_forgotten() -> None:
    handler = Handler()
    handler.may_delete.set()
    receiver = SnapshotReceiver(cast(TransportHandler, handler), LONG)

    async def scenario() -> None:
        for _ in range(20):
            failing = contents(b"ab", then=Unreachable("gone", sent=True))
            with pytest.raises(Unreachable):
                await receiver.receive(offer(), failing)
        unfinished: list[InboundSnapshot] = receiver._unfinished
        assert len(unfinished) <= 2
        for last in unfinished:
            await last.ended()

    asyncio.run(asyncio.wait_for(scenario(), LONG))
    assert (handler.most, handler.files) == (1, 0)
