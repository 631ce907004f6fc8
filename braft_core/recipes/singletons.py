"""``node.singleton(function, name=...)``: a function that runs in one process at a time.

The function holds a lock while it runs. When the lock is lost, it is cancelled, and called again
once this process holds the lock anew. Meanwhile it may run elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from braft_core.errors import BraftError, LockLost, NotAcquired, NotApplied, OutcomeUnknown, Stopped
from braft_core.recipes.lock import Lock
from braft_core.store import Once

__all__ = ["asingleton", "singleton"]

_T = TypeVar("_T")
#: Seconds until the lock is tried again after an error of the cluster.
_PAUSE: Final = 1.0


def singleton(
    make_lock: Callable[[], Lock], function: Callable[[Lock], _T], *, pause: float = _PAUSE
) -> _T:
    """Call a function with the lock until it returns; see :meth:`Node.singleton`."""
    while True:
        lock = make_lock()
        try:
            lock.acquire()
        except BraftError as error:
            if not _may_pass(error):
                raise
            Once().wait(pause)
            continue
        try:
            result = function(lock)
        except LockLost:
            if not lock.lost.is_set():
                raise  # of another lock
        else:
            if not lock.lost.is_set():
                return result
        finally:
            lock.release()


async def asingleton(
    make_lock: Callable[[], Lock],
    function: Callable[[Lock], Awaitable[_T]],
    *,
    pause: float = _PAUSE,
) -> _T:
    """Call :func:`singleton` asynchronously. The function is cancelled when the lock is lost."""
    while True:
        lock = make_lock()
        is_held = False
        try:
            async with lock:
                is_held = True
                return await function(lock)
        except BraftError as error:
            if is_held:
                if not (isinstance(error, LockLost) and lock.lost.is_set()):
                    raise
            elif _may_pass(error):
                await asyncio.sleep(pause)
            else:
                raise


def _may_pass(error: BraftError) -> bool:
    """Return whether a lock may be had later that this error has kept from us."""
    if isinstance(error, NotApplied):
        return error.safe_to_retry and not isinstance(error, Stopped)
    return isinstance(error, NotAcquired | OutcomeUnknown)
