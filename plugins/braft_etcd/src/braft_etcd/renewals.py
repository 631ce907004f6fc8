"""Gathers renewals of leases, so that many of them cost one command."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from braft_core.errors import BraftError

__all__ = ["Renewals"]

#: For which renewals are gathered, seconds.
_GATHER: Final = 0.02
#: The most leases in one command.
_MOST: Final = 1_000

Renew = Callable[[list[int]], Awaitable[list[float]]]


class Renewals:
    """Renews leases in batches. Belongs to one event loop."""

    def __init__(self, renew: Renew) -> None:
        """Prepare.

        :param renew: gives leases their whole ttl again; returns the ttls, 0 for one that is gone.
        """
        self._renew = renew
        self._waiting: dict[int, list[asyncio.Future[float]]] = {}
        self._task: asyncio.Task[None] | None = None

    def renew(self, lease: int) -> asyncio.Future[float]:
        """Renew a lease; return a future of its ttl, 0 if there is no such lease.

        A ``BraftError`` as its outcome says that it could not be renewed, or that it is not known
        whether it was.
        """
        future: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(lease, []).append(future)
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        return future

    async def stop(self) -> None:
        """End the task."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _run(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(_GATHER)
                leases = list(self._waiting)[:_MOST]
                await self._batch({lease: self._waiting.pop(lease) for lease in leases})
        finally:
            self._task = None
            for futures in self._waiting.values():
                for future in futures:
                    future.cancel()
            self._waiting.clear()

    async def _batch(self, batch: dict[int, list[asyncio.Future[float]]]) -> None:
        try:
            ttls = await self._renew(list(batch))
        except BraftError as error:
            for futures in batch.values():
                for future in futures:
                    if not future.done():
                        future.set_exception(error)
            return
        except BaseException:
            for futures in batch.values():
                for future in futures:
                    future.cancel()
            raise
        for futures, ttl in zip(batch.values(), ttls, strict=True):
            for future in futures:
                if not future.done():
                    future.set_result(ttl)
