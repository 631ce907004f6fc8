"""A whole cluster in one thread: composed from a seed, run, healed, checked.

Owns the phases of a run: faults drawn by the plan, then calm, in which the cluster must recover
within bounded virtual time, then the checks that need the whole history.
"""

from __future__ import annotations

import traceback
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass, field
from math import inf

from braft_core.cluster.interface import AutopilotRules
from braft_core.errors import BraftError
from braft_core.raft import types
from braft_core.raft.types import Configuration, Entry, SnapshotMeta
from braft_core.runtime.applier import ApplyStop
from braft_testing.simulation.bootstrap import Discovery, write_first_entry
from braft_testing.simulation.bootstrap_invariants import BootstrapInvariants
from braft_testing.simulation.clients import Client, Guarded
from braft_testing.simulation.clock import NodeClock, Scheduler
from braft_testing.simulation.core import CoreFactory, raft_core
from braft_testing.simulation.disk import Disk, LogImage
from braft_testing.simulation.edits import NO_EDITS, Edits
from braft_testing.simulation.errors import InvariantBroken
from braft_testing.simulation.faults import Faults
from braft_testing.simulation.history import History, Kind, Operation, Outcome
from braft_testing.simulation.invariants import Invariants
from braft_testing.simulation.linearizability import (
    Undecided,
    check_history,
    check_revisions,
)
from braft_testing.simulation.model import check_calls
from braft_testing.simulation.network import Envelope, Network
from braft_testing.simulation.patched_time_and_random import seeded_randomness
from braft_testing.simulation.plan import draw_plan, draw_versions, stream
from braft_testing.simulation.recovery import Recovery
from braft_testing.simulation.removal_invariants import RemovalInvariants
from braft_testing.simulation.replicas import Record, Replicas
from braft_testing.simulation.requests import ClientResponse
from braft_testing.simulation.server import Server
from braft_testing.simulation.service_clients import ServiceClient
from braft_testing.simulation.service_under_test import ServiceUnderTest
from braft_testing.simulation.staleness_invariants import StalenessInvariants
from braft_testing.simulation.state_machine import (
    LOST,
    Machine,
    SimulatedMachine,
    value_written,
)
from braft_testing.simulation.sync_latencies import SyncLatencies
from braft_testing.simulation.trace import Trace
from braft_testing.simulation.versions import VersionedMachine, VersionInvariants, program

__all__ = ["Report", "World", "run_seed"]


#: Virtual seconds in which an undisturbed cluster bootstraps and adds all servers.
_BOOTSTRAP_SECONDS = 20.0
#: Additional time as a number of consecutive syncs: bootstrap, elections, a change of the
#: configuration for each newcomer.
_BOOTSTRAP_SYNCS = 30


