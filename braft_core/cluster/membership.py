"""The membership of a node: the one object of this package that the host starts, calls and stops.

Owns the phases of a node (uninitialised, then member) and the discovery watch. Pure modules decide;
:class:`.bootstrap_io.BootstrapRunner` and :class:`.member.Member` do the I/O. Use on the node's
loop only.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from braft_core.abc import Contact, Discovery
from braft_core.cluster.background_tasks import BackgroundTasks
from braft_core.cluster.bootstrap import Bootstrap
from braft_core.cluster.bootstrap_facts import BootstrapFacts
from braft_core.cluster.bootstrap_io import BootstrapRunner
from braft_core.cluster.bootstrap_record import (
    EMPTY_RECORD,
    BootstrapRecord,
    decode_record,
    encode_record,
)
from braft_core.cluster.interface import MembershipHost, RaftView
from braft_core.cluster.joining import lacks_capabilities
from braft_core.cluster.member import Member
from braft_core.cluster.member_rules import ForeignCluster, was_removed
from braft_core.cluster.probes import Prober
from braft_core.errors import BraftError, NotReady, StorageError
from braft_core.peer import (
    AnnounceRequest,
    BootstrapProposal,
    JoinRequest,
    PeerReply,
    PeerRequest,
    ProbeReply,
    ProbeRequest,
)
from braft_core.raft.types import Configuration

__all__ = ["ClusterMembership"]

_log = logging.getLogger(__name__)


class ClusterMembership:
    """Discovers peers, bootstraps or joins a cluster, then runs the member loop.

    :param host: the host.
    :param discovery: finds other nodes; ``None`` for a node that stays alone or is contacted first.
    :param new_cluster_id: makes a globally unique cluster id.
    :param abandon: stops Raft and durably forgets the log and the cluster, but not the server id;
        ``identity.cluster_id`` becomes "". It checks again that nothing was ever written and that
        this node is the only member, and raises ``BraftError`` otherwise. ``None``: a cluster is
        never abandoned.
    """

    def __init__(
        self,
        host: MembershipHost,
        discovery: Discovery | None,
        new_cluster_id: Callable[[], str],
        abandon: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._host = host
        self._discovery = discovery
        self._new_cluster_id = new_cluster_id
        self._abandon_cluster = abandon
        self._tasks = BackgroundTasks()
        settings = host.settings
        self._timing = settings.timing
        self._prober = Prober(
            host.call, self._probe_request, host.now, settings.probe_timeout, settings.timing
        )
        self._runner: BootstrapRunner | None = None
        self._member: Member | None = None
        self._abandoning = False

    # -- start and stop ----------------------------------------------------------------------

    async def start(self) -> None:
        """Start. The transport must listen already, since calls may arrive from now on.

        A node with a stored cluster has ``identity.cluster_id`` set and Raft running: it only
        announces itself. Any other node joins or bootstraps a cluster.

        :raises DecodeError: if the bootstrap record is damaged; the node must stop.
        """
        data = await self._host.load_bootstrap_record()
        record = EMPTY_RECORD if data is None else decode_record(data)
        bootstrap = Bootstrap(self._facts(), record, self._new_cluster_id)
        self._runner = BootstrapRunner(
            self._host, bootstrap, self._prober, self._discovery, self._tasks, self._become_member
        )
        if self._discovery is not None:
            await self._discovery.start()
            self._tasks.spawn(self._watch(self._discovery, self._runner), "watch")
        now = self._host.now()
        if self._host.identity.cluster_id:
            bootstrap.became_member(now, self._host.identity.cluster_id)
            self._become_member()
            self._runner.search()
        else:
            self._runner.apply(bootstrap.start(now))
        self._tasks.spawn(self._run_ticks(), "ticks")

    async def stop(self) -> None:
        """Stop all tasks and the discovery. Idempotent."""
        await self._tasks.cancel()
        if self._discovery is not None and self._runner is not None:
            await self._discovery.stop()
        self._runner = None

    def move(self, ip: str) -> None:
        """Use and announce the changed ``identity.address``, which is on the interface ``ip``.

        The members receive announcements until the configuration has the address.
        """
        if self._runner is None:
            return
        self._runner.bootstrap.move(self._host.identity.address)
        if self._member is not None:
            self._member.move()
        if self._discovery is not None:
            self._tasks.spawn(self._move_discovery(self._discovery, ip), "move")

    async def _move_discovery(self, discovery: Discovery, ip: str) -> None:
        try:
            await discovery.move(ip)
        # A plugin may raise anything; the announcements to the members do not depend on it.
        except Exception as error:  # noqa: BLE001 - see above
            _log.warning("%s cannot announce the address %s: %r", discovery.describe(), ip, error)

    def _facts(self) -> BootstrapFacts:
        settings, identity = self._host.settings, self._host.identity
        return BootstrapFacts(
            server_id=identity.server_id,
            address=identity.address,
            cluster_name=settings.cluster_name,
            expect=settings.expect,
            listed=settings.expect_is_listed,
            unclear=settings.expect_is_unclear,
            has_discovery=self._discovery is not None,
            margin=settings.margin,
            listen=settings.listen,
            sleep=settings.sleep,
            salt=settings.salt,
            timing=settings.timing,
        )

    def _become_member(self) -> None:
        """Start the member loop."""
        runner = self._require_runner()
        self._member = Member(
            self._host,
            self._prober,
            self._tasks,
            lambda: runner.bootstrap.view.contacts,
            runner.search,
            self._begin_to_abandon,
            lambda answered, silent: runner.bootstrap.view.rotate(
                self._host.now(), answered, silent
            ),
        )

    def _begin_to_abandon(self, into: str) -> None:
        if self._abandon_cluster is not None and not self._abandoning:
            self._abandoning = True
            self._tasks.spawn(self._abandon(self._abandon_cluster, into), "abandon")

    async def _abandon(self, abandon: Callable[[], Awaitable[None]], into: str) -> None:
        """Become uninitialised again, so that this node joins the other cluster.

        After a crash behind ``abandon`` the node bootstraps the same empty cluster once more and
        abandons it again.
        """
        runner = self._require_runner()
        old = self._host.identity.cluster_id
        try:
            await abandon()
            rejected = (*runner.bootstrap.record.rejected, old)
            record = BootstrapRecord(None, rejected)
            await self._store_until_durable(record)
        finally:
            self._abandoning = False
        _log.warning("left cluster %s, which was never written to, to join %s", old, into)
        contacts = runner.bootstrap.view.contacts
        runner.bootstrap = Bootstrap(self._facts(), record, self._new_cluster_id)
        self._member = None
        runner.apply(runner.bootstrap.start(self._host.now()))
        runner.listed(contacts)

    async def _store_until_durable(self, record: BootstrapRecord) -> None:
        """Retry until stored: after leaving the old cluster there is no way back."""
        while True:
            try:
                return await self._host.store_bootstrap_record(encode_record(record))
            except StorageError as error:
                _log.warning("cannot store the bootstrap record: %s", error.message)
                await asyncio.sleep(self._timing.retry_interval)

    # -- views -------------------------------------------------------------------------------

    @property
    def waiting(self) -> str:
        """Why the node cannot serve: no cluster yet or no leader; "" if it can."""
        if self._runner is None:
            return "the node is not running"
        now = self._host.now()
        if self._member is not None:
            return self._member.waiting(now)
        return self._runner.bootstrap.waiting(now)

    @property
    def removed(self) -> str:
        """The message that this node was removed from its cluster, else "".

        Any thread may read it.
        """
        member = self._member
        return member.removed if member is not None else ""

    @property
    def autopilot(self) -> dict[str, Any]:
        """The last decision about dead members, with its reason; empty without a cluster.

        Any thread may read it.
        """
        member = self._member
        return member.cleanup.report if member is not None else {}

    @property
    def contacts(self) -> list[Contact]:
        """The contacts that discovery listed last."""
        return list(self._runner.bootstrap.view.contacts) if self._runner else []

    @property
    def foreign(self) -> list[ForeignCluster]:
        """Nodes of our cluster name in another cluster, as of the last round of probes."""
        return list(self._member.foreign) if self._member else []

    def use_configuration(self, configuration: Configuration) -> None:
        """Process a new configuration of Raft."""
        if self._member is not None:
            self._member.book.configure(configuration)

    def may_rejoin(self, server_id: str) -> bool:
        """Return whether a server was removed as dead, and not by an operator since."""
        return self._require_member().cleanup.may_rejoin(server_id)

    async def check_newcomer(self, server_id: str, address: str) -> None:
        """Check the capabilities of a server that an operator adds.

        A server that does not answer passes, since it may start later.

        :raises Conflict: if it lacks agreed capabilities.
        """
        member, timeout = self._require_member(), self._host.settings.probe_timeout
        try:
            reply = await self._host.call(address, self._probe_request(), timeout)
        except BraftError:
            return
        if isinstance(reply, ProbeReply) and reply.server_id == server_id:
            lacking = member.negotiation.lacking(reply.capabilities)
            if lacking:
                raise lacks_capabilities(server_id, address, lacking)

    @property
    def notes(self) -> dict[str, str]:
        """Problems of a member that may serve: messages by subject."""
        return self._member.notes if self._member else {}

    def address_of(self, server_id: str) -> str:
        """Return the known address of that server, else ""."""
        return self._member.book.get(server_id) if self._member else ""

    def leader_changed(self) -> None:
        """Tick at once after a change of the leader."""
        if self._member is not None:
            self._member.tick(self._host.now())

    # -- calls from other nodes --------------------------------------------------------------

    async def on_call(self, request: PeerRequest) -> PeerReply:
        """Answer a probe, bootstrap proposal, join request or announcement.

        :raises BraftError: the refusal, which is returned to the caller.
        """
        runner = self._require_runner()
        match request:
            case ProbeRequest():
                return self._on_probe(request)
            case BootstrapProposal():
                return await runner.answer(request)
            case JoinRequest():
                return await self._require_member().on_join(request)
            case AnnounceRequest():
                return await self._require_member().on_announce(request)
        raise BraftError(f"{type(request).__name__} is not a membership request")

    def _require_runner(self) -> BootstrapRunner:
        if self._runner is None:
            raise NotReady("the node is not running")
        return self._runner

    def _require_member(self) -> Member:
        if self._member is None:
            raise NotReady(self.waiting)
        return self._member

    def _probe_request(self) -> ProbeRequest:
        identity = self._host.identity
        name = self._host.settings.cluster_name
        return ProbeRequest(identity.server_id, name, identity.cluster_id, identity.address)

    def _on_probe(self, request: ProbeRequest) -> ProbeReply:
        identity, settings = self._host.identity, self._host.settings
        bootstrap = self._require_runner().bootstrap
        bootstrap.view.note_incoming_probe(request.address)
        view = self._host.raft_view() if self._member else RaftView()
        known = self.address_of(view.leader_id) or view.leader_address
        # Only members of our cluster receive the digests.
        ours = self._member is not None and request.cluster_id == identity.cluster_id
        removed = was_removed(view, request, identity.cluster_id)
        return ProbeReply(
            server_id=identity.server_id,
            cluster_name=settings.cluster_name,
            cluster_id=bootstrap.cluster_id,
            expect=bootstrap.expect,
            initialised=bootstrap.initialised,
            leader_id=view.leader_id,
            leader_address=known if view.leader_id else "",
            address=identity.address,
            voters=len(view.configuration.voters),
            empty=view.empty,
            removed=removed,
            rejoin_allowed=removed and self.may_rejoin(request.server_id),
            capabilities=self._host.capabilities.encode(),
            digests=self._host.state_comparison.encoded_own if ours else b"",
        )

    # -- background --------------------------------------------------------------------------

    async def _run_ticks(self) -> None:
        timing = self._timing
        while True:
            try:
                self._tick(self._host.now())
            except BraftError:
                _log.exception("membership tick failed")
            await asyncio.sleep(timing.member_tick if self._member else timing.bootstrap_tick)

    def _tick(self, now: float) -> None:
        if self._member is not None:
            self._member.tick(now)
        else:
            runner = self._require_runner()
            runner.apply(runner.bootstrap.tick(now))

    async def _watch(self, discovery: Discovery, runner: BootstrapRunner) -> None:
        """Follow the discovery's watch; if it breaks, start it again after a pause."""
        timing = self._timing
        delay = timing.watch_retry_min
        while True:
            try:
                async for contacts in discovery.watch():
                    runner.listed(contacts)
                    delay = timing.watch_retry_min
            # A plugin may raise anything. Any error means "unknown", never "no contacts".
            except Exception as error:  # noqa: BLE001 - see above
                runner.listing_failed(error)
            await asyncio.sleep(delay)
            delay = min(timing.watch_retry_max, delay * 2)
