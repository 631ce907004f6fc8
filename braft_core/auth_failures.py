"""Counts callers without a valid token, logs them at a bounded rate, and delays their answers.

No caller is locked out: a delay affects one answer only, and the next attempt is checked afresh.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from braft_core.escaping import printable

__all__ = ["DELAY", "AuthFailures", "refused_token_message"]

_log = logging.getLogger(__name__)

#: Seconds by which the answer to a wrong token is delayed.
DELAY = 0.5
#: Answers that are delayed at a time; further ones are sent at once, to hold no memory.
_MAX_WAITING = 64
#: Seconds between two log lines about one address.
_QUIET = 60.0
#: Addresses that are remembered; then the one refused longest ago is dropped.
_MAX_ADDRESSES = 1024
#: Log lines in ``_QUIET`` seconds, about all addresses.
_MAX_LINES = 60


class AuthFailures:
    """Refused callers of one port. Any thread.

    :param entrance: the port's name in the log.
    """

    def __init__(self, entrance: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._entrance = entrance
        self._clock = clock
        self._lock = threading.Lock()
        #: By address: when it was last logged, and the refusals since.
        self._known: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self._window, self._lines = clock(), 0
        self._waiting = 0

    def record(self, address: str) -> None:
        """Record a refused caller; log it, unless its address was logged recently."""
        now = self._clock()
        with self._lock:
            since, number = self._known.pop(address, (now - _QUIET, 0))
            number += 1
            log_it = now - since >= _QUIET and self._may_log(now)
            self._known[address] = (now, 0) if log_it else (since, number)
            while len(self._known) > _MAX_ADDRESSES:
                self._known.popitem(last=False)
        if log_it:
            _log.warning(
                "%s: refused %d attempt(s) of %s: no token, or not one of this cluster with the "
                "role that is needed (BRAFT_TOKEN)",
                self._entrance,
                number,
                printable(address),
            )

    def _may_log(self, now: float) -> bool:
        if now - self._window >= _QUIET:
            self._window, self._lines = now, 0
        self._lines += 1
        return self._lines <= _MAX_LINES

    async def delay_answer(self) -> None:
        """Wait before an answer to a refused caller, unless enough of them wait already."""
        if delay := self.delay():
            try:
                await asyncio.sleep(delay)
            finally:
                self.delay_ended()

    def delay(self) -> float:
        """Return the delay of an answer in seconds; :meth:`delay_ended` has to follow.

        0: do not delay, since enough answers are delayed already; nothing has to follow.
        """
        with self._lock:
            if self._waiting >= _MAX_WAITING:
                return 0.0
            self._waiting += 1
            return DELAY

    def delay_ended(self) -> None:
        """Note that a delayed answer was sent, or that its caller disconnected."""
        with self._lock:
            self._waiting -= 1


def refused_token_message(reasons: Sequence[str]) -> str:
    """Return the note of a member whose calls are refused, or that refuses to call others."""
    return f"calls between members are refused: {'; '.join(reasons)}"
