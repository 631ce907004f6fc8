"""Check whether one instance with sequential calls could have given all the clients' answers.

A service is its own sequential specification; the user may declare another service as the model. A
fresh instance executes the operations in some order that agrees with real time. It must give the
same answers. Owns the model's side; the search for an order is in ``linearizability``.

Unlike there, the log is used for some things. Its order is tried first. A command may use its index
and time, so the model gets the original ones. A command of unknown outcome took effect by the time
that a server first applied it, or never; otherwise each would double the orders to try.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NoReturn

from braft_core.errors import BraftError
from braft_core.raft.types import Entry, EntryType
from braft_core.services.envelope import decode_command
from braft_testing.simulation.errors import InvariantBroken
from braft_testing.simulation.history import Call, History, Kind, Operation, Outcome
from braft_testing.simulation.linearizability import Undecided, find_order
from braft_testing.simulation.replicas import Replicas
from braft_testing.simulation.service_under_test import encoded
from braft_testing.simulation.state_machine import (
    SERIALIZER,
    SimulatedMachine,
    command_of,
    query_of,
)

__all__ = ["check_calls"]

#: Distinct pairs of operations done and state; each costs one command of the model.
_MAX_STATES = 20_000
#: Seconds between commands applied at one moment: far less than an answer travels.
_APART = 1e-9
#: Operations listed in a report.
_LISTED = 20


def check_calls(replicas: Replicas, history: History, committed: list[Entry]) -> None:
    """Check all operations on the service except stale reads.

    :raises InvariantBroken: if no order explains the answers.
    :raises Undecided: if there are too many orders to try.
    """
    relevant: list[Operation] = []
    entries: dict[int, Entry] = {}
    for operation in history.by_key().get(replicas.under_test.name, ()):
        index = replicas.executed.get(operation.place) if operation.place is not None else None
        if index is not None:
            entries[operation.number] = committed[index - 1]
        if operation.outcome is Outcome.OK:
            relevant.append(operation)
        elif index is not None and operation.outcome is Outcome.UNKNOWN:
            relevant.append(replace(operation, returned=replicas.records[index].at))
    relevant += _ticks(replicas, committed, entries)
    model = _Model(replicas, entries)
    narrowed = [_at_its_entry(operation, replicas) for operation in relevant]
    stuck = find_order(narrowed, model.initial, model.step, _MAX_STATES)
    if stuck is not None and not _another_order(model, relevant):
        _refuse(relevant[narrowed.index(stuck)], relevant)


def _ticks(
    replicas: Replicas, committed: list[Entry], entries: dict[int, Entry]
) -> list[Operation]:
    """Return the commands of tickers, which no client called, and note their entries."""
    ticks = []
    for session, index in replicas.executed:
        if not session:
            entry = entries[-index] = committed[index - 1]
            at = replicas.records[index].at
            key, name, args = decode_command({SERIALIZER.tag: SERIALIZER}, entry.data)
            tick = Operation(-index, "ticker", Kind.ONCE, key, invoked=at, returned=at)
            tick.call, tick.place = Call(name, args), (session, index)
            ticks.append(tick)
    return ticks


def _refuse(stuck: Operation, operations: list[Operation]) -> NoReturn:
    before = [o for o in operations if o.invoked <= stuck.returned and o is not stuck]
    listed = "\n".join(map(str, before[-_LISTED:]))
    raise InvariantBroken(
        "linearizability", f"no order explains\n{stuck}\nafter, among earlier ones,\n{listed}"
    )


def _at_its_entry(operation: Operation, replicas: Replicas) -> Operation:
    """Narrow a command to the moment of its first effect, instead of from call to answer.

    That leaves only the order of the log, which is quick to try and explains a correct history. A
    search of all orders would not end where many answers carry no information.
    """
    index = replicas.executed.get(operation.place) if operation.place is not None else None
    if index is None:
        return operation
    moment = replicas.records[index].at + index * _APART
    return replace(operation, invoked=moment, returned=moment)


def _another_order(model: _Model, operations: list[Operation]) -> bool:
    """Return whether another order explains the answers; count an unfinished search as none."""
    try:
        return find_order(operations, model.initial, model.step, _MAX_STATES) is None
    except Undecided:
        return False


class _Model:
    """One instance that can be put into any of its earlier states."""

    def __init__(self, replicas: Replicas, entries: dict[int, Entry]) -> None:
        self._machine = SimulatedMachine([replicas.under_test.model()])
        self._entries = entries
        self.initial = self._at = self._machine.capture()

    def step(self, operation: Operation, state: bytes) -> bytes | None:
        """Return the state after an operation, ``None`` if the operation's answer differs there."""
        if self._at != state:
            self._machine.restore([state])
            self._at = state
        answer = self._ask(operation) if operation.kind.is_read else self._do(operation)
        if operation.outcome is Outcome.OK and answer != encoded(operation.answer):
            return None
        return self._at

    def _ask(self, operation: Operation) -> bytes:
        try:
            return encoded(self._machine.query(*query_of(operation)))
        except BraftError as error:
            return encoded(error)

    def _do(self, operation: Operation) -> bytes:
        at = self._entries[operation.number]
        data = command_of(operation)
        entry = Entry(at.index, at.term, EntryType.COMMAND, data, b"", at.appended_at)
        answer = encoded(self._machine.apply(entry))
        self._at = self._machine.capture()
        return answer
