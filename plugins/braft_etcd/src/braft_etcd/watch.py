"""The service ``Watch``: many watches of a client in one stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from braft_core.http2 import Call
from braft_core.tokens import Role
from braft_etcd.backend import Backend
from braft_etcd.rpc import Rpc, rpc
from braft_etcd.watch_stream import WatchStream
from braft_etcd.wire import Values

__all__ = ["WatchHandlers"]


class WatchHandlers:
    """Handlers of one node."""

    def __init__(self, backend: Backend, progress: float) -> None:
        """Prepare.

        :param progress: seconds without events after which a watch that asked for it is notified.
        """
        self._backend = backend
        self._progress = progress

    def calls(self) -> tuple[Rpc, ...]:
        """Return the call of the service."""
        return (rpc("Watch/Watch", stream=self.watch, role=Role.READ),)

    async def watch(self, requests: AsyncIterator[Values], _call: Call) -> AsyncIterator[Values]:
        """Serve the watches of one stream. It ends when the caller ends it, or fails."""
        stream = WatchStream(self._backend, asyncio.get_running_loop())
        tasks: list[asyncio.Task[Any]] = [
            asyncio.create_task(_read(requests, stream)),
            asyncio.create_task(_notify(stream, self._progress)),
        ]
        try:
            while True:
                answer = stream.next_answer()
                if answer is not None:
                    yield answer
                elif stream.is_done:
                    return
                else:
                    await stream.wait()
        finally:
            stream.close()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


async def _read(requests: AsyncIterator[Values], stream: WatchStream) -> None:
    try:
        async for request in requests:
            stream.take(request)
            # A client that asks and does not read answers is read no further.
            await stream.drained()
    except Exception as error:  # noqa: BLE001 - it ends the stream, whatever it is
        stream.fail(error)
    else:
        stream.end()


async def _notify(stream: WatchStream, interval: float) -> None:
    while True:
        await asyncio.sleep(interval)
        stream.notify()
