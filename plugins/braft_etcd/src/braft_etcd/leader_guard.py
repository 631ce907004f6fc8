"""Ends calls that demand a leader (metadata ``hasleader``) when there is none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

from braft_core.http2 import Call, CallFailed, Status
from braft_etcd.backend import Backend
from braft_etcd.errors import failure

__all__ = ["LeaderGuard"]

#: Between two looks, seconds.
_INTERVAL: Final = 0.5
_DEMANDED: Final = (b"hasleader", b"true")


class LeaderGuard:
    """Watches whether this node knows a leader. Belongs to the loop of the front end."""

    def __init__(self, backend: Backend, patience: float) -> None:
        """Prepare.

        :param patience: seconds without a leader after which streams end.
        """
        self._backend = backend
        self._patience = patience
        self._streams: set[asyncio.Task[Any]] = set()
        self._ended: set[asyncio.Task[Any]] = set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to watch."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End the task."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def check(self, call: Call) -> None:
        """Refuse a call that demands a leader while none is known. :raises CallFailed: then."""
        if _demands(call) and self._backend.node.leader is None:
            raise _no_leader()

    async def guard(self, call: Call, answers: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """Yield the answers of a stream; end it if it demands a leader and there is none.

        :raises CallFailed: then.
        """
        task = asyncio.current_task() if _demands(call) else None
        if task is not None:
            self._streams.add(task)
        try:
            async for each in answers:
                yield each
        except asyncio.CancelledError:
            if task is None or task not in self._ended:
                raise
            task.uncancel()
            raise _no_leader() from None
        finally:
            if task is not None:
                self._streams.discard(task)
                self._ended.discard(task)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        seen = loop.time()
        while True:
            await asyncio.sleep(_INTERVAL)
            if self._backend.node.leader is not None:
                seen = loop.time()
            elif loop.time() - seen > self._patience:
                for task in self._streams - self._ended:
                    self._ended.add(task)
                    task.cancel()


def _demands(call: Call) -> bool:
    return any(pair == _DEMANDED for pair in call.metadata)


def _no_leader() -> CallFailed:
    return failure(Status.UNAVAILABLE, "no leader")
