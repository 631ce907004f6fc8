"""The calls of clients and their answers: the record that a linearizability check uses.

Owns operations and their outcomes on registers, counters and sets. Knows nothing about Raft.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

__all__ = ["Call", "History", "Kind", "Operation", "Outcome"]


class Kind(Enum):
    """What an operation does to its object: a register, a counter or a set."""

    READ = "read"
    WRITE = "write"
    CAS = "cas"
    #: A read that may be old: it is not part of the order that is checked.
    STALE = "stale"
    #: Add one to a counter, within a session.
    ADD = "add"
    #: Add an element to a set, remove one, list all.
    INSERT = "insert"
    REMOVE = "remove"
    LIST = "list"
    #: Open a session.
    OPEN = "open"
    #: A command of a service under test, tried once or repeated until it is answered; a query.
    ONCE = "once"
    REPEATED = "repeated"
    QUERY = "query"

    @property
    def is_read(self) -> bool:
        """Whether it changes nothing."""
        return self in (Kind.READ, Kind.STALE, Kind.LIST, Kind.QUERY)

    @property
    def is_repeated(self) -> bool:
        """Whether its client repeats it until it is answered."""
        return self in (Kind.ADD, Kind.REPEATED)


class Outcome(Enum):
    """What the client knows. FAILED: certainly without effect. UNKNOWN: perhaps, now or later."""

    UNKNOWN = "unknown"
    OK = "ok"
    FAILED = "failed"


class Call(NamedTuple):
    """A command or query of a service under test."""

    name: str
    args: list[Any]

    def __str__(self) -> str:
        return f"{self.name}({', '.join(map(repr, self.args))})"


@dataclass(slots=True)
class Operation:
    """One call. ``value`` is what is written, or the element of a set.

    ``expected`` is the value that a CAS expects. ``seen`` is what the answer shows. For a register
    it is the value before the operation; a CAS took effect if and only if ``seen == expected``. For
    a counter it is the value after it, for a set a bit mask, for a removal whether the element was
    there.
    """

    number: int
    client: str
    kind: Kind
    key: str
    value: int = 0
    expected: int = 0
    invoked: float = 0.0
    returned: float = math.inf
    outcome: Outcome = Outcome.UNKNOWN
    seen: int = 0
    #: The revision in the answer, -1 for none. Revisions of one register only grow.
    revision: int = -1
    #: Of a count: the feature of a later version that it uses, "" for none.
    form: str = ""
    #: Of opening a session: the id that the client drew.
    session: bytes = b""
    #: Of a service under test: the call, the session and number of a command, the answer.
    call: Call | None = None
    place: tuple[bytes, int] | None = None
    answer: Any = None

    def __str__(self) -> str:
        what = {
            Kind.WRITE: f"write {self.value}",
            Kind.CAS: f"cas {self.expected}->{self.value}",
            Kind.INSERT: f"insert {self.value}",
            Kind.REMOVE: f"remove {self.value}",
        }.get(self.kind, self.kind.value)
        silent = self.kind in (Kind.WRITE, Kind.INSERT) or self.outcome is not Outcome.OK
        seen = "" if silent else f" saw {self.seen}"
        at = f" @{self.revision}" if self.revision >= 0 else ""
        span = f"[{self.invoked:.6f}, {self.returned:.6f}]"
        if self.call is not None:
            answer = f" -> {self.answer!r}" if self.outcome is Outcome.OK else ""
            return f"#{self.number} {self.client} {self.call}: {self.outcome.value}{answer} {span}"
        return (
            f"#{self.number} {self.client} {self.key}: {what} {self.outcome.value}{seen}{at} {span}"
        )


@dataclass(slots=True)
class History:
    """All operations in order of invocation."""

    operations: list[Operation] = field(default_factory=list)

    def invoke(
        self, client: str, kind: Kind, key: str, now: float, *, value: int = 0, expected: int = 0
    ) -> Operation:
        """Record that a client called. The outcome is unknown until it is set."""
        operation = Operation(
            len(self.operations) + 1, client, kind, key, value, expected, invoked=now
        )
        self.operations.append(operation)
        return operation

    def count(self, outcome: Outcome) -> int:
        """Return how many operations ended with this outcome."""
        return sum(1 for operation in self.operations if operation.outcome is outcome)

    def by_key(self) -> dict[str, list[Operation]]:
        """Return the operations to be linearized of each object, in order of invocation."""
        objects: dict[str, list[Operation]] = {}
        for operation in self.operations:
            if operation.kind not in (Kind.STALE, Kind.OPEN):
                objects.setdefault(operation.key, []).append(operation)
        return objects
