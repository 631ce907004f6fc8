"""Record what the clients of a run called, and the answers.

Owns the calls and the times of acknowledged writes. Knows keys, values and revisions of the kv
service, and nothing of nodes. A call without an answer may take effect later, or never.
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

#: The value, and the revision, of a key that does not exist.
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

    ``seen`` and ``revision`` come from the answer. A get returns the value and its revision. A put
    or put_if returns the new revision. A conflict returns the present revision, and ``seen`` stays
    unknown. For an acknowledged delete ``seen`` is ``None`` if the key existed, else ``ABSENT``.
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
        """Whether it certainly changed its key to ``value``."""
        changes = self.action is not Action.GET and not self.conflict
        return changes and self.outcome is Outcome.OK

    def __str__(self) -> str:
        what = {
            Action.GET: "get",
            Action.PUT: f"put {self.value}",
            Action.PUT_IF: f"put {self.value} if {self.expected}@{self.expected_revision}",
            Action.DELETE: "delete",
        }[self.action]
        outcome = self.outcome.value
        if self.outcome is Outcome.OK:
            outcome = "conflict" if self.conflict else "ok"
            outcome += f" {self.seen}@{self.revision}"
        span = f"[{self.invoked:9.4f}, {self.returned:9.4f}]"
        call = f"#{self.number} {self.client} {self.key}: {what}"
        return f"{span} {call}: {outcome} {self.error}".strip()


class Recorder:
    """All calls of a run. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._zero = time.monotonic()
        self._acknowledged: list[float] = []
        self.calls: list[Call] = []

    def now(self) -> float:
        """Return the seconds since the recorder was created."""
        return time.monotonic() - self._zero

    def invoke(self, client: str, action: Action, key: str) -> Call:
        """Record that a client is about to call; each call gets a unique number."""
        with self._lock:
            call = Call(len(self.calls) + 1, client, action, key)
            self.calls.append(call)
            call.invoked = self.now()
        return call

    def answered(self, call: Call, *, seen: int | None = None, revision: int | None = None) -> None:
        """Record that the call succeeded."""
        with self._lock:
            call.returned = self.now()
            call.seen, call.revision, call.outcome = seen, revision, Outcome.OK
            if call.action is not Action.GET:
                self._acknowledged.append(call.returned)

    def conflicted(self, call: Call, revision: int) -> None:
        """Record that the key was at another revision, so that the call changed nothing."""
        with self._lock:
            call.returned = self.now()
            call.revision, call.conflict, call.outcome = revision, True, Outcome.OK
            self._acknowledged.append(call.returned)

    def failed(self, call: Call, error: str) -> None:
        """Record that the call certainly has no effect, now or later."""
        with self._lock:
            call.returned = self.now()
            call.outcome, call.error = Outcome.FAILED, error

    def lost(self, call: Call, error: str) -> None:
        """Record that the outcome of the call is unknown."""
        call.error = error

    def acknowledged_since(self, start: float) -> int:
        """Return how many writes were acknowledged since ``start``."""
        with self._lock:
            return len(self._acknowledged) - bisect_left(self._acknowledged, start)

    def longest_gap(self, start: float, end: float) -> float:
        """Return the longest time without an acknowledged write between two times."""
        with self._lock:
            first = bisect_left(self._acknowledged, start)
            last = bisect_right(self._acknowledged, end)
            moments = [start, *self._acknowledged[first:last], end]
        return max(later - earlier for earlier, later in pairwise(moments))
