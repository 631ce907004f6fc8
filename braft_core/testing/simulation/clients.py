"""Clients: one operation at a time, a deadline each, and an honest record of what they know."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from braft_core.testing.simulation.history import History, Kind, Operation, Outcome
from braft_core.testing.simulation.network import Envelope
from braft_core.testing.simulation.requests import Answer, Ask

if TYPE_CHECKING:
    from braft_core.testing.simulation.world import World

__all__ = ["Client"]


class Client:
    """Asks the server it believes to lead; on no answer in time the outcome stays unknown."""

    def __init__(self, world: World, name: str, rng: random.Random, history: History) -> None:
        self._world = world
        self._rng = rng
        self._history = history
        self.name = name
        self._hint = ""
        self._current: Operation | None = None
        self._known: dict[str, int] = {}
        self.stopped = False

    def start(self) -> None:
        """Begin after a moment's thought."""
        self._world.scheduler.after(self._thought(), self._ask)

    def _thought(self) -> float:
        return self._rng.expovariate(1.0 / self._world.plan.think_time)

    def _ask(self) -> None:
        if self.stopped:
            return
        world, rng, plan = self._world, self._rng, self._world.plan
        key = f"k{rng.randrange(plan.keys)}"
        now = world.scheduler.now
        draw = rng.random()
        if draw < plan.read_share:
            operation = self._history.invoke(self.name, Kind.READ, key, now)
        else:
            kind = Kind.CAS if rng.random() < 0.4 else Kind.WRITE
            number = len(self._history.operations) + 1
            expected = self._known.get(key, 0)
            operation = self._history.invoke(
                self.name, kind, key, now, value=number, expected=expected
            )
        self._current = operation
        follower_read = operation.kind is Kind.READ and rng.random() < plan.follower_read_share
        target = rng.choice(world.server_ids) if follower_read or not self._hint else self._hint
        world.trace.add(f"{self.name} asks {target} {operation.kind.value} {key}")
        world.send(Envelope(self.name, target, 0, Ask(operation, self.name)))
        world.scheduler.after(plan.client_timeout, self._deadline, operation)

    def receive(self, answer: Answer) -> None:
        """An answer arrived, perhaps too late."""
        operation = answer.operation
        if operation is not self._current:
            return
        operation.returned = self._world.scheduler.now
        operation.outcome = Outcome.OK if answer.ok else Outcome.FAILED
        operation.seen = answer.seen
        if answer.ok:
            self._learn(operation)
        else:
            self._hint = answer.hint
        self._world.trace.add(str(operation))
        self._next()

    def _learn(self, operation: Operation) -> None:
        took_effect = operation.kind is Kind.WRITE or (
            operation.kind is Kind.CAS and operation.seen == operation.expected
        )
        self._known[operation.key] = operation.value if took_effect else operation.seen

    def _deadline(self, operation: Operation) -> None:
        if operation is self._current:
            if self._rng.random() < 0.5:  # some clients stay with a leader that went silent
                self._hint = ""
            self._world.trace.add(str(operation))
            self._next()

    def _next(self) -> None:
        self._current = None
        self._world.scheduler.after(self._thought(), self._ask)
