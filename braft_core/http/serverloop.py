"""The event loop that an HTTP server's application runs on, in a thread of its own."""

from __future__ import annotations

import asyncio

from braft_core.runtime.blocking import forbid_blocking
from braft_core.runtime.daemon_executor import DaemonExecutor
from braft_core.runtime.loop import new_loop

__all__ = ["close_loop", "make_loop"]

_REASON = (
    "a call that waits for the node was made on the event loop of the HTTP server, where all other "
    "requests wait meanwhile; await the method with an 'a' before its name, such as "
    "node.aquery(...), or run the work in a thread (asyncio.to_thread)"
)


def make_loop(name: str) -> asyncio.AbstractEventLoop:
    """Make the loop and set it, on the thread that will run it.

    :param name: of the threads that it may make for what blocks.
    """
    loop = new_loop()
    loop.set_default_executor(DaemonExecutor(f"{name}-beside"))
    asyncio.set_event_loop(loop)
    forbid_blocking(_REASON)
    return loop


def close_loop(loop: asyncio.AbstractEventLoop) -> None:
    """End what still runs on the loop, and close it."""
    while tasks := asyncio.all_tasks(loop):
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.run_until_complete(loop.shutdown_default_executor())
    asyncio.set_event_loop(None)
    loop.close()