@dataclass(slots=True)
class Report:
    """The result of one run. ``invariant`` is "" if every rule held."""

    seed: int
    invariant: str = ""
    detail: str = ""
    tail: list[str] = field(default_factory=list)
    digest: str = ""
    seconds: float = 0.0
    steps: int = 0
    elections: int = 0
    commits: int = 0
    truncations: int = 0
    snapshots: int = 0
    installed: int = 0
    max_term: int = 0
    operations: int = 0
    answered: int = 0
    unknown: int = 0
    #: Clusters that the bootstrap rules started.
    formed: int = 0
    #: Dead voters that a leader removed.
    removed: int = 0
    #: How often one of them got its vote again.
    returned: int = 0
    #: How often a stale read that misses something was checked against its bound.
    bounds: int = 0
    #: Agreements on what all members can execute, and how often a server stopped applying.
    agreements: int = 0
    stops: int = 0
    undecided: bool = False
    faults: Counter[str] = field(default_factory=Counter)
    #: Strikes of faults: virtual seconds, kind, number.
    schedule: list[tuple[float, str, int]] = field(default_factory=list)
    #: Of a service under test: answers to each command and query, and how many of them are errors.
    calls: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    #: The applied commands and their records, for another process to compare.
    commands: list[tuple[Entry, Record]] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether every rule held."""
        return not self.invariant

    def failure(self, replay: str) -> str:
        """Format the broken rule, the last events, and how to replay it, on several lines."""
        return "\n".join(
            (
                "",
                f"seed {self.seed} breaks: {self.invariant}",
                self.detail.removeprefix(f"{self.invariant}: "),
                "",
                *self.tail,
                "",
                f"{self.seed} → {replay}",
            )
        )


class World:
    """One run of one seed. ``core_factory`` and ``server_class`` let mutants run too.

    With ``under_test`` the servers have only that service, and the clients call it.
    """

    def __init__(
        self,
        seed: int,
        *,
        seconds: float | None = None,
        max_steps: int | None = None,
        core_factory: CoreFactory = raft_core,
        server_class: type[Server] = Server,
        disk_class: type[Disk] = Disk,
        reuses_ids: bool = False,
        edits: Edits = NO_EDITS,
        echo: bool = False,
        under_test: ServiceUnderTest | None = None,
    ) -> None:
        self.seed = seed
        self.plan = edits.applied_to(draw_plan(seed, seconds, service=under_test is not None))
        self.skipped = edits.skip
        #: For a mutant: servers that lost their data start again under their old id.
        self.reuses_ids = reuses_ids
        self.core_factory = core_factory
        self.calm = False
        self._max_steps = max_steps
        self.scheduler = Scheduler()
        self.trace = Trace(lambda: self.scheduler.now, echo=echo)
        self.invariants = Invariants()
        self.history = History()
        self.replicas = None if under_test is None else self._replicas(under_test)
        self.versions = VersionInvariants(self.invariants.committed) if self.plan.versions else None
        self.network = Network(self.scheduler, self.plan, stream(seed, "network"), self._deliver)
        self._rng = stream(seed, "world")
        self.server_ids = [f"s{i}" for i in range(1, self.plan.servers + 1)]
        clocks: list[NodeClock] = []
        self.staleness = StalenessInvariants(self.scheduler, self.invariants.committed, clocks)
        self.sync_latencies = SyncLatencies(self.plan, self.server_ids, stream(seed, "pace"))
        self.servers = {
            server_id: self._make_server(server_id, server_class, disk_class)
            for server_id in self.server_ids
        }
        draw = stream(seed, "versions")
        for server, version in zip(
            self.servers.values(), draw_versions(self.plan, draw), strict=True
        ):
            server.version = version
        clocks += [server.clock for server in self.servers.values()]
        self.clients = {
            name: self._make_client(name)
            for name in (f"c{i}" for i in range(1, self.plan.clients + 1))
        }
        self.faults = Faults(self)
        self.undecided = False
        self.discovery = Discovery(self)
        self.bootstrap = BootstrapInvariants(self.invariants.disks, self.plan.expect)
        rules = self.plan.autopilot or AutopilotRules("off")
        self.removals = RemovalInvariants(rules, self.invariants.committed, self._drift)
        self.guarded = Guarded()
        #: Values by which the lock was given back.
        self.released: set[int] = set()
        config = self.plan.config
        #: How long a leader may go on without contact to a majority.
        self.patience = 2 * (config.election_timeout + config.heartbeat_interval)

    def _replicas(self, under_test: ServiceUnderTest) -> Replicas:
        # Two snapshots of states that are equal to the user need not have equal bytes.
        self.invariants.state_agreement.compares_contents = under_test.state is None
        committed, rng = self.invariants.committed, stream(self.seed, "replicas")
        return Replicas(under_test, committed, rng, lambda: self.scheduler.now)

    def _make_client(self, name: str) -> Client:
        rng = stream(self.seed, f"client/{name}")
        if self.replicas is None:
            return Client(self, name, rng, self.history)
        return ServiceClient(self, name, rng, self.history, replicas=self.replicas)

    def make_machine(self, server_id: str, clock: NodeClock) -> SimulatedMachine:
        """Return an empty state machine for a server that starts."""
        if self.versions is not None:
            runs = program(self.plan.versions, self.servers[server_id].version)
            return VersionedMachine(self.versions, server_id, runs)
        if self.replicas is None:
            return Machine()
        return self.replicas.replica(server_id, lambda: clock.local(self.scheduler.now))

    @property
    def newest(self) -> int:
        """The newest version of the program."""
        return len(self.plan.versions) + 1

    def note_stop(self, server_id: str, stop: ApplyStop) -> None:
        """Record that a server stopped applying."""
        self.trace.add(f"{server_id}: {stop.message}")
        if self.versions is not None:
            self.versions.stops += 1

    def note_appended(self, first: int, term: int, count: int) -> None:
        """Record when a leader appended entries from ``first`` on."""
        if self.replicas is not None:
            appended, now = self.replicas.appended, self.scheduler.now
            appended.update(((index, term), now) for index in range(first, first + count))

    def placed(self, server_id: str, meta: SnapshotMeta, contents: bytes) -> None:
        """Check a snapshot that a server has stored."""
        if self.replicas is not None:
            self.replicas.placed(meta, contents)
        self.invariants.state_agreement.check_snapshot(server_id, meta, contents)

    def _make_server(
        self, server_id: str, server_class: type[Server], disk_class: type[Disk]
    ) -> Server:
        rng = stream(self.seed, f"disk/{server_id}")
        image = LogImage(history=self.invariants.committed)
        if server_id in self._initial_voters and not self.plan.bootstrap:
            self._write_bootstrap(image)
        disk = disk_class(
            self.scheduler, lambda: self.sync_latencies.draw(server_id, rng), rng, image
        )
        self.invariants.disks[server_id] = disk
        drift = self.plan.clock_drift
        rate = 1.0 + self._rng.uniform(-drift, drift)
        return server_class(self, server_id, disk, NodeClock(self._rng.uniform(0, 1e4), rate))

    @property
    def _drift(self) -> float | None:
        """By how much clocks may be fast; ``None`` if they may also jump."""
        steady = self.plan.bounded_clock_drift or not {"clock", "diverge"} & set(self.plan.faults)
        return self.plan.clock_drift if steady else None

    @property
    def _initial_voters(self) -> list[str]:
        return self.server_ids[: self.plan.initial_voters]

    def _write_bootstrap(self, image: LogImage) -> None:
        servers = tuple(types.Server(f, f) for f in self._initial_voters)
        write_first_entry(image, Configuration(servers))

    # -- traffic -------------------------------------------------------------------------

    def send(self, envelope: Envelope) -> None:
        """Send over the network; a sender may notice that the destination does not run."""
        target = self.servers.get(envelope.to)
        sender = self.servers.get(envelope.sender)
        dead = target is not None and not target.up
        if dead and sender is not None and self._rng.random() < self.plan.alarm * 0.5:
            self.scheduler.after(
                self.network.delay, self.report_connection, sender, "unreachable", envelope.to
            )
        self.network.send(envelope)

    def _deliver(self, envelope: Envelope) -> None:
        if isinstance(envelope.payload, ClientResponse):
            self.clients[envelope.to].receive(envelope.payload)
        else:
            self.servers[envelope.to].receive(envelope)

    def report_connection(self, server: Server, what: str, peer: str) -> None:
        """Report to a server's core that its connection to a peer broke, or the peer is down."""
        if server.live is not None:
            self.trace.add(f"{server.id} learns: {what} {peer}")
            server.post(getattr(server.live.core, what), peer)

    def crash(self, server: Server) -> None:
        """Kill a server; its peers may notice the broken connections."""
        server.crash()
        for peer in self.servers.values():
            cut = self.network.is_cut(server.id, peer.id)
            if peer is not server and not cut and self._rng.random() < self.plan.alarm:
                delay = self.network.delay * (0.5 + self._rng.random())
                self.scheduler.after(
                    delay, self.report_connection, peer, "connection_lost", server.id
                )

    # -- the run -------------------------------------------------------------------------

    def run(self) -> None:
        """Run with faults, recover, and check the history.

        :raises InvariantBroken: at the first rule that does not hold.
        """
        for server in self.servers.values():
            server.start()
        for client in self.clients.values():
            client.start()
        if self.plan.bootstrap and self.plan.complete_views:
            self._bootstrap_undisturbed()
        self.faults.start()
        if not self.scheduler.run_until(self.plan.seconds, self._max_steps):
            return  # cut short by the caller: no recovery to expect
        self.faults.stop()
        Recovery(self).run()
        self._check_history()

    def check_stale(self, operation: Operation) -> None:
        """Check that a stale read shows what was committed at some time.

        :raises InvariantBroken: if it shows something else.
        """
        self._check_revision(operation, operation.seen)

    def _check_revision(self, operation: Operation, value: int) -> None:
        revision = operation.revision
        if revision and value_written(self.invariants.committed[revision - 1].data) != value:
            raise InvariantBroken("a revision names the write of its value", str(operation))

    def _complete_history(self) -> None:
        """Look up the values of which clients know only the revision; check the others."""
        for operation in self.history.operations:
            if operation.revision < 0 or operation.kind is Kind.INSERT:
                continue
            if operation.seen == LOST:
                revision = operation.revision
                entry = self.invariants.committed[revision - 1] if revision else None
                operation.seen = 0 if entry is None else value_written(entry.data)
            elif operation.kind is Kind.READ:
                self._check_revision(operation, operation.seen)
            elif operation.kind in (Kind.WRITE, Kind.CAS):
                self._check_revision(operation, operation.value)

    def _upgrade_outsiders(self) -> None:
        """Upgrade servers that are refused, since they lack what the members have agreed on."""
        for server in self.servers.values():
            if server.live is None and server.version < self.newest:
                server.version = self.newest
                self.trace.add(f"{server.id} gets version {server.version}")
                if server.up:
                    self.crash(server)
                server.start()

    def _bootstrap_undisturbed(self) -> None:
        """Wait until all servers are members, over a network without loss and reordering."""
        network = self.network
        lossy = network.loss, network.reordering
        network.loss = network.reordering = 0.0
        within = _BOOTSTRAP_SECONDS + _BOOTSTRAP_SYNCS * self.sync_latencies.slowest
        deadline = self.scheduler.now + within
        upgrade_at = self.scheduler.now + within / 2
        while any(server.live is None for server in self.servers.values()):
            if self.scheduler.now > deadline:
                raise InvariantBroken("a cluster bootstraps", f"not within {within:.0f} s")
            if self.scheduler.now > upgrade_at:
                self._upgrade_outsiders()
                upgrade_at = inf
            self.scheduler.run_until(self.scheduler.now + 0.1)
        network.loss, network.reordering = lossy

    def _check_history(self) -> None:
        try:
            if self.replicas is not None:
                self.replicas.finish(self.history)
                clocks = [server.clock for server in self.servers.values()]
                self.replicas.under_test.check_timeline(self.replicas.timeline(clocks))
                check_calls(self.replicas, self.history, self.invariants.committed)
                return
            self._complete_history()
            check_revisions(self.history)
            key = check_history(self.history)
        except Undecided:
            self.undecided = True
            return
        if key is not None:
            operations = "\n".join(
                str(o)
                for o in self.history.operations
                if o.key == key and o.outcome is not Outcome.FAILED
            )
            raise InvariantBroken("linearizability", f"object {key}\n{operations}")

    def report(self) -> Report:
        """Return the results so far."""
        answered = [o for o in self.history.operations if o.call and o.outcome is Outcome.OK]
        return Report(
            seed=self.seed,
            digest=self.trace.digest,
            seconds=self.scheduler.now,
            steps=self.scheduler.steps,
            elections=len(self.invariants.leaderships),
            commits=len(self.invariants.committed),
            truncations=self.invariants.truncations,
            snapshots=self.invariants.state_agreement.placed,
            installed=self.invariants.installed,
            max_term=self.invariants.max_term,
            operations=len(self.history.operations),
            answered=self.history.count(Outcome.OK),
            unknown=self.history.count(Outcome.UNKNOWN),
            formed=int(bool(self.bootstrap.cluster_id)),
            removed=self.removals.count,
            returned=self.removals.voting_again,
            bounds=self.staleness.checked,
            agreements=0 if self.versions is None else self.versions.agreements,
            stops=0 if self.versions is None else self.versions.stops,
            undecided=self.undecided,
            faults=self.faults.injected,
            schedule=self.faults.schedule,
            calls=Counter(o.call.name for o in answered if o.call),
            refused=Counter(
                o.call.name for o in answered if o.call and isinstance(o.answer, BraftError)
            ),
            commands=[] if self.replicas is None else self.replicas.commands,
        )


