"""Clients of a service under test, which call random commands and queries in a session each.

Some commands are sent again until they are answered. The others are abandoned at their deadline,
and their outcome stays unknown. Owns the choice of operations; sending them is that of every
client.
"""

from __future__ import annotations

from typing import Any

from braft_core.errors import Busy, SessionExpired, UnknownCommand
from braft_core.services.envelope import SessionStamp, with_session
from braft_testing.simulation.clients import Client
from braft_testing.simulation.errors import InvariantBroken
from braft_testing.simulation.history import Call, Kind, Operation
from braft_testing.simulation.plan import stream
from braft_testing.simulation.replicas import Replicas
from braft_testing.simulation.requests import ClientRequest
from braft_testing.simulation.service_under_test import encoded, shown
from braft_testing.simulation.state_machine import command_of

__all__ = ["ServiceClient"]


class ServiceClient(Client):
    """A client of the service under test."""

    def __init__(self, *args: Any, replicas: Replicas) -> None:
        super().__init__(*args)
        self._replicas = replicas
        self._under_test = replicas.under_test
        #: A separate stream for the user's function: the client's other draws change no operation.
        self._operations = stream(self._world.seed, f"operations/{self.name}")

    def _draw(self) -> ClientRequest:
        if not self._session:
            return self._change(Kind.OPEN, "")
        plan, rng = self._world.plan, self._rng
        call = self._under_test.draw(self._operations)
        if call.name in self._under_test.queries:
            stale = rng.random() < plan.stale_share
            operation = self._call(Kind.STALE if stale else Kind.QUERY, call)
            return ClientRequest(operation, self.name, lease=rng.random() < plan.lease_share)
        repeated = rng.random() < plan.session_share
        operation = self._call(Kind.REPEATED if repeated else Kind.ONCE, call)
        self._sequence += 1
        operation.place = self._session, self._sequence
        return ClientRequest(
            operation, self.name, with_session(self._encoded(operation), self._place)
        )

    @property
    def _place(self) -> SessionStamp:
        return SessionStamp(self._session, self._sequence, self._sequence)

    def _call(self, kind: Kind, call: Call) -> Operation:
        operation = self._invoke(kind, self._under_test.name)
        operation.call = call
        return operation

    def _encoded(self, operation: Operation) -> bytes:
        try:
            return command_of(operation)
        except TypeError as error:
            raise InvariantBroken(
                "operations() returns a name and arguments", f"{operation.call}: {error}"
            ) from error

    def _take(self, operation: Operation, outcome: Any) -> bool:
        if operation.call is None:
            return super()._take(operation, outcome)
        operation.answer = outcome
        if operation.kind.is_read:
            if isinstance(outcome, UnknownCommand):
                raise InvariantBroken(
                    "operations() returns only commands and queries of the service", outcome.message
                )
            return True
        answer = self._replicas.answer_to(operation.place)
        if answer is not None and answer == encoded(outcome):
            return True
        if isinstance(outcome, SessionExpired | Busy):
            self._session = b""
            # A client that repeated the command does not know whether an earlier attempt took
            # effect.
            return False
        raise InvariantBroken(
            "session exactly-once",
            f"{operation} was answered {shown(encoded(outcome))}, but "
            + (f"its effect had the answer {shown(answer)}" if answer else "had no effect"),
        )

    def _learn(self, operation: Operation) -> None:
        if operation.call is None:
            super()._learn(operation)
