"""Receives snapshots from nodes of the same process, across threads and loops.

The memory transport delivers the contents.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, TypeVar

from braft_core.abc import TransportHandler
from braft_core.errors import Unreachable, WrongCluster
from braft_core.raft.messages import InstallSnapshot, InstallSnapshotResponse
from braft_core.transport.admission import refuse
from braft_core.transport.snapshot_transfer import InboundSnapshot, SnapshotReader, SnapshotReceiver

__all__ = ["MemorySnapshotReceiver", "on_loop", "watched"]

_T = TypeVar("_T")


class MemorySnapshotReceiver:
    """Receives snapshots for one node, on its loop."""

    def __init__(
        self,
        handler: TransportHandler,
        counters: Counter[str],
        hand_over: Callable[[InstallSnapshot], None],
        pace: float,
    ) -> None:
        """:param hand_over: takes a stored snapshot, whose ``context`` is a future."""
        self._handler = handler
        self._hand_over = hand_over
        self._counters = counters
        self._receiver = SnapshotReceiver(handler, pace)
        self._tasks: set[asyncio.Task[Any]] = set()

    async def receive(
        self, message: InstallSnapshot, cluster_id: str, contents: AsyncGenerator[bytes]
    ) -> InstallSnapshotResponse:
        """Receive a snapshot and return the node's answer.

        :raises BraftError: it is not for this node, malformed, or cannot be stored.
        """
        refusal = refuse(self._handler.identity, cluster_id, message.to)
        if refusal is not None:
            self._counters[refusal.kind] += 1
            raise WrongCluster(f"server {message.to} refuses us: {refusal.reason}")
        self._keep(asyncio.current_task())
        incoming = await self._receiver.receive(message, contents)
        # What is stored must reach the node, even if the leader goes away meanwhile.
        storing = asyncio.create_task(self._store(incoming))
        self._keep(storing)
        return await asyncio.shield(storing)

    async def _store(self, incoming: InboundSnapshot) -> InstallSnapshotResponse:
        try:
            message = await incoming.commit()
        finally:
            incoming.close()
        answer: asyncio.Future[InstallSnapshotResponse] = asyncio.get_running_loop().create_future()
        message.context = answer
        self._hand_over(message)
        return await answer

    async def stop(self) -> None:
        """Cancel everything."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _keep(self, task: asyncio.Task[Any] | None) -> None:
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)


def on_loop(loop: asyncio.AbstractEventLoop, step: Coroutine[Any, Any, _T]) -> asyncio.Future[_T]:
    """Run a coroutine on another node's loop. :raises Unreachable: that node is gone."""
    try:
        return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(step, loop))
    except RuntimeError as error:
        step.close()
        raise Unreachable("the node is gone", sent=False) from error


async def watched(receiving: asyncio.Future[_T], source: SnapshotReader, stall: float) -> _T:
    """Wait for the result, as long as the transfer makes progress.

    :raises Unreachable: it made none for ``stall`` seconds.
    """
    try:
        passed = -1
        while not receiving.done():
            if source.passed == passed:
                raise Unreachable(f"the transfer made no progress for {stall} s", sent=True)
            passed = source.passed
            await asyncio.wait({receiving}, timeout=stall)
        return receiving.result()
    finally:
        receiving.cancel()
