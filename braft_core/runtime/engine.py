"""The loop side of a node: joins transport, membership, driver and forwarding together.

Implements what a transport calls (:class:`~braft_core.abc.TransportHandler`) and what forwarding
and serving need. Lives on the loop; methods marked *any thread* may be called from elsewhere.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from braft_core.abc import Identity, SnapshotSink
from braft_core.addresses import join_host_port
from braft_core.cluster.member_capabilities import MemberCapabilities
from braft_core.cluster.membership import ClusterMembership
from braft_core.errors import (
    BraftError,
    NoLeader,
    NotApplied,
    NotReady,
    Stopped,
)
from braft_core.identity import new_cluster_id
from braft_core.peer import PeerReply, PeerRequest
from braft_core.raft import (
    EMPTY_CONFIGURATION,
    Configuration,
    HardState,
    InstallSnapshot,
    Message,
    RaftConfig,
    RaftCore,
    Role,
    SnapshotMeta,
)
from braft_core.runtime import clock
from braft_core.runtime.admin import Admin
from braft_core.runtime.admission import CommandAdmission
from braft_core.runtime.answer_codec import encoded
from braft_core.runtime.applier import Applier
from braft_core.runtime.components import Components
from braft_core.runtime.conditions import StateCondition
from braft_core.runtime.core_events import EventPublisher
from braft_core.runtime.core_requests import barrier
from braft_core.runtime.digests import StateDigests
from braft_core.runtime.distribution import Distribution
from braft_core.runtime.driver import Driver
from braft_core.runtime.events import Events
from braft_core.runtime.forwarding import Forwarder
from braft_core.runtime.leave_empty_cluster import abandon_cluster, resume_abandoning
from braft_core.runtime.membership_adapter import MembershipAdapter
from braft_core.runtime.meta_keys import CLUSTER_ID
from braft_core.runtime.node_view import NodeView
from braft_core.runtime.peer_calls import PeerCallHandler
from braft_core.runtime.requests import Command, Query, Request, settle
from braft_core.runtime.sessions import Sessions
from braft_core.runtime.snapshots import SnapshotPolicy, Snapshotter
from braft_core.runtime.staleness import StalenessBound
from braft_core.runtime.status import LogThrottle
from braft_core.runtime.writer import Writer

if TYPE_CHECKING:
    from braft_core.abc import NodeAPI

__all__ = ["Engine"]

_log = logging.getLogger(__name__)
_SWEEP = 0.05
_DRAIN = 0.5
_HAND_OVER = 1.0
#: Seconds for the end of the discovery: what comes behind it needs time, too.
_FAREWELL = 3.0


class Engine:
    """Everything of one node that lives on the loop."""

    def __init__(
        self,
        components: Components,
        applier: Applier,
        events: Events,
        node: NodeAPI,
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        self.components = components
        self.applier = applier
        self.identity = Identity(components.server_id, components.address)
        self.condition = StateCondition()
        self.driver: Driver | None = None
        self._fatal = on_fatal
        self.writer: Writer | None = None
        self._early: list[Command | Query] = []
        self._early_lock = threading.Lock()
        self._stopped: Stopped | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._addresses: dict[str, str] = {}
        self._log_throttle = LogThrottle()
        self.view = NodeView(self)
        self._publisher = EventPublisher(self, events, node)
        self.distribution = Distribution(self, events)
        self.member_capabilities = MemberCapabilities()
        self._admission = CommandAdmission(
            components.server_id, components.machine, components.cluster, self.member_capabilities
        )
        self._campaign_enabled = True
        self._ports = MembershipAdapter(self)
        self.admin = Admin(self)
        settings = components.settings
        policy = SnapshotPolicy(
            settings.snapshot_entries, settings.snapshot_bytes, settings.snapshot_trailing
        )
        self.digests = StateDigests(self, self._ports)
        self.snapshotter = Snapshotter(self, policy, self._publisher.on_snapshot)
        self._forwarder = Forwarder(self)
        self.sessions = Sessions(self, components.serializer, components.settings.request_timeout)
        self._calls = PeerCallHandler(self, components.settings.max_value_bytes, components.machine)
        self.membership = ClusterMembership(
            self._ports,
            components.discovery,
            new_cluster_id,
            lambda: abandon_cluster(self, self._ports),
        )

    # -- life ------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen, take up a former life if there is one, and begin to look for the others."""
        self.sessions.start()
        resume_abandoning(self.components)
        stored = self.components.storage.get_meta(CLUSTER_ID)
        await self.components.transport.start(self)
        self._sweeper = asyncio.get_running_loop().create_task(self._sweep_early())
        if stored is not None:
            self.run_core(stored.decode())
        await self.membership.start()

    async def stop(self) -> None:
        """Hand over, finish what is under way, end every task and connection."""
        reason = Stopped("the node was stopped")
        try:
            if (driver := self.driver) is not None:
                await self.admin.retire(_HAND_OVER)
                deadline, deciding = clock.monotonic() + _DRAIN, (driver, self._forwarder)
                while any(d.has_undecided for d in deciding) and clock.monotonic() < deadline:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            if self._sweeper is not None:
                self._sweeper.cancel()
            await asyncio.wait_for(self.membership.stop(), _FAREWELL)
        finally:
            # Even if a discovery's end fails or lasts. Answers first: an await may be the last.
            self.sessions.stop(reason)
            with self._early_lock:
                self._stopped = reason
                early, self._early = self._early, []
            settle((request, reason) for request in early)
            if self.driver is not None:
                self.driver.halt(reason)
            await self._forwarder.stop(reason)
            await self.distribution.stop()
            await self.snapshotter.stop()
            await self.digests.stop()
            await self.components.transport.stop()

    def close(self, timeout: float) -> None:
        """Any thread, after :meth:`stop`: let the writer finish."""
        if self.writer is not None:
            self.writer.stop(timeout)

    def run_core(self, cluster_id: str) -> None:
        """Become an active member of ``cluster_id`` with the log that the store holds."""
        components, settings, stored = (
            self.components,
            self.components.settings,
            self.components.stored,
        )
        core = RaftCore(
            components.server_id,
            config=RaftConfig(
                heartbeat_interval=settings.heartbeat_interval,
                election_timeout=settings.election_timeout,
                election_jitter=settings.election_timeout / 2,
                lease_reads=settings.lease_reads,
                request_timeout=settings.election_timeout / 2,
                max_uncommitted_entries=settings.max_outstanding,
            ),
            random=random.SystemRandom().random,
            now=clock.monotonic(),
            hard_state=stored.hard_state or HardState(),
            entries=stored.entries,
            compacted_index=stored.compacted_index,
            compacted_term=stored.compacted_term,
            snapshot=components.snapshot,
        )
        if components.snapshot is not None:
            self._load(components.snapshot)
        driver = Driver(
            core,
            components.transport,
            self.applier,
            forward=self._forwarder.commands,
            read_remote=self._forwarder.reads,
            on_event=self._publisher.on_event,
            on_restore=self._restore,
            on_refused=self.snapshotter.discard,
            compact=self.snapshotter.name,
            on_named=self.snapshotter.named,
            on_fatal=self.give_up,
            explain=lambda: self.waiting() or self._admission.waiting,
            admit=self._admission.admit,
            staleness=StalenessBound(settings.election_timeout, settings.heartbeat_interval),
        )
        loop = asyncio.get_running_loop()
        name = f"braft-{components.ports.raft}-writer"
        self.writer = Writer(
            components.storage, loop, name, driver.on_durable, driver.on_disk_trouble
        )
        self.writer.start()
        self.use_configuration(core.configuration)
        self.identity.cluster_id = cluster_id
        self.digests.start()
        driver.start(self.writer)
        self.distribution.start()
        self.snapshotter.start(components.snapshot)
        with self._early_lock:
            self.driver = driver
            early, self._early = self._early, []
        for request in early:
            driver.submit(request)
        if self.applier.fault:
            self.update_campaign_enabled()

    def _restore(self, meta: SnapshotMeta) -> None:
        """A snapshot was received whole: the state machine takes it up in its turn."""
        self.snapshotter.last = meta
        self._load(meta)

    def _load(self, meta: SnapshotMeta) -> None:
        chunks = self.components.storage.snapshots.open(meta.id)
        self.applier.restore(meta.index, meta.term, chunks)

    def give_up(self, error: BaseException) -> None:
        """Take no part in the cluster any more: the driver, or another part, has failed."""
        self._fatal(error)
        if self.driver is not None:
            self.driver.halt(Stopped(f"the node stopped: {error}"))
        self.sessions.stop(Stopped(f"the node stopped: {error}"))
        self.condition.notify()

    # -- requests --------------------------------------------------------------------------------

    def submit(self, request: Command | Query) -> None:
        """*Any thread.* Take a request; before there is a cluster it waits for one."""
        driver = self.driver
        if driver is None:
            with self._early_lock:
                driver = self.driver
                if driver is None and self._stopped is None:
                    self._early.append(request)
                    return
        if driver is None:
            settle([(request, Stopped("the node was stopped"))])
            return
        driver.submit(request)

    async def _sweep_early(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP)
            self.sessions.sweep()
            self._log_not_ready()
            self._refuse(self._forwarder.sweep(clock.monotonic()))
            with self._early_lock:
                late = [r for r in self._early if r.remaining() <= 0]
                self._early = [r for r in self._early if r.remaining() > 0]
            self._refuse([*late, *self.applier.late(clock.monotonic())])

    def _refuse(self, late: Sequence[Request]) -> None:
        if late:  # to say why takes longer than to see that nobody asks
            answer = self.refusal()
            settle((request, answer) for request in late)

    def _log_not_ready(self) -> None:
        """Log why the node is not ready, each reason once; a removed member has said so itself."""
        why = self.view.ready()[1]
        if self._log_throttle.should_log(clock.monotonic(), why) and not self.membership.removed:
            _log.warning("not ready: %s", why, extra={"node": self.components.server_id})

    def refusal(self) -> NotApplied:
        """Why requests are not served at the moment."""
        if self.driver is None:
            return NotReady(f"not ready: {self.waiting()}")
        return NoLeader(f"not served in time: {self.waiting() or 'the leader did not answer'}")

    def leader_changed(self, leader: str) -> None:
        """Another leader is known ("" = none)."""
        if leader:
            self._forwarder.leader_changed(leader)
            # Once the turn is over: what this does may need the new leader's first entries.
            asyncio.get_running_loop().call_soon(self.membership.leader_changed)

    def set_campaign_enabled(self, enabled: bool) -> None:
        """Whether membership lets this node stand for election."""
        self._campaign_enabled = enabled
        self.update_campaign_enabled()

    def update_campaign_enabled(self) -> None:
        """Stand for election or not; do not lead while the state here is not the cluster's.

        A leader that cannot apply what is committed can neither answer nor serve reads, and one
        whose state has diverged must not.
        """
        driver = self.driver
        if driver is None:
            return
        fault = self.applier.fault

        def act() -> None:
            driver.core.set_campaign_enabled(self._campaign_enabled and not fault)
            if fault and driver.core.role is Role.LEADER:
                driver.core.step_down(fault)

        driver.call(act)
        self.condition.notify()

    def detach(self) -> list[Command | Query]:
        """Be in no cluster any more; returns the requests that went nowhere yet."""
        driver = self.running()
        with self._early_lock:
            self.driver = None
        self.identity.cluster_id = ""
        self.use_configuration(EMPTY_CONFIGURATION)
        return driver.release()

    async def barrier(self, timeout: float) -> None:
        """Append a barrier and wait until it is applied here."""
        await barrier(self.running(), timeout)

    def running(self) -> Driver:
        """The driver. :raises NotReady: there is no cluster yet."""
        if self.driver is None:
            raise NotReady(f"not ready: {self.waiting()}")
        return self.driver

    # -- what the transport calls ----------------------------------------------------------------

    def on_message(self, message: Message) -> None:
        """A Raft message arrived."""
        if self.driver is not None:
            self.driver.on_message(message)
        else:  # it was on its way when this node left its cluster
            self.components.transport.refuse(message, NotReady("this node is in no cluster"))

    def on_connection_lost(self, server_id: str) -> None:
        """A connection broke."""
        driver = self.driver
        if driver is not None:
            driver.call(lambda: driver.core.connection_lost(server_id))

    def on_unreachable(self, server_id: str) -> None:
        """Requests were dropped."""
        driver = self.driver
        if driver is not None:
            driver.call(lambda: driver.core.unreachable(server_id))

    async def on_call(self, request: PeerRequest) -> PeerReply:
        """A call of another node."""
        if self._calls.handles(request):
            return await self._calls.answer(request)
        return await self.membership.on_call(request)

    def wants_snapshot(self, message: InstallSnapshot) -> bool:
        """Whether the contents of an offered snapshot are to be received."""
        return self.snapshotter.wants(message)

    def create_snapshot(self, meta: SnapshotMeta) -> SnapshotSink:
        """Where a received snapshot goes."""
        return self.snapshotter.receive(meta)

    def open_snapshot(self, snapshot_id: str) -> Iterator[bytes]:
        """The contents of one of ours."""
        return self.components.storage.snapshots.open(snapshot_id)

    async def on_apply_log(self, data: bytes) -> bytes:
        """The original's ApplyLog."""
        try:
            answer = await self._calls.propose(data, self.components.settings.request_timeout)
        except BraftError as error:
            answer = error
        return await encoded(answer)

    async def on_details(self) -> dict[str, Any]:
        """The original's GetDetails."""
        return self.view.details()

    # -- what forwarding needs -------------------------------------------------------------------

    @property
    def cluster_id(self) -> str:
        """The cluster this node is a member of, or ""."""
        return self.identity.cluster_id

    def address_of(self, server_id: str) -> str:
        """Where that server is, or ""."""
        if server_id == self.components.server_id:
            return self.components.address
        return self._addresses.get(server_id, "")

    async def call(self, address: str, request: PeerRequest, timeout: float) -> PeerReply:
        """Call another node."""
        return await self.components.transport.call(address, request, timeout)

    def resubmit(self, requests: Sequence[Command | Query]) -> None:
        """Requests that were surely not applied go back to the queue."""
        driver = self.running()
        for request in requests:
            driver.submit(request)

    def serve(self, index: int, queries: list[Query]) -> None:
        """Reads confirmed by the leader."""
        self.running().serve(index, queries)

    # -- membership and addresses ----------------------------------------------------------------

    def move(self, ip: str) -> None:
        """Advertise another address of this host from now on, and connect anew from there."""
        components, before = self.components, self.components.address
        components.ip, components.address = ip, join_host_port(ip, components.ports.raft)
        self.identity.address = components.address
        _log.info("this node is at %s now, no longer at %s", components.address, before)
        components.transport.reconnect()
        self.membership.move(ip)

    def set_address(self, server_id: str, address: str) -> None:
        """That server is there now."""
        if server_id != self.components.server_id and self._addresses.get(server_id) != address:
            self._addresses[server_id] = address
            self.components.transport.set_peer(server_id, address)

    def use_configuration(self, configuration: Configuration) -> None:
        """Connect to the members of a configuration, and to nobody else.

        Only the address of a server that was not known before is taken from it: what servers say
        of themselves is newer (:mod:`braft_core.cluster.address_book`).
        """
        for server in configuration.servers:
            if server.id not in self._addresses:
                self.set_address(server.id, server.address)
        for server_id in [known for known in self._addresses if known not in configuration.ids]:
            del self._addresses[server_id]
            self.components.transport.remove_peer(server_id)
        self.membership.use_configuration(configuration)

    async def change(self, kind: str, server_id: str, address: str, timeout: float) -> None:
        """Change the membership here, as the leader, because somebody asks for it."""
        await self.admin.by_hand(kind, server_id, address, timeout)

    async def transfer(self, to: str, timeout: float) -> str:
        """Transfer leadership here, as the leader."""
        return await self.admin.transfer(to, timeout)

    # -- status (any thread) ---------------------------------------------------------------------

    @property
    def configuration(self) -> Configuration:
        """The configuration in use."""
        driver = self.driver
        return driver.core.configuration if driver is not None else EMPTY_CONFIGURATION

    @property
    def is_leader(self) -> bool:
        """Whether this node believes to lead."""
        driver = self.driver
        return driver is not None and driver.core.role is Role.LEADER

    @property
    def leader(self) -> tuple[str, str]:
        """Id and address of the known leader, or two empty strings."""
        driver = self.driver
        leader = driver.core.leader if driver is not None else ""
        return leader, self.address_of(leader) if leader else ""

    def waiting(self) -> str:
        """Why there is no cluster or no leader; "" if nothing is waited for."""
        why, stop = self.membership.waiting, self.applier.stopped
        if not why:
            return ""
        slow = self.writer.slow(clock.monotonic()) if self.writer is not None else ""
        denied = self.components.transport.notes.get("token", "")
        reasons = (why, stop.message if stop is not None else "", slow, denied)
        return "; ".join(reason for reason in reasons if reason)
