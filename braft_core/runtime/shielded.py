"""Run blocking work for an async caller, shielded from cancellation: a start, a stop.

If the caller is cancelled, the work is finished, and undone if ``undo`` is given, before the
cancellation goes on. The work runs in daemon threads, so that work that hangs blocks neither the
caller's executor nor the end of the process.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

__all__ = ["run_shielded"]

_T = TypeVar("_T")


async def run_shielded(
    name: str, work: Callable[[], _T], undo: Callable[[], object] | None = None
) -> _T:
    """Run ``work`` in a thread and return its result.

    :param name: of the thread.
    :param undo: run after ``work`` has succeeded for a caller that was cancelled meanwhile.
    :raises asyncio.CancelledError: the caller was cancelled; ``work`` and ``undo`` have ended.
    """
    running, cancelled = await _run(name, work)
    if cancelled is None:
        return running.result()
    if undo is not None and running.exception() is None:
        undoing, _ = await _run(name, undo)
        if (failure := undoing.exception()) is not None:
            raise cancelled from failure
    raise cancelled


async def _run(
    name: str, work: Callable[[], _T]
) -> tuple[concurrent.futures.Future[_T], asyncio.CancelledError | None]:
    future: concurrent.futures.Future[_T] = concurrent.futures.Future()

    def run() -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - it is raised where the caller waits
            future.set_exception(error)
        else:
            future.set_result(result)

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    cancelled = await _ended(future)
    thread.join()  # it has nothing left to do
    return future, cancelled


async def _ended(running: concurrent.futures.Future[Any]) -> asyncio.CancelledError | None:
    """Wait for the end, however often the caller is cancelled; return the last cancellation."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()

    def tell(_: object) -> None:
        with suppress(RuntimeError):  # the caller's loop is closed: nobody waits any more
            loop.call_soon_threadsafe(ended.set)

    running.add_done_callback(tell)
    cancelled = None
    while not ended.is_set():
        try:
            await ended.wait()
        except asyncio.CancelledError as error:
            cancelled = error
    return cancelled
