"""What the connections of one server share: the application, the limits, the clock, the budgets."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from braft_core.http2.calls import Application
from braft_core.http2.frames import ENHANCE_YOUR_CALM, ConnectionFailed
from braft_core.http2.limits import Limits

__all__ = ["FloodGuard", "Host"]

_T = TypeVar("_T")


class Host:
    """Shared state of a server's connections. All of it belongs to one loop."""

    def __init__(
        self, application: Application, limits: Limits, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.application: Final = application
        self.methods: Final = {
            path.encode(): method for path, method in application.methods.items()
        }
        self.limits: Final = limits
        self.loop: Final = loop
        #: Monotonic seconds, as of the last sweep: cheap, and exact enough for limits.
        self.now = loop.time()
        #: Octets of answers that peers' windows hold back, on all connections.
        self.unread = 0
        #: Octets of requests that handlers have not taken, on all connections.
        self.buffered = 0
        #: What handlers are doing.
        self.tasks: Final[set[asyncio.Task[Any]]] = set()

    def create_task(self, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        """Start a task that the end of the server waits for."""
        task = self.loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task


class FloodGuard:
    """Counts what a peer may do only so often; one for each connection."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._since = host.now
        self._counts: dict[str, int] = {}

    def note(self, what: str, limit: int) -> None:
        """Count one.

        Raises:
            ConnectionFailed: there were more than ``limit`` in the interval.
        """
        interval = self._host.limits.flood_interval
        if self._host.now - self._since >= interval:
            self._since = self._host.now
            self._counts.clear()
        count = self._counts.get(what, 0) + 1
        if count > limit:
            raise ConnectionFailed(
                ENHANCE_YOUR_CALM, f"more than {limit} {what} in {interval:g} seconds"
            )
        self._counts[what] = count

    def forget(self, what: str) -> None:
        """Start to count anew."""
        self._counts.pop(what, None)
