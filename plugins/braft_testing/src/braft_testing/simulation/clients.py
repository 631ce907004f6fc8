"""Clients: one operation at a time, each with a deadline, and a record of what the client knows.

A client reads, writes and compares-and-swaps registers, uses sets, counts within a session, takes a
lock and uses the resource that it guards. The outcome of an operation without an answer is unknown.
Only a count is repeated until it is answered; then it must have taken effect exactly once.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from braft_core.errors import NotSupported
from braft_core.services.envelope import SESSION_ID_BYTES, SessionStamp, with_session
from braft_testing.simulation.errors import InvariantBroken
from braft_testing.simulation.history import History, Kind, Operation, Outcome
from braft_testing.simulation.network import Envelope
from braft_testing.simulation.requests import ClientRequest, ClientResponse
from braft_testing.simulation.state_machine import command_of, take_answer
from braft_testing.simulation.versions import FORMS

if TYPE_CHECKING:
    from braft_testing.simulation.world import World

__all__ = ["Client", "Guarded", "new_session"]

_ELEMENTS = 4
_RETRY = 0.1


def new_session(rng: random.Random) -> bytes:
    """Draw the id of a session, as a node does."""
    return rng.randbytes(SESSION_ID_BYTES)


class Guarded:
    """A resource outside the cluster that a lock guards: it accepts the highest token only."""

    def __init__(self) -> None:
        self._token = 0
        self._owner = ""

    def use(self, client: str, token: int) -> None:
        """Use the resource with a fencing token; an overtaken token is rejected.

        :raises InvariantBroken: if two clients were given one token.
        """
        if token > self._token:
            self._token, self._owner = token, client
        elif token == self._token and client != self._owner:
            raise InvariantBroken(
                "a fencing token has one owner", f"{token}: {self._owner} and {client}"
            )


class Client:
    """Asks the server it believes to lead; without an answer in time the outcome is unknown."""

    def __init__(self, world: World, name: str, rng: random.Random, history: History) -> None:
        self._world = world
        self._rng = rng
        self._history = history
        self.name = name
        self._hint = ""
        #: The server of the last request.
        self._asked = world.server_ids[0]
        self._current: Operation | None = None
        self._request: ClientRequest | None = None
        #: Value and revision of registers, as last seen.
        self._known: dict[str, tuple[int, int]] = {}
        #: The token of the lock, 0 while this client does not hold it.
        self._token = 0
        self._session = b""
        self._sequence = 0
        self._left = world.plan.operations
        #: How often the present operation was sent.
        self._sent = 0
        #: Features of later versions that counts use.
        features = {feature for step in world.plan.versions for feature in step}
        self._forms = [form for form in FORMS if form in features]
        self.stopped = False

    @property
    def owed(self) -> Operation | None:
        """The command that this client repeats until it is answered."""
        current = self._current
        return current if current is not None and current.kind.is_repeated else None

    def start(self) -> None:
        """Begin after a random delay."""
        self._world.scheduler.after(self._thought(), self._begin)

    def _thought(self) -> float:
        return self._rng.expovariate(1.0 / self._world.plan.think_time)

    # -- choosing operations -------------------------------------------------------------

    def _begin(self) -> None:
        if self.stopped or not self._left:
            return
        self._left -= 1
        request = self._draw()
        self._current, self._request, self._sent = request.operation, request, 0
        self._send(request)
        self._world.scheduler.after(
            self._world.plan.client_timeout, self._deadline, request.operation
        )

    def _draw(self) -> ClientRequest:
        plan, rng = self._world.plan, self._rng
        draw = rng.random()
        if draw < plan.session_share:
            return self._count()
        if draw < plan.session_share + plan.set_share:
            return self._use_set()
        if draw < plan.session_share + plan.set_share + plan.lock_share:
            return self._use_lock()
        key = f"k{rng.randrange(plan.keys)}"
        if rng.random() < plan.read_share:
            stale = rng.random() < plan.stale_share
            operation = self._invoke(Kind.STALE if stale else Kind.READ, key)
            return ClientRequest(operation, self.name, lease=rng.random() < plan.lease_share)
        value, revision = self._known.get(key, (0, 0))
        if rng.random() < 0.4:
            return self._change(Kind.CAS, key, expected=value, revision=revision)
        return self._change(Kind.WRITE, key)

    def _invoke(self, kind: Kind, key: str, value: int = 0, expected: int = 0) -> Operation:
        now = self._world.scheduler.now
        return self._history.invoke(self.name, kind, key, now, value=value, expected=expected)

    def _change(
        self, kind: Kind, key: str, value: int = 0, expected: int = 0, revision: int = 0
    ) -> ClientRequest:
        if kind in (Kind.WRITE, Kind.CAS):
            value = len(self._history.operations) + 1
        operation = self._invoke(kind, key, value, expected)
        if kind is Kind.OPEN:
            operation.session = new_session(self._rng)
        return ClientRequest(operation, self.name, command_of(operation, revision))

    def _use_set(self) -> ClientRequest:
        key, rng = "set", self._rng
        kind = rng.choice((Kind.INSERT, Kind.INSERT, Kind.REMOVE, Kind.LIST, Kind.LIST))
        if kind is Kind.LIST:
            return ClientRequest(self._invoke(kind, key), self.name, lease=rng.random() < 0.3)
        return self._change(kind, key, value=rng.randrange(_ELEMENTS))

    def _use_lock(self) -> ClientRequest:
        """Read the lock, take it if it is free (or break it), give it back."""
        key = "lock"
        if self._token:
            self._world.guarded.use(self.name, self._token)
        known = self._known.pop(key, None)
        if known is None:
            return ClientRequest(self._invoke(Kind.READ, key), self.name)
        value, revision = known
        free = value in self._world.released or not value
        if self._token != revision and not free and self._rng.random() < 0.8:
            return ClientRequest(self._invoke(Kind.READ, key), self.name)
        request = self._change(Kind.CAS, key, expected=value, revision=revision)
        if self._token == revision and revision:
            self._token = 0
            self._world.released.add(request.operation.value)
        return request

    def _count(self) -> ClientRequest:
        if not self._session:
            return self._change(Kind.OPEN, "")
        self._sequence += 1
        form = self._rng.choice(("", *self._forms)) if self._forms else ""
        kept_by = "l" if form == "service" else "n"
        operation = self._invoke(Kind.ADD, f"{kept_by}{self._rng.randrange(2)}")
        operation.form = form
        place = SessionStamp(self._session, self._sequence, self._sequence)
        return ClientRequest(operation, self.name, with_session(command_of(operation), place))

    # -- requests and answers ------------------------------------------------------------

    def _send(self, request: ClientRequest) -> None:
        world, rng, operation = self._world, self._rng, request.operation
        wanders = operation.kind.is_read and rng.random() < world.plan.follower_read_share
        wanders = wanders or operation.kind is Kind.STALE
        target = rng.choice(world.server_ids) if wanders or not self._hint else self._hint
        self._asked, self._sent = target, self._sent + 1
        world.trace.add(f"{self.name} asks {target} {operation.kind.value} {operation.key}")
        world.send(Envelope(self.name, target, 0, request))

    def receive(self, answer: ClientResponse) -> None:
        """Process an answer, which may be late."""
        operation = answer.operation
        if operation is not self._current:
            return
        if not answer.ok:
            self._hint = answer.hint
            if operation.kind.is_repeated and self._gives_up(answer.outcome):
                if self._sent == 1:
                    operation.returned = self._world.scheduler.now
                    operation.outcome = Outcome.FAILED
                self._world.trace.add(str(operation))
                self._next()
                return
            if operation.kind.is_repeated:
                self._world.scheduler.after(_RETRY, self._again, operation)
                return
        took = answer.ok and self._take(operation, answer.outcome)
        operation.returned = self._world.scheduler.now
        operation.outcome = Outcome.OK if took else Outcome.FAILED
        if operation.kind.is_repeated and not took:
            # The session is gone; whether the command took effect before that is unknown.
            operation.outcome, self._session = Outcome.UNKNOWN, b""
        if took:
            self._learn(operation)
        self._world.trace.add(str(operation))
        self._next()

    def _gives_up(self, outcome: Any) -> bool:
        """Return whether to drop a command that a member lacks; never in the calm."""
        unknown = isinstance(outcome, NotSupported)
        return unknown and not self._world.calm and self._rng.random() < 0.7

    def _take(self, operation: Operation, outcome: Any) -> bool:
        """Record an answer; return whether the operation took effect."""
        return take_answer(operation, outcome)

    def _learn(self, operation: Operation) -> None:
        """Record what the answer shows about the register, if it does."""
        key, revision = operation.key, operation.revision
        match operation.kind:
            case Kind.OPEN:
                self._session, self._sequence = operation.session, 0
            case Kind.READ:
                self._known[key] = (operation.seen, revision)
            case Kind.WRITE:
                self._known[key] = (operation.value, revision)
            case Kind.CAS if operation.seen == operation.expected and revision > 0:
                self._known[key] = (operation.value, revision)
                if key == "lock" and operation.value not in self._world.released:
                    self._token = revision
            case Kind.CAS:
                self._known.pop(key, None)
            case Kind.STALE:
                self._world.check_stale(operation)

    def _deadline(self, operation: Operation) -> None:
        if operation is not self._current:
            return
        # Some clients stay with a silent leader for a while. In the calm they try one server after
        # the other, since random choices might hit a lost server many times in a row.
        leaves = self._rng.random() < 0.5
        if self._world.calm:
            servers = self._world.server_ids
            self._hint = servers[(servers.index(self._asked) + 1) % len(servers)]
        elif leaves:
            self._hint = ""
        if operation.kind.is_repeated:
            self._again(operation)
            self._world.scheduler.after(self._world.plan.client_timeout, self._deadline, operation)
            return
        self._world.trace.add(str(operation))
        self._next()

    def _again(self, operation: Operation) -> None:
        if operation is self._current and self._request is not None:
            self._send(self._request)

    def _next(self) -> None:
        self._current = None
        self._world.scheduler.after(self._thought(), self._begin)
