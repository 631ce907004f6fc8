"""One simulated server: the driver around a core.

Keeps the persistence contract of ``braft_core.raft.ready`` to the letter, and uses all the freedom
it leaves. Inputs wait and are taken in batches. Several batches are on their way to the disk, and
the applier lags. The process freezes, crashes, and returns with what its disk holds.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Any

from braft_core.errors import ProtocolViolation
from braft_core.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    InstallSnapshot,
    InstallSnapshotResponse,
    Message,
    RequestPreVote,
    RequestPreVoteResponse,
    TimeoutNow,
)
from braft_core.raft.ready import Ready, RoleChanged
from braft_core.raft.types import Role, SnapshotMeta
from braft_core.storage.recovery import Recovery
from braft_testing.simulation import forged_messages
from braft_testing.simulation.autopilot_adapter import (
    AutopilotAdapter,
    LeaderProbe,
    LeaderProbeReply,
)
from braft_testing.simulation.bootstrap import BootstrapAdapter, Call, Reply
from braft_testing.simulation.capability_adapter import CapabilityAdapter, DeclareCall, DeclareReply
from braft_testing.simulation.clock import NodeClock
from braft_testing.simulation.disk import Disk
from braft_testing.simulation.errors import InvariantBroken
from braft_testing.simulation.frontend import Frontend, Restore
from braft_testing.simulation.invariants import CoreObservation
from braft_testing.simulation.network import Envelope
from braft_testing.simulation.plan import stream
from braft_testing.simulation.process import FORGED, ObservedRole, PendingRequest, Process
from braft_testing.simulation.rejoin import RejoinCall, RejoinReply
from braft_testing.simulation.requests import (
    ClientRequest,
    ReadIndexReply,
    ReadIndexRequest,
    Transfer,
    duplicate,
)
from braft_testing.simulation.snapshots import Capture, Snapshotter, recover
from braft_testing.simulation.staleness_invariants import ReportedBound
from braft_testing.simulation.trace import describe
from braft_testing.simulation.versions import VersionedMachine

if TYPE_CHECKING:
    from braft_testing.simulation.world import World

__all__ = ["Server"]


class Server:
    """A server that can crash and restart. ``live`` is ``None`` while its process is dead."""

    def __init__(self, world: World, server_id: str, disk: Disk, clock: NodeClock) -> None:
        self.world = world
        self.id = server_id
        self.disk = disk
        self.clock = clock
        self.lives = 0
        self.live: Process | None = None
        self.frozen = False
        #: Whether Raft messages do not reach it; other calls do.
        self.deaf = False
        #: Whether it lost its data: its id must never start again.
        self.lost = False
        #: The version of the program it runs, from 1 on.
        self.version = 1
        self.bootstrap: BootstrapAdapter | None = None
        self.rng = stream(world.seed, f"server/{server_id}")
        disk.on_durable = self._durable

    @property
    def process(self) -> Process:
        """The live process.

        :raises InvariantBroken: if it is dead, which is an error of the simulator.
        """
        if self.live is None:
            raise InvariantBroken("a crashed server does nothing", self.id)
        return self.live

    @property
    def up(self) -> bool:
        """Whether its process runs, in a cluster or not."""
        return self.live is not None or self.bootstrap is not None

    # -- start and stop ------------------------------------------------------------------

    def start(self) -> None:
        """Start the process from what the disk holds, unless it must refuse."""
        if self.lost:
            return
        recovery = recover(self.disk)
        if recovery is None:
            self.world.trace.add(f"{self.id} refuses to start: its disk cannot be read")
            return
        self.lives += 1
        self.frozen = False
        if self.world.plan.bootstrap:
            self.bootstrap = BootstrapAdapter.of(self)
            self.bootstrap.start()
        if self.disk.cluster_id or not self.world.plan.bootstrap:
            self._begin(recovery)
        else:
            self.world.trace.add(f"{self.id} starts uninitialised")

    def begin(self) -> None:
        """Start Raft: this node has just become a member of a cluster."""
        recovery = recover(self.disk)
        if recovery is not None:
            self._begin(recovery)

    def _begin(self, recovery: Recovery) -> None:
        world, stored, newest = self.world, recovery.state, recovery.snapshot
        core = world.core_factory(
            self.id,
            config=world.plan.config,
            random=stream(world.seed, f"core/{self.id}/{self.lives}").random,
            now=self.clock.local(world.scheduler.now),
            hard_state=stored.hard_state,
            entries=tuple(stored.entries),
            compacted_index=stored.compacted_index,
            compacted_term=stored.compacted_term,
            snapshot=newest,
        )
        frontend = Frontend(world, core, self.clock, self._send)
        if newest is not None:
            frontend.restore(newest, self.disk.snapshots.open(newest.id) or b"")
        last = core.last_index
        observed = CoreObservation(
            stored.hard_state.term,
            commit_index=core.commit_index,
            handed=newest.index if newest is not None else 0,
            last_index=last,
            last_term=self.disk.durable.term_at(last),
            compacted=stored.compacted_index,
        )
        snapshots = Snapshotter(self, observed.handed)
        staleness = ReportedBound(
            world.staleness, world.plan.config, self.clock.local(world.scheduler.now)
        )
        self.live = Process(core, frontend, observed, ObservedRole.of(core), snapshots, staleness)
        if world.versions is not None and isinstance(frontend.machine, VersionedMachine):
            negotiation = CapabilityAdapter(self, self.live, frontend.machine, world.versions)
            self.live.negotiation = frontend.negotiation = negotiation
        self.reconsider(self.live)
        if world.plan.autopilot is not None:
            self.live.autopilot = AutopilotAdapter(
                self, self.live, world.plan.autopilot, world.removals
            )
        world.trace.add(
            f"{self.id} starts, {stored.hard_state}, log {stored.compacted_index}..{last}"
        )
        self._wake()

    def reconsider(self, live: Process) -> None:
        """Decide whether it may campaign; step down if it has stopped applying."""
        stop = live.frontend.stopped
        live.core.set_campaign_enabled(live.campaign_enabled and stop is None)
        if stop is not None and live.core.role is Role.LEADER:
            live.core.step_down(stop.message)

    @property
    def declaration(self) -> bytes:
        """The declaration of what its version can execute; empty if there is only one version."""
        machine = self.world.make_machine(self.id, self.clock)
        return machine.capabilities.encode() if self.world.versions is not None else b""

    def place(self, capture: Capture) -> SnapshotMeta:
        """Store a snapshot durably, and let the observer check it."""
        contents = b"".join(capture.chunks)
        meta = self.disk.snapshots.place(
            capture.at,
            capture.term,
            capture.configuration,
            capture.configuration_index,
            contents,
        )
        self.world.placed(self.id, meta, contents)
        self.world.trace.add(f"{self.id} stores a snapshot at {meta.index}")
        return meta

    def crash(self) -> None:
        """Kill the process; the disk keeps what it must and perhaps more."""
        lost = self.disk.crash()
        self.live = self.bootstrap = None
        self.world.trace.add(f"{self.id} crashes, {lost} batches lost")

    def freeze(self) -> None:
        """Stop the process as SIGSTOP does."""
        self.frozen = True
        self.world.trace.add(f"{self.id} freezes")

    def resume(self) -> None:
        """Let a frozen process continue; it finds all inputs that arrived meanwhile."""
        if self.frozen:
            self.frozen = False
            self.world.trace.add(f"{self.id} resumes")
            if self.live is not None:
                self.live.awake = False
                self.live.backlog = len(self.live.inbox)
                self._wake()

    # -- inputs --------------------------------------------------------------------------

    def post(self, action: Callable[..., None], *args: Any) -> None:
        """Put an input into the inbox of the live process; it is lost if the process is dead."""
        if self.live is not None:
            self.live.inbox.append((action, args))
            self._wake()

    def _wake(self) -> None:
        live, plan = self.live, self.world.plan
        if live is None or live.awake or self.frozen:
            return
        live.awake = True
        late = 0.0
        if not self.world.calm and plan.late_wake and self.rng.random() < plan.late_wake:
            late = self.rng.random() * plan.late_wake_delay
        self.world.scheduler.after(late, self._run, live)

    def receive(self, envelope: Envelope) -> None:
        """Receive an envelope from the network."""
        if self.bootstrap is not None and not self.frozen:
            if isinstance(envelope.payload, Call):
                self.bootstrap.asked(envelope)
            elif isinstance(envelope.payload, Reply):
                self.bootstrap.answered(envelope.payload)
        if self.live is None or isinstance(envelope.payload, Call | Reply):
            return
        frontend = self.live.frontend
        match envelope.payload:
            case ClientRequest() as request:
                self.post(frontend.asked, request)
            case ReadIndexRequest() as question:
                self.post(frontend.read_index_asked, question, envelope.sender)
            case ReadIndexReply() as answer:
                self.post(frontend.read_index_answered, answer)
            case LeaderProbe(number):
                self.post(self._send, envelope.sender, LeaderProbeReply(number, envelope.life))
            case LeaderProbeReply() as answer if self.live.autopilot is not None:
                self.post(self.live.autopilot.probe_answered, answer)
            case DeclareCall() | DeclareReply() if self.live.negotiation is not None:
                self.post(self.live.negotiation.receive, envelope)
            case RejoinCall() | RejoinReply() if self.live.autopilot is not None:
                self.post(self.live.autopilot.rejoin.receive, envelope)
            case unheard if self.deaf and isinstance(unheard, Message | Transfer):
                pass
            case Transfer():
                self.live.snapshots.receive(self.live, envelope)
            case _:
                self._receive_message(self.live, envelope)

    def _receive_message(self, live: Process, envelope: Envelope) -> None:
        """Do what a transport does: route responses back, and set a response's request id."""
        message = duplicate(envelope.payload)
        pending = message.context
        if pending is None:
            self.deliver(live, envelope, message)
            return
        if pending.life != self.lives:
            return  # the connection of a dead process ends with it
        message.context = None
        message.request_id = pending.request.request_id
        if isinstance(message, InstallSnapshotResponse):
            live.snapshots.under_way.discard(message.request_id)
        self.post(self.step, message)

    def deliver(self, live: Process, envelope: Envelope, request: Message) -> None:
        """Pass a request to the core, with the context that routes its response."""
        pending = PendingRequest(envelope.sender, envelope.life, request, self.world.scheduler.now)
        request.context = pending
        live.unanswered[id(pending)] = pending
        self.post(self.step, request)

    def step(self, message: Message) -> None:
        """Pass a message to the core."""
        self.world.trace.add(f"{self.id} <- {message.sender} {describe(message)}")
        live = self.process
        live.observed.timeout_now = isinstance(message, TimeoutNow)
        now = self.clock.local(self.world.scheduler.now)
        if isinstance(message, RequestPreVote):
            silence = now - live.leader_heard
            follows = live.core.role is Role.FOLLOWER and live.core.leader
            patience = self.world.plan.config.election_timeout
            message.context.heard_leader = bool(follows) and silence < patience * 0.99
        if isinstance(message, AppendEntriesResponse | InstallSnapshotResponse):
            live.contact.heard[message.sender] = now
            if live.autopilot is not None:
                live.autopilot.observation.called[message.sender] = now
        term = live.core.current_term
        try:
            live.core.step(message)
        except ProtocolViolation as violation:
            forged_messages.check_rejection(self, message, term, violation)
            return
        if isinstance(message, AppendEntries):
            live.staleness.observe_append(live.core, message, live.frontend.applied)
            if message.term == live.core.current_term:
                live.leader_heard = now

    # -- the loop ------------------------------------------------------------------------

    def _run(self, live: Process) -> None:
        """Run one turn: read the clock, process all waiting inputs, and do what follows."""
        if live is not self.live or self.frozen:
            return
        live.awake = False
        core, frontend = live.core, live.frontend
        inbox = self._take_inbox(live)
        now = self.clock.local(self.world.scheduler.now)
        live.staleness.turn(now)
        core.tick(now)
        self._observe(live)
        live.contact.check(core, now, self.world.patience)
        if self.world.plan.config.lease_reads and core.role is Role.LEADER:
            # A read request might arrive at this very moment.
            frontend.check_lease()
        for action, args in inbox:
            action(*args)
            self._observe(live)
        if frontend.propose(self.disk.full):
            self._observe(live)
        self._drain(live)
        if frontend.serve_leased():
            self._observe(live)
            self._drain(live)
        live.staleness.observe_leadership(core, frontend.applied)
        self.check_bound(live)
        if live.autopilot is not None:
            live.autopilot.rejoin.check()
        if live.negotiation is not None:
            live.negotiation.check()
        live.check_view(self.id, self.disk.volatile)
        self._arm_timer(live)

    def _take_inbox(self, live: Process) -> list[tuple[Callable[..., None], tuple[Any, ...]]]:
        """Take the waiting inputs: all of them, but a backlog of a pause over several turns."""
        if not live.backlog:
            inbox, live.inbox = live.inbox, []
            return inbox
        count = self.rng.randint(1, live.backlog)
        inbox, live.inbox = live.inbox[:count], live.inbox[count:]
        live.backlog -= count
        self._wake()
        return inbox

    def _drain(self, live: Process) -> None:
        while (ready := live.core.poll()) is not None:
            self._handle(live, ready)
            self._observe(live)

    def _observe(self, live: Process) -> None:
        self.world.invariants.observe(self.id, self.lives, live.core, live.observed)
        self.world.staleness.note()
        live.observed.timeout_now = False

    def check_bound(self, live: Process) -> None:
        """Check the staleness bound, as if a stale read arrived at this very moment."""
        now = self.clock.local(self.world.scheduler.now)
        live.staleness.check(self.id, now, live.frontend.applied)

    def _arm_timer(self, live: Process) -> None:
        deadline = live.core.next_deadline()
        if deadline == inf:
            return
        now = self.world.scheduler.now
        # Slightly late rather than early, or rounding would make it spin.
        delay = max(self.clock.delay_until(deadline, now), 0.0) + 1e-6
        if now + delay < live.timer_at:
            live.timer_at = now + delay
            self.world.scheduler.after(delay, self._timer, live, live.timer_at)

    def _timer(self, live: Process, when: float) -> None:
        if live is self.live and live.timer_at == when:
            live.timer_at = inf
            self._wake()

    def clock_changed(self) -> None:
        """Set the timer again after the clock was changed."""
        if self.live is not None:
            self.live.timer_at = inf
            self._wake()

    # -- outputs -------------------------------------------------------------------------

    def _handle(self, live: Process, ready: Ready) -> None:
        trace, frontend = self.world.trace, live.frontend
        self.world.invariants.check_ready(self.id, live.core, live.observed, ready)
        if ready.must_persist:
            trace.add(
                f"{self.id} writes #{ready.number} {ready.hard_state or ''}"
                f" cut {ready.truncate_from} +{len(ready.entries)}"
                f"{f' behind {ready.snapshot.index}' if ready.snapshot else ''}"
            )
        for event in ready.events:
            trace.add(f"{self.id} {type(event).__name__} {tuple(event)[:2]}")
            live.observed_role.hear(event)
            if isinstance(event, RoleChanged) and event.role is Role.LEADER:
                self.world.faults.leads(self)
        for message in ready.messages:
            self._check_claim(message)
            self._release(message)
        if ready.snapshot is not None:
            contents = self.disk.snapshots.open(ready.snapshot.id)
            if contents is None:
                raise InvariantBroken(
                    "a received snapshot is stored before it is restored", f"{ready.snapshot}"
                )
            frontend.to_apply.append(Restore(ready.snapshot, contents))
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
        """Process a durable batch; what follows happens in the next turn of the process."""
        if self.live is not None:
            # What the messages claim must be true now. A later batch may have replaced it by the
            # time they leave, which is as if the network had been slow.
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
        pending = message.context
        request = None if pending is None else pending.request
        if isinstance(message, RequestPreVoteResponse) and message.granted and pending.heard_leader:
            raise InvariantBroken(
                "no PreVote is granted while a leader is heard", f"{self.id} is willing: {message}"
            )
        self.world.invariants.check_sent(self.id, message, request)

    def _release(self, message: Message) -> None:
        pending = message.context
        if pending is None and not message.request_id:
            raise InvariantBroken("one answer per request", f"{self.id} to nothing: {message}")
        if pending is not None and self.process.unanswered.pop(id(pending), None) is None:
            raise InvariantBroken("one answer per request", f"{self.id} again: {message}")
        if pending is not None and pending.life == FORGED:
            return
        if isinstance(message, InstallSnapshot):
            transfer = self.process.snapshots.send(message)
            if transfer is not None:
                self._send(message.to, transfer)
            return
        self._send(message.to, message)

    def _send(self, to: str, payload: Any) -> None:
        self.world.send(Envelope(self.id, to, self.lives, payload))

    def _start_applier(self, live: Process) -> None:
        if live.frontend.to_apply and not live.applying:
            live.applying = True
            delay = 0.0 if self.world.calm else self.world.plan.apply_latency
            self.world.scheduler.after(delay * self.rng.random(), self._apply, live)

    def _apply(self, live: Process) -> None:
        if live is not self.live:
            return
        live.applying = False
        stopped = live.frontend.stopped
        live.frontend.apply()
        if live.frontend.stopped is not stopped:
            self.post(self.reconsider, live)
            self.world.faults.stopped_applying(self)
        self.check_bound(live)
        self.post(live.core.applied, live.frontend.applied)
        live.snapshots.consider(live)
