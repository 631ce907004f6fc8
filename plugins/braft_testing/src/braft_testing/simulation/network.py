"""A simulated network: delay, loss, duplication, reordering, one-way cuts.

Owns how long and whether an envelope travels. It carries any payload and never looks inside, except
that heartbeats have their own lane and overtake other traffic.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from braft_core.raft.messages import AppendEntries, Message
from braft_testing.simulation.clock import Scheduler
from braft_testing.simulation.plan import Plan
from braft_testing.simulation.requests import Transfer

__all__ = ["Envelope", "Network"]


class Envelope(NamedTuple):
    """A payload in transit. ``life`` counts the restarts of the sender when it was sent."""

    sender: str
    to: str
    life: int
    payload: Any


class Network:
    """Links between all endpoints. ``deliver`` is called when an envelope arrives."""

    def __init__(
        self,
        scheduler: Scheduler,
        plan: Plan,
        rng: random.Random,
        deliver: Callable[[Envelope], None],
    ) -> None:
        self._scheduler = scheduler
        self._rng = rng
        self._deliver = deliver
        self._cut: set[tuple[str, str]] = set()
        #: Buffered until the cut links are healed, in order; ``None`` where it is lost.
        self._held: list[Envelope] | None = None
        self._last: dict[tuple[str, str, bool], float] = {}
        self.delay = plan.delay
        self.jitter = plan.jitter
        self.loss = plan.loss
        self.duplication = plan.duplication
        self.reordering = plan.reordering
        self.transfer_time = plan.transfer_time
        self.transfer_loss = plan.transfer_loss
        self.dropped = 0

    def send(self, envelope: Envelope) -> None:
        """Let an envelope travel, or lose it."""
        if (envelope.sender, envelope.to) in self._cut:
            self._hold(envelope)
            return
        if self.loss and self._rng.random() < self.loss:
            self.dropped += 1
            return
        self._travel(envelope)
        # Clients do not repeat themselves: a duplicated command would be two commands.
        if (
            self.duplication
            and isinstance(envelope.payload, Message | Transfer)
            and self._rng.random() < self.duplication
        ):
            self._travel(envelope)

    def _travel(self, envelope: Envelope) -> None:
        rng, now = self._rng, self._scheduler.now
        when = now + self.delay * (0.5 + rng.random())
        if self.jitter:
            when += rng.random() * rng.random() * self.jitter
        if isinstance(envelope.payload, Transfer):
            # A transfer has its own stream and takes time according to its size.
            if self.transfer_loss and rng.random() < self.transfer_loss:
                self.dropped += 1
                return
            when += rng.random() * self.transfer_time
        elif self.reordering and rng.random() < self.reordering:
            when += rng.random() * max(10 * self.jitter, 0.05)
        else:
            payload = envelope.payload
            heartbeat = isinstance(payload, AppendEntries) and payload.heartbeat
            lane = (envelope.sender, envelope.to, heartbeat)
            when = max(when, self._last.get(lane, 0.0))
            self._last[lane] = when
        self._scheduler.after(when - now, self._arrive, envelope)

    def _arrive(self, envelope: Envelope) -> None:
        if (envelope.sender, envelope.to) in self._cut:
            self._hold(envelope)
            return
        self._deliver(envelope)

    def _hold(self, envelope: Envelope) -> None:
        if self._held is None:
            self.dropped += 1
        else:
            self._held.append(envelope)

    def cut(self, pairs: Iterable[tuple[str, str]], *, holds: bool = False) -> None:
        """Cut these directed links, including what is in transit on them.

        :param holds: nothing is lost on cut links, it only waits, as in the buffers of TCP.
        """
        self._cut.update(pairs)
        if holds and self._held is None:
            self._held = []

    def is_cut(self, sender: str, to: str) -> bool:
        """Return whether that directed link is cut."""
        return (sender, to) in self._cut

    def heal(self) -> None:
        """Heal all links."""
        self._cut.clear()
        held, self._held = self._held or [], None
        for envelope in held:
            self._travel(envelope)

    def calm(self) -> None:
        """Become a good network: no cuts, no loss, order kept, short delays."""
        self.heal()
        self.delay, self.jitter = min(self.delay, 0.001), 0.0
        self.loss = self.duplication = self.reordering = 0.0
        self.transfer_time, self.transfer_loss = min(self.transfer_time, 0.05), 0.0
