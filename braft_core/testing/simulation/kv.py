"""The state machine of the simulation: integer registers, and proof that nothing applies twice.

Commands are ASCII, ``<operation number> <kind> <key> <value> <expected>``. A restarted server
starts with an empty machine and replays its log.
"""

from __future__ import annotations

from braft_core.testing.simulation.history import Kind, Operation

__all__ = ["Registers", "encode_command", "operation_number"]


def encode_command(operation: Operation) -> bytes:
    """The command that carries out a write or compare-and-swap."""
    o = operation
    return f"{o.number} {o.kind.value} {o.key} {o.value} {o.expected}".encode()


def operation_number(data: bytes) -> int:
    """The number of the operation a command belongs to."""
    return int(data.split(b" ", 1)[0])


class Registers:
    """Registers by name; all begin at 0."""

    __slots__ = ("values",)

    def __init__(self) -> None:
        self.values: dict[str, int] = {}

    def read(self, key: str) -> int:
        """The register's value."""
        return self.values.get(key, 0)

    def apply(self, data: bytes) -> int:
        """Execute a command; returns the register's value before it."""
        _, kind, key, value, expected = data.decode().split(" ")
        before = self.values.get(key, 0)
        if kind == Kind.WRITE.value or before == int(expected):
            self.values[key] = int(value)
        return before
