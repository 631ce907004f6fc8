"""The replicated state: counters that never fall below zero."""

from __future__ import annotations

from typing import ClassVar

from braft_core import StateMachineService, command, query
from braft_core.errors import Rejected

__all__ = ["Counter"]


class Counter(StateMachineService):
    """Counters by key, none of which falls below zero.

    Every node applies the same commands in the same order, so a command uses nothing but its
    arguments and the state: no clock, no randomness, no I/O.
    """

    name: ClassVar[str] = "counter"

    def __init__(self) -> None:
        self._values: dict[str, int] = {}

    @command
    def add(self, key: str, amount: int) -> int:
        """Change a counter; return its value. :raises Rejected: it would fall below zero."""
        value = self._values.get(key, 0)
        if value + amount < 0:
            raise Rejected(f"{key!r} is {value}; {amount} would take it below zero")
        self._values[key] = value + amount
        return value + amount

    @query
    def get(self, key: str) -> int:
        """Return the value of a counter, 0 if it was never changed."""
        return self._values.get(key, 0)

    @query
    def every(self) -> dict[str, int]:
        """Return all counters."""
        return dict(sorted(self._values.items()))

    def dump(self) -> dict[str, int]:
        """Return the whole state for a snapshot."""
        return self._values

    def load(self, value: dict[str, int]) -> None:
        """Replace the state by that of a snapshot."""
        self._values = value
