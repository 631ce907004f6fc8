"""Execution of the bootstrap effects: listing, probing, storing, proposing, joining, starting.

Owns the I/O of a node that is not a member yet, one task per effect. Decides nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from braft_core.abc import Contact, Discovery
from braft_core.addresses import parse_or_none
from braft_core.cluster.background_tasks import BackgroundTasks
from braft_core.cluster.bootstrap import Bootstrap
from braft_core.cluster.bootstrap_effects import (
    Effect,
    ListDiscovery,
    Probe,
    SendJoinRequest,
    SendProposal,
    StartCluster,
    StoreRecord,
)
from braft_core.cluster.bootstrap_record import encode_record
from braft_core.cluster.interface import MembershipHost
from braft_core.cluster.probes import Prober
from braft_core.errors import BraftError, NotLeader, TransportError
from braft_core.escaping import printable
from braft_core.peer import BootstrapProposal, BootstrapProposalReply, JoinReply, JoinRequest
from braft_core.raft.types import Configuration

__all__ = ["BootstrapRunner"]

_log = logging.getLogger(__name__)

#: Most characters of the reason why discovery failed.
MAX_REASON = 1000


class BootstrapRunner:
    """Runs one :class:`Bootstrap`. Use on the node's loop only."""

    def __init__(
        self,
        host: MembershipHost,
        bootstrap: Bootstrap,
        prober: Prober,
        discovery: Discovery | None,
        tasks: BackgroundTasks,
        on_member: Callable[[], None],
    ) -> None:
        self.bootstrap = bootstrap
        self._host = host
        self._timing = host.settings.timing
        self._prober = prober
        self._discovery = discovery
        self._tasks = tasks
        self._on_member = on_member
        self._store_lock = asyncio.Lock()
        self._listing = False
        #: Whether discovery last listed more contacts than are probed.
        self._crowded = False

    def apply(self, effects: Iterable[Effect]) -> None:
        """Start to execute the effects; never block."""
        for effect in effects:
            match effect:
                case ListDiscovery():
                    self.search()
                case Probe(contact):
                    self._tasks.spawn(self._probe(contact), f"probe-{contact}")
                case StoreRecord():
                    self._tasks.spawn(self.store(), "store")
                case SendProposal():
                    self._tasks.spawn(self._propose(effect), f"propose-{effect.server_id}")
                case StartCluster(cluster_id, configuration):
                    self._tasks.spawn(self._start_cluster(cluster_id, configuration), "start")
                case SendJoinRequest():
                    self._tasks.spawn(self._join(effect), f"join-{effect.address}")

    def search(self) -> None:
        """List discovery now, unless a listing is under way."""
        if self._discovery is not None and not self._listing:
            self._listing = True
            self._tasks.spawn(self._list(self._discovery), "list")

    def listed(self, contacts: Iterable[Contact]) -> None:
        """Process a new set of contacts from discovery."""
        unresolved = self._discovery.unresolved if self._discovery is not None else ()
        self.apply(self.bootstrap.contacts_listed(self._host.now(), contacts, unresolved))
        unprobed = self.bootstrap.view.unprobed
        if unprobed and not self._crowded:
            _log.warning(
                "discovery lists %d contacts more than the %d that are probed at a time, so they "
                "are probed in turn; list fewer (labels, another mDNS service) or name the nodes",
                unprobed,
                len(self.bootstrap.view.contacts),
            )
        self._crowded = bool(unprobed)

    def listing_failed(self, error: BaseException) -> None:
        """Process a failure of discovery, which is not an empty list."""
        reason = printable(str(error) or type(error).__name__, MAX_REASON)
        # A node without a cluster shows the failure in its status; a member logs it once.
        if self.bootstrap.initialised and reason != self.bootstrap.view.listing_failure:
            _log.warning("discovery failed: %s", reason)
        self.apply(self.bootstrap.listing_failed(self._host.now(), reason))

    async def answer(self, request: BootstrapProposal) -> BootstrapProposalReply:
        """Answer a peer's BootstrapProposal after the decision is durable.

        :raises StorageError: if it cannot be made durable; then the proposal is neither accepted
            nor rejected.
        """
        decision = self.bootstrap.proposal_received(self._host.now(), request)
        self.apply(decision.effects)
        await self.store()
        return decision.reply

    async def store(self) -> None:
        """Make the bootstrap record durable. Writes are ordered, the last one is the newest."""
        async with self._store_lock:
            while self.bootstrap.durable is not self.bootstrap.record:
                record = self.bootstrap.record
                try:
                    await self._host.store_bootstrap_record(encode_record(record))
                except BraftError as error:
                    reason = f"cannot store the bootstrap record: {error.message}"
                    self.apply(self.bootstrap.failed(self._host.now(), reason))
                    raise
                self.apply(self.bootstrap.stored(self._host.now(), record))

    # -- effects -----------------------------------------------------------------------------

    async def _list(self, discovery: Discovery) -> None:
        try:
            async with asyncio.timeout(self._timing.listing_timeout):
                contacts = await discovery.discover()
        # A plugin may raise anything. Any error means "unknown", never "no contacts".
        except Exception as error:  # noqa: BLE001 - see above
            self.listing_failed(error)
        else:
            self.listed(contacts)
        finally:
            self._listing = False

    async def _probe(self, contact: Contact) -> None:
        try:
            reply = await self._prober.probe(contact)
        except BraftError as error:
            effects = self.bootstrap.probe_failed(self._host.now(), contact, error.message)
        else:
            effects = self.bootstrap.probe_answered(self._host.now(), contact, reply)
        self.apply(effects)

    async def _propose(self, sent: SendProposal) -> None:
        timeout = self._host.settings.call_timeout
        reply: BootstrapProposalReply | None = None
        try:
            answer = await self._host.call(sent.address, sent.request, timeout)
            if not isinstance(answer, BootstrapProposalReply):
                raise TransportError(f"{sent.address} answered a proposal with {answer!r}")
            reply = answer
        except BraftError as error:
            _log.debug("proposal to %s: %s", sent.address, error.message)
        self.apply(self.bootstrap.proposal_answered(self._host.now(), sent, reply))

    async def _start_cluster(self, cluster_id: str, configuration: Configuration) -> None:
        try:
            await self._start(cluster_id, configuration)
        except BraftError as error:
            reason = f"cannot start the cluster: {error.message}"
            self.apply(self.bootstrap.failed(self._host.now(), reason))

    async def _join(self, ask: SendJoinRequest) -> None:
        try:
            await self._start(await self._ask(ask), None)
        except BraftError as error:
            hint = self._leader_hint(error)
            effects = self.bootstrap.join_failed(self._host.now(), ask.address, error.message, hint)
            self.apply(effects)

    async def _ask(self, ask: SendJoinRequest) -> str:
        identity, settings = self._host.identity, self._host.settings
        request = JoinRequest(
            identity.server_id,
            identity.address,
            settings.cluster_name,
            "",
            settings.voter,
            self._host.capabilities.encode(),
        )
        reply = await self._host.call(ask.address, request, settings.call_timeout)
        if not isinstance(reply, JoinReply) or reply.cluster_id != ask.cluster_id:
            raise TransportError(f"expected to join cluster {ask.cluster_id}, answered {reply!r}")
        return reply.cluster_id

    async def _start(self, cluster_id: str, configuration: Configuration | None) -> None:
        await self._host.start_raft(cluster_id, configuration)
        self.bootstrap.became_member(self._host.now(), cluster_id)
        how = "joined" if configuration is None else "bootstrapped"
        _log.info("%s cluster %s", how, cluster_id)
        self._on_member()

    def _leader_hint(self, error: BraftError) -> str:
        if not isinstance(error, NotLeader):
            return ""
        if place := parse_or_none(error.data.get("leader_address")):
            return str(place)
        leader = error.data.get("leader")
        replies = self.bootstrap.view.replies()
        return next((reply.address for reply in replies if reply.server_id == leader), "")
