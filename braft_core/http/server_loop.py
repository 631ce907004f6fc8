"""The event loop on which an HTTP server runs its application, in a thread of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from braft_core.http import grace_periods
from braft_core.runtime.blocking import forbid_blocking
from braft_core.runtime.daemon_executor import DaemonExecutor
from braft_core.runtime.loop import new_loop

__all__ = ["close_loop", "make_loop", "run_in_thread"]

_T = TypeVar("_T")

_REASON = (
    "a blocking call of the node was made on the event loop of the HTTP server, which stalls all "
    "other requests; await the method with an 'a' before its name, such as "
    "node.aquery(...), or run the work in a thread (asyncio.to_thread)"
)


def make_loop(name: str) -> asyncio.AbstractEventLoop:
    """Create the event loop and set it on the calling thread, which will run it.

    :param name: prefix of the names of its worker threads (:func:`run_in_thread`).
    """
    loop = new_loop()
    loop.set_default_executor(DaemonExecutor(f"{name}-worker", grace_periods.WORKER_GRACE))
    asyncio.set_event_loop(loop)
    forbid_blocking(_REASON)
    return loop


async def run_in_thread(work: Callable[..., _T], *args: Any) -> _T:
    """Run ``work`` in a worker thread of the loop: it takes long, or may wait for a disk."""
    return await asyncio.get_running_loop().run_in_executor(None, work, *args)


def close_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel all tasks of the loop, and close it."""
    while tasks := asyncio.all_tasks(loop):
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.run_until_complete(loop.shutdown_default_executor())
    asyncio.set_event_loop(None)
    loop.close()
