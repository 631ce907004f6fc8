"""What clients asked and were told: the record that a linearizability check judges.

Owns operations and their outcomes. Knows registers (read, write, compare-and-swap) and nothing
about Raft.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum

__all__ = ["History", "Kind", "Operation", "Outcome"]


class Kind(Enum):
    """What an operation does to its register."""

    READ = "read"
    WRITE = "write"
    CAS = "cas"


class Outcome(Enum):
    """What the client knows. FAILED: surely without effect. UNKNOWN: perhaps, now or later."""

    UNKNOWN = "unknown"
    OK = "ok"
    FAILED = "failed"


@dataclass(slots=True)
class Operation:
    """One call. ``value`` is what is written; ``expected`` what a CAS compares with.

    ``seen`` is the register's value before the operation took effect, as the answer told it
    (reads and compare-and-swaps); a CAS took effect iff ``seen == expected``.
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

    def __str__(self) -> str:
        what = {
            Kind.READ: "read",
            Kind.WRITE: f"write {self.value}",
            Kind.CAS: f"cas {self.expected}->{self.value}",
        }[self.kind]
        seen = (
            "" if self.kind is Kind.WRITE or self.outcome is not Outcome.OK else f" saw {self.seen}"
        )
        span = f"[{self.invoked:.6f}, {self.returned:.6f}]"
        return f"#{self.number} {self.client} {self.key}: {what} {self.outcome.value}{seen} {span}"


@dataclass(slots=True)
class History:
    """All operations in order of invocation."""

    operations: list[Operation] = field(default_factory=list)

    def invoke(
        self, client: str, kind: Kind, key: str, now: float, *, value: int = 0, expected: int = 0
    ) -> Operation:
        """Record that a client called. Until told otherwise the outcome is unknown."""
        operation = Operation(
            len(self.operations) + 1, client, kind, key, value, expected, invoked=now
        )
        self.operations.append(operation)
        return operation

    def count(self, outcome: Outcome) -> int:
        """How many operations ended so."""
        return sum(1 for operation in self.operations if operation.outcome is outcome)

    def by_key(self) -> dict[str, list[Operation]]:
        """The operations of each register, in order of invocation."""
        registers: dict[str, list[Operation]] = {}
        for operation in self.operations:
            registers.setdefault(operation.key, []).append(operation)
        return registers
