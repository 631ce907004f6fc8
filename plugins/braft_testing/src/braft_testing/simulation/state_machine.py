"""The state machine of the simulation: the real one, with the real key-value service.

It also has a service of counters that records every command that was applied twice. Owns how the
operations of clients become commands and queries, and what their answers mean. Runs of a service
under test use ``replicas`` instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from braft_core.abc import Service
from braft_core.errors import Conflict, Rejected
from braft_core.serializers.msgpack import MsgpackSerializer
from braft_core.services.capabilities import FEATURE_LEVEL
from braft_core.services.envelope import IN_SESSION, decode_command, encode_command
from braft_core.services.kv import KVService
from braft_core.services.members import MEMBERS, MembersService
from braft_core.services.service import StateMachineService, command, query
from braft_core.services.state_machine import SESSIONS, StateMachine
from braft_testing.simulation.errors import InvariantBroken
from braft_testing.simulation.history import Kind, Operation

__all__ = [
    "LOST",
    "SERIALIZER",
    "Machine",
    "SimulatedMachine",
    "command_of",
    "is_unique",
    "query_of",
    "record_of",
    "take_answer",
    "value_written",
]

#: What a failed CAS saw: an unknown value, since only its revision is returned.
LOST = -1
_MAP = "registers"
SERIALIZER = MsgpackSerializer()
_SERIALIZERS = {SERIALIZER.tag: SERIALIZER}


class Tally(StateMachineService):
    """Counters that detect commands applied twice."""

    name = "tally"

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._seen: dict[int, None] = {}
        #: Numbers of the operations that took effect more than once.
        self.doubled: list[int] = []

    @command
    def add(self, key: str, number: int) -> int:
        """Add one; return the new value of the counter."""
        return self._add(key, number, 1)

    def _add(self, key: str, number: int, by: int) -> int:
        if number in self._seen:
            self.doubled.append(number)
        self._seen[number] = None
        self._counts[key] = self._counts.get(key, 0) + by
        return self._counts[key]

    def check(self) -> None:
        """Check what was applied.

        :raises InvariantBroken: if a command was applied twice.
        """
        if self.doubled:
            raise InvariantBroken("session exactly-once", f"twice: {self.doubled}")

    @query
    def get(self, key: str) -> int:
        """Return the value of a counter."""
        return self._counts.get(key, 0)

    def dump(self) -> Any:
        """Return the whole state."""
        return [self._counts, list(self._seen)]

    def load(self, value: Any) -> None:
        """Replace the whole state."""
        self._counts, seen = dict(value[0]), value[1]
        self._seen = dict.fromkeys(seen)


class SimulatedMachine(StateMachine):
    """The state machine of one server: some services, and those that every node has."""

    def __init__(self, services: Iterable[Service], level: int = FEATURE_LEVEL) -> None:
        self.members = MembersService()
        given = [*services, self.members]
        super().__init__(given, _SERIALIZERS, level)
        self._initial = [(service, list(service.snapshot())) for service in given]

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Restore as :meth:`StateMachine.restore`, but allow going back in the log.

        A service that was unused when the snapshot was taken returns to its initial state.
        """
        before = self.used
        super().restore(chunks)
        for service, initial in self._initial:
            if service.name in before - self.used:
                service.restore(iter(initial))

    def capture(self) -> bytes:
        """Return the whole state now, for comparison with that of others."""
        return b"".join(self.snapshot())

    def restore_at(self, index: int, contents: bytes) -> None:
        """Restore the state from a snapshot of the entries up to ``index``."""
        self.restore([contents])

    def tick(self, term: int, wall_ns: int, since: float) -> bytes:
        """Return the command that the service's ticker proposes on a leader; empty for none."""
        return b""

    def check(self) -> None:
        """Check what was applied.

        :raises InvariantBroken: if something was applied that must not have been.
        """


class Machine(SimulatedMachine):
    """The state machine of one server in a run without a service under test."""

    def __init__(self) -> None:
        self.tally = Tally()
        super().__init__([KVService(), self.tally])

    def check(self) -> None:
        """Check as :meth:`SimulatedMachine.check`: no count may be applied twice."""
        self.tally.check()


def command_of(operation: Operation, revision: int = 0) -> bytes:
    """Return the command for a change; ``revision`` is what a CAS expects."""
    service, name, args = _call(operation, revision)
    return encode_command(SERIALIZER, service, name, args)


def record_of(server_id: str, address: str, voters: int, reason: str) -> bytes:
    """Return the command that records the removal of a dead voter."""
    return encode_command(
        SERIALIZER, MEMBERS, "record_removal", [server_id, address, voters, reason]
    )


def _call(operation: Operation, revision: int) -> tuple[str, str, Sequence[Any]]:
    key, value, number = operation.key, operation.value, operation.number
    if operation.call is not None:
        return key, operation.call.name, operation.call.args
    match operation.kind:
        case Kind.WRITE:
            return "kv", "put", (_MAP, key, value)
        case Kind.CAS:
            return "kv", "put_if", (_MAP, key, value, revision)
        case Kind.INSERT:
            return "kv", "put", (key, f"{value}", number)
        case Kind.REMOVE:
            return "kv", "delete", (key, f"{value}")
        case Kind.ADD:
            return _count(operation.form, key, number)
        case _:
            return SESSIONS, "open", (operation.session,)


def _count(form: str, key: str, number: int) -> tuple[str, str, Sequence[Any]]:
    """Return a command that adds one to a counter; ``form`` selects a feature of later versions."""
    match form:
        case "argument":
            return "tally", "add", (key, number, 1)
        case "command":
            return "tally", "leap", (key, number)
        case "service":
            return "ledger", "add", (key, number)
        case _:
            return "tally", "add", (key, number)


def query_of(operation: Operation) -> tuple[str, str, Sequence[Any]]:
    """Return the query for a read."""
    if operation.call is not None:
        return operation.key, operation.call.name, operation.call.args
    if operation.kind is Kind.LIST:
        return "kv", "list", (operation.key,)
    return "kv", "get", (_MAP, operation.key)


def take_answer(operation: Operation, answer: Any) -> bool:
    """Record an answer; return False if it shows that the operation had no effect at all.

    A failed CAS learns only the revision, not the value.
    """
    match operation.kind:
        case Kind.READ | Kind.STALE:
            operation.seen, operation.revision = (0, 0) if answer is None else answer
        case Kind.LIST:
            # An empty set is a map that does not exist.
            empty = isinstance(answer, Rejected)
            operation.seen = 0 if empty else sum(1 << int(element) for element in answer)
        case Kind.CAS if isinstance(answer, Conflict):
            operation.revision, operation.seen = answer.data["revision"], LOST
        case _ if isinstance(answer, Exception):
            return False
        case Kind.WRITE | Kind.CAS:
            operation.revision, operation.seen = answer, operation.expected
        case Kind.INSERT:
            operation.revision = answer
        case Kind.OPEN:
            return bool(answer == operation.session)
        case _:
            operation.seen = int(answer)
    return True


def is_unique(data: bytes) -> bool:
    """Return whether a command has a unique number, so that it must not be proposed twice."""
    return not data[0] & IN_SESSION and b"\xa3put" in data[:12]


def value_written(data: bytes) -> int:
    """Return the value that a command writes to a register."""
    _, _, args = decode_command(_SERIALIZERS, data)
    value: int = args[2]
    return value