def run_seed(
    seed: int,
    *,
    seconds: float | None = None,
    max_steps: int | None = None,
    core_factory: CoreFactory = raft_core,
    server_class: type[Server] = Server,
    disk_class: type[Disk] = Disk,
    reuses_ids: bool = False,
    edits: Edits = NO_EDITS,
    echo: bool = False,
    under_test: ServiceUnderTest | None = None,
) -> Report:
    """Run one seed to its end or to the first broken rule; never raise what a core raises."""
    world = World(
        seed,
        seconds=seconds,
        max_steps=max_steps,
        core_factory=core_factory,
        server_class=server_class,
        disk_class=disk_class,
        reuses_ids=reuses_ids,
        edits=edits,
        echo=echo,
        under_test=under_test,
    )
    invariant = detail = ""
    try:
        with nullcontext() if under_test is None else seeded_randomness(seed):
            world.run()
    except InvariantBroken as broken:
        invariant, detail = broken.invariant, broken.message
    except Exception as error:  # noqa: BLE001 - any error of the core under test is a finding
        invariant = f"the core raises no unexpected error ({type(error).__name__})"
        detail = traceback.format_exc()
    report = world.report()
    report.invariant, report.detail = invariant, detail
    if invariant:
        report.tail = world.trace.tail()
    return report
