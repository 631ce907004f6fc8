"""What the clients of a run asked for and were told.

Owns the calls and the moments of acknowledged writes. Knows keys, values and revisions of the kv
service, and nothing of nodes. A call whose answer never came may take effect later, or never.
"""

from __future__ import annotations

import math
import threading
import time
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise

from braft_testing.simulation.history import Outcome

__all__ = ["ABSENT", "Action", "Call", "Recorder"]

#: The value, and the revision, of a key that is not there.
ABSENT = 0


class Action(Enum):
    """What a call does. Values are numbers above 0."""

    GET = "get"
    PUT = "put"
    #: Stores the value if the key is at ``expected_revision``, where it held ``expected``.
    PUT_IF = "put_if"
    DELETE = "delete"


@dataclass(slots=True)
class Call:
    """One call of one client. Times are seconds of the monotonic clock of the run.

    ``seen`` and ``revision`` are what the answer told: of a get the value and its revision, of a
    put or put_if its own new revision, of a conflict the revision in the way (``seen`` unknown).
    ``seen`` of an acknowledged delete is ``None``: that there was something, or ``ABSENT``.
    """

    number: int
    client: str
    action: Action
    key: str
    value: int = ABSENT
    expected: int = ABSENT
    expected_revision: int = ABSENT
    invoked: float = 0.0
    returned: float = math.inf
    outcome: Outcome = Outcome.UNKNOWN
    seen: int | None = None
    revision: int | None = None
    conflict: bool = False
    error: str = ""

    @property
    def took_effect(self) -> bool:
        """Whether it surely changed its key to ``value``."""
        changes = self.action is not Action.GET and not self.conflict
        return changes and self.outcome is Outcome.OK

    def __str__(self) -> str:
        what = {
            Action.GET: "get",
            Action.PUT: f"put {self.value}",
            Action.PUT_IF: f"put {self.value} if {self.expected}@{self.expected_revision}",
            Action.DELETE: "delete",
        }[self.action]
        told = self.outcome.value
        if self.outcome is Outcome.OK:
            told = "conflict" if self.conflict else "ok"
            told += f" {self.seen}@{self.revision}"
        span = f"[{self.invoked:9.4f}, {self.returned:9.4f}]"
        return (
            f"{span} #{self.number} {self.client} {self.key}: {what}: {told} {self.error}".strip()
        )


class Recorder:
    """All calls of a run. May be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._zero = time.monotonic()
        self._acknowledged: list[float] = []
        self.calls: list[Call] = []

    def now(self) -> float:
        """Seconds since the recorder was made."""
        return time.monotonic() - self._zero

    def invoke(self, client: str, action: Action, key: str) -> Call:
        """A client is about to call. The number of a call is used by no other."""
        with self._lock:
            call = Call(len(self.calls) + 1, client, action, key)
            self.calls.append(call)
            call.invoked = self.now()
        return call

    def answered(self, call: Call, *, seen: int | None = None, revision: int | None = None) -> None:
        """The call succeeded."""
        with self._lock:
            call.returned = self.now()
            call.seen, call.revision, call.outcome = seen, revision, Outcome.OK
            if call.action is not Action.GET:
                self._acknowledged.append(call.returned)

    def conflicted(self, call: Call, revision: int) -> None:
        """The key was at another revision; the call changed nothing."""
        with self._lock:
            call.returned = self.now()
            call.revision, call.conflict, call.outcome = revision, True, Outcome.OK
            self._acknowledged.append(call.returned)

    def failed(self, call: Call, error: str) -> None:
        """The call surely had no effect and never will have."""
        with self._lock:
            call.returned = self.now()
            call.outcome, call.error = Outcome.FAILED, error

    def lost(self, call: Call, error: str) -> None:
        """Nobody knows what became of the call."""
        call.error = error

    def acknowledged_since(self, start: float) -> int:
        """How many writes were acknowledged since that moment."""
        with self._lock:
            return len(self._acknowledged) - bisect_left(self._acknowledged, start)

    def longest_gap(self, start: float, end: float) -> float:
        """The longest time without an acknowledged write between two moments."""
        with self._lock:
            first = bisect_left(self._acknowledged, start)
            last = bisect_right(self._acknowledged, end)
            moments = [start, *self._acknowledged[first:last], end]
        return max(later - earlier for earlier, later in pairwise(moments))
