"""One simulated server: the driver around a core.

Keeps the persistence contract of ``braft_core.raft.ready`` to the letter, and uses all the freedom
it leaves: inputs wait and are taken in batches, several batches are on their way to the disk,
the applier lags, the process freezes, crashes and returns with what its disk holds.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Any

from braft_core.raft.messages import Message, TimeoutNow
from braft_core.raft.ready import Ready, RoleChanged
from braft_core.raft.types import Role
from braft_core.testing.simulation.clock import NodeClock
from braft_core.testing.simulation.disk import Disk
from braft_core.testing.simulation.errors import InvariantBroken
from braft_core.testing.simulation.frontend import Frontend
from braft_core.testing.simulation.invariants import Seen
from braft_core.testing.simulation.network import Envelope
from braft_core.testing.simulation.plan import stream
from braft_core.testing.simulation.process import Process, Ticket, Told
from braft_core.testing.simulation.requests import Ask, ReadIndexAnswer, ReadIndexAsk
from braft_core.testing.simulation.trace import describe

if TYPE_CHECKING:
    from braft_core.testing.simulation.world import World

__all__ = ["Server"]


class Server:
    """A server that can crash and return. ``live`` is ``None`` while its process is dead."""

    def __init__(self, world: World, server_id: str, disk: Disk, clock: NodeClock) -> None:
        self.world = world
        self.id = server_id
        self.disk = disk
        self.clock = clock
        self.lives = 0
        self.live: Process | None = None
        self.frozen = False
        self._rng = stream(world.seed, f"server/{server_id}")
        disk.on_durable = self._durable

    @property
    def process(self) -> Process:
        """The live process.

        :raises InvariantBroken: it is dead; the simulator itself is wrong.
        """
        if self.live is None:
            raise InvariantBroken("the dead do not act", self.id)
        return self.live

    # -- life and death ------------------------------------------------------------------

    def start(self) -> None:
        """Start the process from what the disk holds."""
        world, stored = self.world, self.disk.durable
        self.lives += 1
        self.frozen = False
        core = world.core_factory(
            self.id,
            config=world.plan.config,
            random=stream(world.seed, f"core/{self.id}/{self.lives}").random,
            now=self.clock.local(world.scheduler.now),
            hard_state=stored.hard_state,
            entries=tuple(stored.entries),
        )
        frontend = Frontend(world, core, self._send)
        last = len(stored.entries)
        seen = Seen(stored.hard_state.term, last_index=last, last_term=stored.term_at(last))
        self.live = Process(core, frontend, seen, Told.of(core))
        world.trace.add(f"{self.id} starts, {stored.hard_state}, log {len(stored.entries)}")
        self._wake()

    def crash(self) -> None:
        """Kill the process; the disk keeps what it must and perhaps more."""
        lost = self.disk.crash()
        self.live = None
        self.world.trace.add(f"{self.id} crashes, {lost} batches lost")

    def freeze(self) -> None:
        """Stop the process as SIGSTOP does."""
        self.frozen = True
        self.world.trace.add(f"{self.id} freezes")

    def resume(self) -> None:
        """Let a frozen process go on; it finds all that came meanwhile."""
        if self.frozen:
            self.frozen = False
            self.world.trace.add(f"{self.id} resumes")
            if self.live is not None:
                self.live.awake = False
                self._wake()

    # -- inputs --------------------------------------------------------------------------

    def post(self, action: Callable[..., None], *args: Any) -> None:
        """Put an input into the inbox of the live process; a dead one loses it."""
        if self.live is not None:
            self.live.inbox.append((action, args))
            self._wake()

    def _wake(self) -> None:
        live, plan = self.live, self.world.plan
        if live is None or live.awake or self.frozen:
            return
        live.awake = True
        late = 0.0
        if not self.world.calm and plan.late_wake and self._rng.random() < plan.late_wake:
            late = self._rng.random() * plan.late_wake_delay
        self.world.scheduler.after(late, self._run, live)

    def receive(self, envelope: Envelope) -> None:
        """An envelope arrived from the network."""
        if self.live is None:
            return
        frontend = self.live.frontend
        match envelope.payload:
            case Ask() as ask:
                self.post(frontend.asked, ask)
            case ReadIndexAsk() as question:
                self.post(frontend.read_index_asked, question, envelope.sender)
            case ReadIndexAnswer() as answer:
                self.post(frontend.read_index_answered, answer)
            case _:
                self._receive_message(self.live, envelope)

    def _receive_message(self, live: Process, envelope: Envelope) -> None:
        """Do what a transport does: give a request its way home, a response its request's id."""
        message = copy.copy(envelope.payload)
        ticket = message.context
        if ticket is None:
            ticket = Ticket(envelope.sender, envelope.life, message, self.world.scheduler.now)
            message.context = ticket
            live.unanswered[id(ticket)] = ticket
        elif ticket.life != self.lives:
            return  # the connection of a dead process ends with it
        else:
            message.context = None
            message.request_id = ticket.request.request_id
        self.post(self._step, message)

    def _step(self, message: Message) -> None:
        self.world.trace.add(f"{self.id} <- {message.sender} {describe(message)}")
        live = self.process
        live.seen.bidden = isinstance(message, TimeoutNow)
        live.core.step(message)

    # -- the loop ------------------------------------------------------------------------

    def _run(self, live: Process) -> None:
        """One wake-up: the clock, all inputs that wait, and what follows from them."""
        if live is not self.live or self.frozen:
            return
        live.awake = False
        core = live.core
        inbox, live.inbox = live.inbox, []
        core.tick(self.clock.local(self.world.scheduler.now))
        self._observe(live)
        for action, args in inbox:
            action(*args)
            self._observe(live)
        live.frontend.propose()
        self._observe(live)
        while core.has_ready():
            self._handle(live, core.ready())
            self._observe(live)
        self._check_view(live)
        self._arm_timer(live)

    def _observe(self, live: Process) -> None:
        self.world.invariants.observe(self.id, self.lives, live.core, live.seen)
        live.seen.bidden = False

    def _arm_timer(self, live: Process) -> None:
        deadline = live.core.next_deadline()
        if deadline == inf:
            return
        now = self.world.scheduler.now
        # A hair late rather than early, or rounding would make it spin.
        delay = max(self.clock.delay_until(deadline, now), 0.0) + 1e-6
        if now + delay < live.timer_at:
            live.timer_at = now + delay
            self.world.scheduler.after(delay, self._timer, live, live.timer_at)

    def _timer(self, live: Process, when: float) -> None:
        if live is self.live and live.timer_at == when:
            live.timer_at = inf
            self._wake()

    def clock_changed(self) -> None:
        """The clock was set: the timer must be computed anew."""
        if self.live is not None:
            self.live.timer_at = inf
            self._wake()

    # -- outputs -------------------------------------------------------------------------

    def _handle(self, live: Process, ready: Ready) -> None:
        trace, frontend = self.world.trace, live.frontend
        self.world.invariants.check_ready(self.id, live.core, live.seen, ready)
        if ready.must_persist:
            trace.add(
                f"{self.id} writes #{ready.number} {ready.hard_state or ''}"
                f" cut {ready.truncate_from} +{len(ready.entries)}"
            )
        for event in ready.events:
            trace.add(f"{self.id} {type(event).__name__} {tuple(event)[:2]}")
            live.told.hear(event)
            if isinstance(event, RoleChanged) and event.role is Role.LEADER:
                self.world.faults.leads(self)
        for message in ready.messages:
            self._check_claim(message)
            self._release(message)
        frontend.to_apply.extend(ready.committed)
        for read in ready.reads:
            frontend.read_confirmed(read)
        live.unconfirmed += 1
        if live.unconfirmed == 1 and not ready.must_persist:
            self._check_claims(ready)
            self._persisted(ready)
        else:
            self.disk.submit(ready)
        self._start_applier(live)

    def _durable(self, ready: Ready) -> None:
        """The disk holds a batch. What follows happens when the process finds time for it."""
        if self.live is not None:
            # What the messages claim must be true now; a later batch may have replaced it by
            # the time they leave, which is as if the network had been slow.
            self._check_claims(ready)
            self.post(self._persisted, ready)

    def _persisted(self, ready: Ready) -> None:
        live = self.process
        live.unconfirmed -= 1
        for message in ready.messages_after_persist:
            self._release(message)
        live.core.persisted(ready.number)

    def _check_claims(self, ready: Ready) -> None:
        for message in ready.messages_after_persist:
            self._check_claim(message)

    def _check_claim(self, message: Message) -> None:
        ticket = message.context
        request = None if ticket is None else ticket.request
        self.world.invariants.check_sent(self.id, message, request)

    def _release(self, message: Message) -> None:
        ticket = message.context
        if ticket is None and not message.request_id:
            raise InvariantBroken("one answer per request", f"{self.id} to nothing: {message}")
        if ticket is not None and self.process.unanswered.pop(id(ticket), None) is None:
            raise InvariantBroken("one answer per request", f"{self.id} again: {message}")
        self._send(message.to, message)

    def _send(self, to: str, payload: Any) -> None:
        self.world.send(Envelope(self.id, to, self.lives, payload))

    def _start_applier(self, live: Process) -> None:
        if live.frontend.to_apply and not live.applying:
            live.applying = True
            delay = 0.0 if self.world.calm else self.world.plan.apply_latency
            self.world.scheduler.after(delay * self._rng.random(), self._apply, live)

    def _apply(self, live: Process) -> None:
        if live is not self.live:
            return
        live.applying = False
        live.frontend.apply()
        self.post(live.core.applied, live.frontend.applied)

    def _check_view(self, live: Process) -> None:
        core, image = live.core, self.disk.volatile
        last = len(image.entries)
        if core.last_index != last or core.log.term_at(last) != image.term_at(last):
            raise InvariantBroken(
                "what is in the log is written", f"{self.id}: {core.last_index} versus {last}"
            )
        if image.hard_state.term != core.current_term:
            raise InvariantBroken(
                "what is in the log is written",
                f"{self.id}: term {core.current_term} versus {image.hard_state}",
            )

        if live.told != Told.of(core):
            raise InvariantBroken(
                "events tell the truth", f"{self.id} is {Told.of(core)}, told {live.told}"
            )
