"""Keeps this node's client URL in the store, so that every node can list it."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from braft_core.errors import BraftError
from braft_etcd.backend import Backend

__all__ = ["Announcer"]

_log = logging.getLogger(__name__)

#: Between two looks, and after a failure, seconds.
_INTERVAL: Final = 10.0
_RETRY: Final = 0.5


class Announcer:
    """Announces a node. Belongs to the loop of the front end."""

    def __init__(self, backend: Backend, name: str, url: str) -> None:
        self._backend = backend
        self._row = [backend.node.server_id, name, [url]]
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to announce."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End the task. The announcement stays: the node is a member still."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        # Again and again: a node that was removed and joins again has to be listed again.
        while True:
            try:
                await self._backend.node.await_ready()
                if self._row not in await self._backend.stale("members"):
                    await self._backend.node.aexecute("store", "announce", *self._row)
            except BraftError as error:
                _log.debug("cannot announce where clients reach this node: %s", error)
                await asyncio.sleep(_RETRY)
            else:
                await asyncio.sleep(_INTERVAL)
