"""Waits for keys of the store: for one to go, for all that were there before another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Any, Final

from braft_core.errors import Compacted
from braft_core.http2 import Call
from braft_core.store import Event
from braft_etcd.backend import Backend
from braft_etcd.operations import prefix_end

__all__ = ["KeyWaiter", "is_delete"]

_KEY, _VALUE = 0, 1
#: Sort by the revision of creation: descending, ascending.
_NEWEST: Final = [2, 2]
_OLDEST: Final = [2, 1]

Wanted = Callable[[Event], bool]


class KeyWaiter:
    """Reads and waits for keys at one node. Belongs to the loop of the front end."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def oldest(self, call: Call, prefix: bytes) -> tuple[int, Any]:
        """Return the store's revision, and the record of a prefix that was created first."""
        query = (prefix, prefix_end(prefix), 1, 0, _OLDEST)
        revision, _, _, records = await self._backend.query(call, "range", *query)
        return revision, records[0] if records else None

    async def none_before(self, call: Call, prefix: bytes, created: int) -> None:
        """Wait until no key of a prefix is left that was created before a revision.

        Each waits for the one before it alone, so that a key that goes wakes one caller.
        """
        while True:
            query = (prefix, prefix_end(prefix), 1, 0, _NEWEST, [0, 0, 0, created - 1])
            revision, _, _, records = await self._backend.query(call, "range", *query)
            if not records:
                return
            with suppress(Compacted):  # then look again
                await self.event(records[0][_KEY], b"", revision + 1, is_delete)

    async def event(self, key: bytes, end: bytes, begin: int, wanted: Wanted) -> Event:
        """Wait for an event of a key or range, from a revision on.

        :raises Compacted: the history from there on is gone.
        """
        woken, loop = asyncio.Event(), asyncio.get_running_loop()

        def wake() -> None:
            with suppress(RuntimeError):  # the loop has ended, and nobody waits
                loop.call_soon_threadsafe(woken.set)

        with closing(
            self._backend.node.store.watchers.watch(key, end, begin, wake=wake)
        ) as watcher:
            while True:
                woken.clear()
                piece = watcher.take()
                if piece is None:
                    await woken.wait()
                    continue
                for event in piece.events:
                    if wanted(event):
                        return event


def is_delete(event: Event) -> bool:
    """Return whether a key was deleted."""
    return event.record[_VALUE] is None
