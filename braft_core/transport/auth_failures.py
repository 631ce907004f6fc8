"""Callers without the right token: counted, logged at a bounded rate, and answered late.

Owns how often the log speaks of an address, and for how many callers an answer may wait. Nobody is
locked out: a delay holds up the one answer alone, and the next attempt is judged as the first.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from braft_core.escaping import printable

__all__ = ["DELAY", "AuthFailures", "refused_token_message"]

_log = logging.getLogger(__name__)

#: Seconds for which the answer to a wrong secret waits.
DELAY = 0.5
#: Answers that may wait at once; further ones are given at once, so that nothing is held.
_MAX_WAITING = 64
#: Seconds between two log lines about one address.
_QUIET = 60.0
#: Addresses that are remembered. Beyond it the one that was refused longest ago is forgotten.
_MAX_ADDRESSES = 1024
#: Log lines in ``_QUIET`` seconds, whoever they are about.
_MAX_LINES = 60


class AuthFailures:
    """What was refused at one entrance. Any thread.

    :param entrance: named in the log.
    """

    def __init__(self, entrance: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._entrance = entrance
        self._clock = clock
        self._lock = threading.Lock()
        #: By address: when it was last spoken of, and how many refusals there were since.
        self._known: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self._window, self._lines = clock(), 0
        self._waiting = 0

    def record(self, address: str) -> None:
        """Somebody at ``address`` was refused: log it, if there was no line about it lately."""
        now = self._clock()
        with self._lock:
            since, number = self._known.pop(address, (now - _QUIET, 0))
            number += 1
            speak = now - since >= _QUIET and self._may_speak(now)
            self._known[address] = (now, 0) if speak else (since, number)
            while len(self._known) > _MAX_ADDRESSES:
                self._known.popitem(last=False)
        if speak:
            _log.warning(
                "%s: refused %d attempt(s) of %s: no token, or not one of this cluster with the "
                "role that is needed (BRAFT_TOKEN)",
                self._entrance,
                number,
                printable(address),
            )

    def _may_speak(self, now: float) -> bool:
        if now - self._window >= _QUIET:
            self._window, self._lines = now, 0
        self._lines += 1
        return self._lines <= _MAX_LINES

    def delay(self) -> float:
        """Return the seconds for which an answer is to wait, to be followed by :meth:`delay_ended`.

        0: do not wait, for enough others do already; nothing is to follow.
        """
        with self._lock:
            if self._waiting >= _MAX_WAITING:
                return 0.0
            self._waiting += 1
            return DELAY

    def delay_ended(self) -> None:
        """An answer that waited was given, or its caller is gone."""
        with self._lock:
            self._waiting -= 1


def refused_token_message(reasons: Sequence[str]) -> str:
    """Return the note of a member that others refuse, or that must not talk to others."""
    return f"calls between members are refused: {'; '.join(reasons)}"
