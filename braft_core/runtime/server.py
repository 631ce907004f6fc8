"""The server: the part of a node that is always there, in a cluster or not.

It wires the parts of the loop together, holds the requests that wait for a cluster, and makes the
:class:`~braft_core.runtime.replica.Replica` when the node becomes a member. Lives on the loop;
methods marked *any thread* may be called from elsewhere.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from math import inf
from typing import TYPE_CHECKING

from braft_core.abc import Identity
from braft_core.cluster.member_capabilities import MemberCapabilities
from braft_core.cluster.membership import ClusterMembership
from braft_core.compat.go_braft.server_id import short_id
from braft_core.errors import NoLeader, NotApplied, NotReady, Stopped
from braft_core.identity import new_cluster_id
from braft_core.raft import EMPTY_CONFIGURATION, Configuration
from braft_core.runtime import clock
from braft_core.runtime.admin import Admin
from braft_core.runtime.admission import CommandAdmission
from braft_core.runtime.applier import Applier
from braft_core.runtime.components import Components
from braft_core.runtime.conditions import StateCondition
from braft_core.runtime.core_events import EventPublisher
from braft_core.runtime.core_requests import barrier
from braft_core.runtime.digests import StateDigests
from braft_core.runtime.distribution import Distribution
from braft_core.runtime.events import Events
from braft_core.runtime.forwarding import Forwarder
from braft_core.runtime.leadership import LeadershipTerms
from braft_core.runtime.lease_keeper import LeaseKeeper
from braft_core.runtime.leave_empty_cluster import abandon_cluster, resume_abandoning
from braft_core.runtime.lessor import Lessor
from braft_core.runtime.membership_adapter import MembershipAdapter
from braft_core.runtime.meta_keys import CLUSTER_ID
from braft_core.runtime.node_view import NodeView
from braft_core.runtime.parked import ParkedRequests
from braft_core.runtime.peer_addresses import PeerAddresses
from braft_core.runtime.peer_calls import PeerCallHandler
from braft_core.runtime.replica import Replica
from braft_core.runtime.requests import Command, Query, Request, settle
from braft_core.runtime.retry_queue import RetryQueue
from braft_core.runtime.sessions import Sessions
from braft_core.runtime.status import LogThrottle
from braft_core.runtime.store_upkeep import StoreUpkeep
from braft_core.runtime.transport_handler import NodeTransportHandler
from braft_core.runtime.watch_hub import WatchHub

if TYPE_CHECKING:
    from braft_core.abc import NodeAPI

__all__ = ["Server"]

_log = logging.getLogger(__name__)


class Server:
    """Everything of one node that lives on the loop, member of a cluster or not."""

    def __init__(
        self,
        components: Components,
        applier: Applier,
        events: Events,
        node: NodeAPI,
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        settings, timing = components.settings, components.timing
        self._timing = timing
        self.components = components
        self.applier = applier
        self._identify("")
        self.condition = StateCondition()
        #: The member part; ``None`` while the node is in no cluster.
        self.replica: Replica | None = None
        #: The latest one, even after the node has left its cluster.
        self._latest: Replica | None = None
        self._fatal = on_fatal
        self._parked = ParkedRequests()
        self.retries = RetryQueue(self.submit, timing.request_retry)
        self._sweeper: asyncio.Task[None] | None = None
        self._log_throttle = LogThrottle(timing.not_ready_patience)
        self._ready_logged = False
        self._campaign_enabled = True
        self.addresses = PeerAddresses(self, components.transport)
        self.member_capabilities = MemberCapabilities()
        self._admission = CommandAdmission(
            components.server_id, components.machine, components.cluster, self.member_capabilities
        )
        self.leadership = self._leadership_terms()
        self._publisher = EventPublisher(self, events, node)
        self._forwarder = Forwarder(self, components.transport.call, timing)
        self.distribution = Distribution(self, events)
        self._store_upkeep = StoreUpkeep(self)
        self._lessor = Lessor(self)
        self.lease_keeper = LeaseKeeper(self, events)
        self.watchers = WatchHub(
            applier,
            components.services,
            f"braft-{components.ports.raft}-changes",
            components.platform,
        )
        self.sessions = Sessions(
            self, components.serializer, settings.request_timeout, components.platform.random_bytes
        )
        self.admin = Admin(self)
        self.adapter = MembershipAdapter(self)
        self.digests = StateDigests(self, self.adapter)
        self.membership = ClusterMembership(
            self.adapter,
            components.discovery,
            lambda: new_cluster_id(components.platform.random_bytes, clock.wall_ns() // 10**9),
            lambda: abandon_cluster(self, self.adapter),
        )
        self.view = NodeView(self)
        calls = PeerCallHandler(self, settings.max_value_bytes, components.machine)
        self.handler = NodeTransportHandler(self, components, calls, self.membership, self.view)

    def _identify(self, cluster_id: str) -> None:
        """Set the identity: the only place that does. "": in no cluster."""
        components = self.components
        self.identity = Identity(components.server_id, components.advertised.address, cluster_id)

    def _leadership_terms(self) -> LeadershipTerms:
        settings = self.components.settings
        return LeadershipTerms(
            self.condition,
            settings.election_timeout,
            settings.heartbeat_interval,
            lambda: -inf if self._latest is None else self._latest.driver.checked_at,
        )

    # -- life ------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start listening, resume a stored cluster membership, start discovery."""
        self.retries.start()
        self.sessions.start()
        self.lease_keeper.start()
        resume_abandoning(self.components)
        stored = self.components.storage.get_meta(CLUSTER_ID)
        await self.components.transport.start(self.handler)
        self._sweeper = asyncio.get_running_loop().create_task(self._sweep())
        if stored is not None:
            self.start_replica(stored.decode())
        await self.membership.start()

    async def stop(self) -> None:
        """Hand over, finish what is under way, end every task and connection."""
        reason = Stopped("the node was stopped")
        try:
            # First: their holders must not go on while the node leaves.
            await self.lease_keeper.stop()
            self.leadership.stop()
            self.watchers.stop(reason)
            if (replica := self.replica) is not None:
                await self.admin.retire(self._timing.hand_over)
                deadline = clock.monotonic() + self._timing.drain
                deciding = (replica.driver, self._forwarder)
                while any(d.has_undecided for d in deciding) and clock.monotonic() < deadline:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            if self._sweeper is not None:
                self._sweeper.cancel()
            await asyncio.wait_for(self.membership.stop(), self._timing.discovery_stop)
        finally:
            # Also when `discovery.stop()` fails or hangs. Settle requests first: the loop may be
            # stopped at any await.
            self.sessions.stop(reason)
            self.retries.stop(reason)
            self._parked.stop(reason)
            if (latest := self._latest) is not None:
                latest.halt(reason)
            await self._forwarder.stop(reason)
            await self.distribution.stop()
            await self._store_upkeep.stop()
            await self._lessor.stop()
            if latest is not None:
                await latest.stop()
            await self.digests.stop()
            await self.components.transport.stop()

    def close(self, timeout: float) -> None:
        """*Any thread*, after :meth:`stop`: let the writer finish."""
        self.watchers.close_thread(timeout)
        if self._latest is not None:
            self._latest.close(timeout)

    def start_replica(self, cluster_id: str) -> None:
        """Become an active member of ``cluster_id`` with the log that the store holds."""
        replica = Replica(
            self.components,
            self.applier,
            forwarder=self._forwarder,
            retries=self.retries,
            publisher=self._publisher,
            admission=self._admission,
            explain=self.waiting,
            on_fatal=self.give_up,
        )
        self.use_configuration(replica.core.configuration)
        self._identify(cluster_id)
        self.digests.start()
        self._latest = replica
        replica.start()
        self.distribution.start()
        self._store_upkeep.start()
        self._lessor.start()
        self.replica = replica
        self._parked.open(replica.driver.submit)
        if self.applier.fault:
            self.update_campaign_enabled()

    def detach(self) -> list[Command | Query]:
        """Leave the cluster; return requests not proposed yet."""
        replica = self.running()
        self.leadership.end()
        self._parked.close()
        self.replica = None
        self._identify("")
        self.use_configuration(EMPTY_CONFIGURATION)
        return replica.driver.release()

    def give_up(self, error: BaseException) -> None:
        """Take no part in the cluster any more, because a part of the node has failed."""
        reason = Stopped(f"the node stopped: {error}")
        self._fatal(error)
        if self.replica is not None:
            self.replica.driver.halt(reason)
        self.leadership.stop()
        self.watchers.stop(reason)
        self.sessions.stop(reason)
        self.retries.stop(reason)
        self.condition.notify()

    def running(self) -> Replica:
        """Return the member part. :raises NotReady: there is no cluster yet."""
        if self.replica is None:
            raise NotReady(f"not ready: {self.waiting()}")
        return self.replica

    # -- requests --------------------------------------------------------------------------------

    def submit(self, request: Command | Query) -> None:
        """*Any thread.* Take a request; before there is a cluster it waits for one."""
        replica = self.replica
        if replica is not None:
            replica.driver.submit(request)
        else:
            self._parked.submit(request)

    def serve(self, index: int, queries: list[Query]) -> None:
        """Serve reads that the leader has confirmed."""
        self.running().driver.serve(index, queries)

    async def barrier(self, timeout: float) -> None:
        """Append a barrier and wait until it is applied here."""
        await barrier(self.running().driver, timeout)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self._timing.deadline_sweep)
            self.sessions.sweep()
            self._log_readiness()
            now = clock.monotonic()
            self._refuse([*self._forwarder.sweep(now), *self.retries.expire(now)])
            self._refuse([*self._parked.expire(), *self.applier.late(now)])

    def _refuse(self, late: Sequence[Request]) -> None:
        if late:  # building the reason is expensive; skip it when nothing expired
            answer = self.refusal()
            settle((request, answer) for request in late)

    def _log_readiness(self) -> None:
        """Log that the node is ready, and later why it is not, each reason once.

        The removal of this node has a log line of its own.
        """
        ready, why = self.view.ready()
        extra = {"node": self.components.server_id}
        if ready and not self._ready_logged:
            self._ready_logged = True
            name, address = short_id(self.identity.server_id), self.identity.address
            _log.info("ready: server %s at %s serves requests", name, address, extra=extra)
        if self._log_throttle.should_log(clock.monotonic(), why) and not self.membership.removed:
            self._ready_logged = False
            _log.warning("not ready: %s", why, extra=extra)

    def refusal(self) -> NotApplied:
        """Return why requests are not served at the moment."""
        if self.replica is None:
            return NotReady(f"not ready: {self.waiting()}")
        return NoLeader(f"not served in time: {self.waiting() or 'the leader did not answer'}")

    # -- changes of the cluster ------------------------------------------------------------------

    def leader_changed(self, leader: str) -> None:
        """Handle the election of another leader ("": none is known)."""
        if leader:
            self._forwarder.leader_changed(leader)
            # After this turn: membership may need the new leader's first entries.
            asyncio.get_running_loop().call_soon(self.membership.leader_changed)

    def use_configuration(self, configuration: Configuration) -> None:
        """Connect to the members of a configuration, and to nobody else."""
        self.addresses.use_configuration(configuration)
        self.membership.use_configuration(configuration)

    def set_campaign_enabled(self, enabled: bool) -> None:
        """Allow or forbid campaigns, as membership decides."""
        self._campaign_enabled = enabled
        self.update_campaign_enabled()

    def update_campaign_enabled(self) -> None:
        """Campaign only if membership allows it and the state here is that of the cluster."""
        if self.replica is not None:
            self.replica.set_campaign_enabled(self._campaign_enabled, self.applier.fault)
            self.condition.notify()
        self.watchers.check_fault()

    def move(self, ip: str) -> None:
        """Advertise another address of this host from now on, and reconnect from there."""
        before, now = self.identity.address, self.components.advertised.move(ip)
        self._identify(self.identity.cluster_id)
        _log.info("this node is at %s now, no longer at %s", now, before)
        self.components.transport.reconnect()
        self.membership.move(ip)

    # -- status (any thread) ---------------------------------------------------------------------

    @property
    def configuration(self) -> Configuration:
        """The configuration in use."""
        replica = self.replica
        return replica.core.configuration if replica is not None else EMPTY_CONFIGURATION

    @property
    def is_leader(self) -> bool:
        """Whether this node believes that it leads."""
        replica = self.replica
        return replica is not None and replica.is_leader

    @property
    def leader(self) -> tuple[str, str]:
        """Id and address of the known leader, or two empty strings."""
        replica = self.replica
        leader = replica.core.leader if replica is not None else ""
        return leader, self.addresses.of(leader) if leader else ""

    def waiting(self) -> str:
        """Return why there is no cluster or no leader; "" if nothing is waited for."""
        why, stop, replica = self.membership.waiting, self.applier.stopped, self.replica
        if not why:
            return ""
        slow = replica.writer.slow(clock.monotonic()) if replica is not None else ""
        denied = self.components.transport.notes.get("token", "")
        reasons = (why, stop.message if stop is not None else "", slow, denied)
        return "; ".join(reason for reason in reasons if reason)
