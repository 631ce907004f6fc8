"""The membership service of a node: one object the runtime starts, asks and stops.

Owns the order of a node's life (blank, founder or newcomer, member) and the discovery watch. The
decisions are made in pure modules, the I/O is done by the runner and the member. Everything runs
on the node's loop.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

from braft_core.abc import Contact, Discovery
from braft_core.cluster.background_tasks import BackgroundTasks
from braft_core.cluster.bootstrap import RETRY_INTERVAL, Bootstrap
from braft_core.cluster.bootstrap_io import BootstrapRunner
from braft_core.cluster.bootstrap_record import (
    EMPTY_RECORD,
    BootstrapRecord,
    decode_record,
    encode_record,
)
from braft_core.cluster.discovery_view import BootstrapFacts
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

#: Seconds between ticks while there is no cluster yet, and as a member.
FORMING_TICK = 0.05
MEMBER_TICK = 0.2
#: Seconds before a broken discovery watch is begun anew: doubled from the first to the second.
WATCH_RETRY_MIN = 1.0
WATCH_RETRY_MAX = 15.0


class ClusterMembership:
    """Finds the others, founds or joins a cluster, and looks after the configuration's edges.

    :param ports: the runtime's side.
    :param discovery: where to look for other nodes; ``None`` for a node that stays alone or is
        found by others.
    :param new_cluster_id: makes a fresh cluster id, unique in the world.
    :param dissolve: stops Raft, forgets the log and the cluster (``identity.cluster_id`` becomes
        ""), durably, keeping the node id. It checks once more that nothing was ever written and
        that this node is the only member, accepts nothing from then on, and raises ``BraftError``
        if the check fails. ``None``: clusters never dissolve.
    """

    def __init__(
        self,
        ports: MembershipHost,
        discovery: Discovery | None,
        new_cluster_id: Callable[[], str],
        dissolve: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._ports = ports
        self._discovery = discovery
        self._new_cluster_id = new_cluster_id
        self._forget_cluster = dissolve
        self._tasks = BackgroundTasks()
        self._salt = secrets.token_hex(16)
        settings = ports.settings
        self._prober = Prober(ports.call, self._probe_request, ports.now, settings.probe_timeout)
        self._runner: BootstrapRunner | None = None
        self._member: Member | None = None
        self._dissolving = False

    # -- life --------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin. Calls may arrive from now on, so the transport must listen by then.

        A node with stored cluster state has ``identity.cluster_id`` set and Raft running: it only
        announces itself. Any other node looks for a cluster to join or to found.

        :raises DecodeError: the founding record is damaged; the node must not go on.
        """
        data = await self._ports.load_bootstrap_record()
        record = EMPTY_RECORD if data is None else decode_record(data)
        bootstrap = Bootstrap(self._facts(), record, self._new_cluster_id)
        self._runner = BootstrapRunner(
            self._ports, bootstrap, self._prober, self._discovery, self._tasks, self._settle
        )
        if self._discovery is not None:
            await self._discovery.start()
            self._tasks.spawn(self._watch(self._discovery, self._runner), "watch")
        now = self._ports.now()
        if self._ports.identity.cluster_id:
            bootstrap.became_member(now, self._ports.identity.cluster_id)
            self._settle()
            self._runner.search()
        else:
            self._runner.apply(bootstrap.start(now))
        self._tasks.spawn(self._clock(), "clock")

    async def stop(self) -> None:
        """End all tasks and the discovery. Idempotent."""
        await self._tasks.cancel()
        if self._discovery is not None and self._runner is not None:
            await self._discovery.stop()
        self._runner = None

    def move(self, ip: str) -> None:
        """This node's address has changed to ``identity.address``, on the host's address ``ip``.

        Members hear of it by announcements until the configuration has it.
        """
        if self._runner is None:
            return
        self._runner.bootstrap.move(self._ports.identity.address)
        if self._member is not None:
            self._member.move()
        if self._discovery is not None:
            self._tasks.spawn(self._move_discovery(self._discovery, ip), "move")

    async def _move_discovery(self, discovery: Discovery, ip: str) -> None:
        try:
            await discovery.move(ip)
        # A plugin may raise anything; the members know the address all the same.
        except Exception as error:  # noqa: BLE001 - see above
            _log.warning("%s cannot announce the address %s: %r", discovery.describe(), ip, error)

    def _facts(self) -> BootstrapFacts:
        settings, identity = self._ports.settings, self._ports.identity
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
            salt=self._salt,
        )

    def _settle(self) -> None:
        """The node is a member now."""
        runner = self._require_runner()
        self._member = Member(
            self._ports,
            self._prober,
            self._tasks,
            lambda: runner.bootstrap.view.contacts,
            runner.search,
            self._begin_to_dissolve,
            lambda answered, silent: runner.bootstrap.view.rest(
                self._ports.now(), answered, silent
            ),
        )

    def _begin_to_dissolve(self, into: str) -> None:
        if self._forget_cluster is not None and not self._dissolving:
            self._dissolving = True
            self._tasks.spawn(self._dissolve(self._forget_cluster, into), "dissolve")

    async def _dissolve(self, forget: Callable[[], Awaitable[None]], into: str) -> None:
        """Begin anew as a blank node, which will see the other cluster and join it.

        A crash after ``forget`` founds the same empty cluster once more, which dissolves again.
        """
        runner = self._require_runner()
        old = self._ports.identity.cluster_id
        try:
            await forget()
            rejected = (*runner.bootstrap.record.rejected, old)
            record = BootstrapRecord(None, rejected)
            await self._insist(record)
        finally:
            self._dissolving = False
        _log.warning("cluster %s, never written to, dissolves into %s", old, into)
        contacts = runner.bootstrap.view.contacts
        runner.bootstrap = Bootstrap(self._facts(), record, self._new_cluster_id)
        self._member = None
        runner.apply(runner.bootstrap.start(self._ports.now()))
        runner.listed(contacts)

    async def _insist(self, record: BootstrapRecord) -> None:
        """Store it, however long the disk takes: a cluster forgotten is none to go back to."""
        while True:
            try:
                return await self._ports.store_bootstrap_record(encode_record(record))
            except StorageError as error:
                _log.warning("cannot store the founding: %s", error.message)
                await asyncio.sleep(RETRY_INTERVAL)

    # -- views -------------------------------------------------------------------------------

    @property
    def waiting(self) -> str:
        """Why the node cannot serve: no cluster yet, or no leader; "" if neither."""
        if self._runner is None:
            return "the node is not running"
        now = self._ports.now()
        if self._member is not None:
            return self._member.waiting(now)
        return self._runner.bootstrap.waiting(now)

    @property
    def removed(self) -> str:
        """The sentence that says that this node was removed from its cluster, else "".

        May be read from any thread.
        """
        member = self._member
        return member.removed if member is not None else ""

    @property
    def autopilot(self) -> dict[str, Any]:
        """What is decided about dead members, and why; empty before there is a cluster.

        May be read from any thread.
        """
        member = self._member
        return member.cleanup.report if member is not None else {}

    @property
    def contacts(self) -> list[Contact]:
        """What discovery listed last."""
        return list(self._runner.bootstrap.view.contacts) if self._runner else []

    @property
    def foreign(self) -> list[ForeignCluster]:
        """Nodes of our cluster name in another cluster, as seen in the last round of probes."""
        return list(self._member.foreign) if self._member else []

    def use_configuration(self, configuration: Configuration) -> None:
        """Raft uses another configuration from now on."""
        if self._member is not None:
            self._member.book.configure(configuration)

    def may_rejoin(self, server_id: str) -> bool:
        """Whether a member would be taken back: removed because it was dead, and not on purpose."""
        return self._require_member().cleanup.may_rejoin(server_id)

    async def check_newcomer(self, server_id: str, address: str) -> None:
        """Refuse a server that is to be added by hand and cannot execute what is agreed.

        One that does not answer is believed: it may be about to start.

        :raises Conflict: naming what it lacks.
        """
        member, timeout = self._require_member(), self._ports.settings.probe_timeout
        try:
            reply = await self._ports.call(address, self._probe_request(), timeout)
        except BraftError:
            return
        if isinstance(reply, ProbeReply) and reply.server_id == server_id:
            lacking = member.negotiation.lacking(reply.capabilities)
            if lacking:
                raise lacks_capabilities(server_id, address, lacking)

    @property
    def notes(self) -> dict[str, str]:
        """What is wrong though this member may serve: a sentence by its subject."""
        return self._member.notes if self._member else {}

    def address_of(self, server_id: str) -> str:
        """Where that server is, as far as is known, else ""."""
        return self._member.book.get(server_id) if self._member else ""

    def leader_changed(self) -> None:
        """Do at once what a member does about another leader, or as one."""
        if self._member is not None:
            self._member.tick(self._ports.now())

    # -- calls from other nodes --------------------------------------------------------------

    async def on_call(self, request: PeerRequest) -> PeerReply:
        """Answer a Probe, Found, Join or Announce request.

        :raises BraftError: the refusal, which travels back to the caller.
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
        identity = self._ports.identity
        name = self._ports.settings.cluster_name
        return ProbeRequest(identity.server_id, name, identity.cluster_id, identity.address)

    def _on_probe(self, request: ProbeRequest) -> ProbeReply:
        identity, settings = self._ports.identity, self._ports.settings
        bootstrap = self._require_runner().bootstrap
        bootstrap.view.heard(request.address)
        view = self._ports.raft_view() if self._member else RaftView()
        known = self.address_of(view.leader_id) or view.leader_address
        # What they are made of is nobody else's business.
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
            capabilities=self._ports.capabilities.encode(),
            digests=self._ports.state_comparison.told if ours else b"",
        )

    # -- background --------------------------------------------------------------------------

    async def _clock(self) -> None:
        while True:
            try:
                self._tick(self._ports.now())
            except BraftError:
                _log.exception("membership tick failed")
            await asyncio.sleep(MEMBER_TICK if self._member else FORMING_TICK)

    def _tick(self, now: float) -> None:
        if self._member is not None:
            self._member.tick(now)
        else:
            runner = self._require_runner()
            runner.apply(runner.bootstrap.tick(now))

    async def _watch(self, discovery: Discovery, runner: BootstrapRunner) -> None:
        """Follow discovery's own news; when the watch breaks, begin it anew after a while."""
        delay = WATCH_RETRY_MIN
        while True:
            try:
                async for contacts in discovery.watch():
                    runner.listed(contacts)
                    delay = WATCH_RETRY_MIN
            # A plugin may raise anything; whatever it is, it means "unknown", never "nobody".
            except Exception as error:  # noqa: BLE001 - see above
                runner.listing_failed(error)
            await asyncio.sleep(delay)
            delay = min(WATCH_RETRY_MAX, delay * 2)
