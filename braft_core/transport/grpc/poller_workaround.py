"""Keeps a harmless race of grpc.aio out of the user's log.

All event loops of a process share grpc.aio's poller. When an event arrives, every loop wakes, and
the slower ones find the socket empty: ``BlockingIOError`` in ``PollerCompletionQueue``. Only that
error is dropped; everything else goes to the previous exception handler.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

__all__ = ["install", "remove"]

Previous = Callable[[asyncio.AbstractEventLoop, dict[str, Any]], Any] | None


class _Filter:
    """A loop's exception handler, shared by the transports on that loop."""

    def __init__(self, previous: Previous) -> None:
        self.previous = previous
        self.users = 0

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if _is_poller_race(context):
            return
        if self.previous is not None:
            self.previous(loop, context)
        else:
            loop.default_exception_handler(context)


def _is_poller_race(context: dict[str, Any]) -> bool:
    return isinstance(
        context.get("exception"), BlockingIOError
    ) and "PollerCompletionQueue._handle_events" in str(context.get("message", ""))


def install(loop: asyncio.AbstractEventLoop) -> None:
    """Filter this loop's reports, until as many calls of :func:`remove`."""
    current = loop.get_exception_handler()
    if not isinstance(current, _Filter):
        current = _Filter(current)
        loop.set_exception_handler(current)
    current.users += 1


def remove(loop: asyncio.AbstractEventLoop) -> None:
    """Undo one :func:`install`; a handler set since then is left alone."""
    current = loop.get_exception_handler()
    if isinstance(current, _Filter):
        current.users -= 1
        if current.users == 0:
            loop.set_exception_handler(current.previous)
