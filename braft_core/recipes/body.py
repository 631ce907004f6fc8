"""Cancels the task that runs the body of an ``async with`` statement, when a thing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from braft_core.store import Once

__all__ = ["Body"]


class Body:
    """One body, from :meth:`begin` to :meth:`end`. It cancels as ``asyncio.timeout`` does.

    A cancellation from elsewhere at the same time goes on as one.
    """

    def __init__(self) -> None:
        self._task: asyncio.Task[object] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop_listening: Callable[[], None] | None = None
        self._cancelling = 0
        self._cancelled = False

    def begin(self, lost: Once) -> None:
        """Cancel the current task when ``lost`` happens, at once if it has."""
        self._task, self._loop = asyncio.current_task(), asyncio.get_running_loop()
        if self._task is not None:
            self._cancelling = self._task.cancelling()
        self._stop_listening = lost.listen(self._on_lost)

    def end(self, kind: type[BaseException] | None) -> bool:
        """End the body, which raised an error of that kind, if any.

        Return whether a ``CancelledError`` that it raised is ours alone.

        :raises asyncio.CancelledError: the body ended without an error, and a cancellation from
            elsewhere was merged with ours.
        """
        if self._stop_listening is not None:
            self._stop_listening()
        task, self._task = self._task, None
        if task is None or not self._cancelled:
            return False
        # Ours was delivered: it was made while the task waited for something.
        is_cancelled = kind is not None and issubclass(kind, asyncio.CancelledError)
        is_ours_alone = task.uncancel() <= self._cancelling
        if kind is None and not is_ours_alone:
            raise asyncio.CancelledError
        return is_cancelled and is_ours_alone

    def _on_lost(self) -> None:
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed: the body has ended
                self._loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        if self._task is not None and not self._cancelled:
            self._cancelled = True
            self._task.cancel()
