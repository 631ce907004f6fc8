"""The one queue of requests that wait for another attempt.

Whoever learns that an attempt failed puts the request here: the applier, the forwarder, the driver
whose leadership was lost. Only the loop submits from here, in a turn of its own. So no answer ever
runs a submission, and between two attempts each request has exactly one owner.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable

from braft_core.errors import BraftError, Stopped
from braft_core.runtime.requests import Command, Query, Request, settle

__all__ = ["RetryQueue"]


class RetryQueue:
    """Owns requests between two attempts. Any thread, except :meth:`start`.

    :param submit: takes a request for its next attempt; called on the loop.
    :param delay: between the first failure and the attempts that follow, seconds. Requests that
        fail meanwhile share the attempt.
    """

    def __init__(self, submit: Callable[[Command | Query], None], delay: float) -> None:
        self._submit, self._delay = submit, delay
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped: BraftError | None = None
        #: By whether they skip the delay.
        self._waiting: dict[bool, list[Command | Query]] = {True: [], False: []}

    def start(self) -> None:
        """*Loop.* Take requests from now on."""
        self._loop = asyncio.get_running_loop()

    def put(self, request: Command | Query, *, at_once: bool = False) -> bool:
        """Take a request; return ``False`` if there is no further attempt: the node stops.

        :param at_once: in the next turn of the loop, without the delay.
        """
        with self._lock:
            loop = self._loop
            if self._stopped is not None or loop is None:
                return False
            waiting = self._waiting[at_once]
            waiting.append(request)
            first = len(waiting) == 1
        if first:
            try:
                if at_once:
                    loop.call_soon_threadsafe(self._attempt, True)
                else:
                    loop.call_soon_threadsafe(loop.call_later, self._delay, self._attempt, False)
            except RuntimeError:  # the loop has ended
                return False
        return True

    def put_all(self, requests: Iterable[Command | Query], *, at_once: bool = False) -> None:
        """Take requests; settle those that get no further attempt."""
        for request in requests:
            if not self.put(request, at_once=at_once):
                settle([(request, self._stopped or Stopped("the node was stopped"))])

    def _attempt(self, at_once: bool) -> None:
        with self._lock:
            due, self._waiting[at_once] = self._waiting[at_once], []
        for request in due:
            request.attempt(self._submit)

    def expire(self, now: float) -> list[Request]:
        """Return the requests whose deadline has passed, and forget them."""
        late: list[Request] = []
        with self._lock:
            for at_once, waiting in self._waiting.items():
                late += [request for request in waiting if request.deadline <= now]
                self._waiting[at_once] = [each for each in waiting if each.deadline > now]
        return late

    def stop(self, reason: BraftError) -> None:
        """Answer what waits with ``reason``, and take nothing from now on. Idempotent."""
        with self._lock:
            self._stopped = self._stopped or reason
            waiting = [request for each in self._waiting.values() for request in each]
            self._waiting = {True: [], False: []}
        settle((request, reason) for request in waiting)
