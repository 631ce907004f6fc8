"""Carries out what the bootstrap machine asks: listing, probing, storing, offering, starting.

Owns the I/O of a node on its way into a cluster, one task per effect. Decides nothing.
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

#: Seconds a listing may take; a hung one must not silence discovery for ever.
LISTING_TIMEOUT = 8.0
#: Characters of the reason why discovery failed.
MOST_REASON = 1000


class BootstrapRunner:
    """Runs one :class:`Bootstrap` machine. Used on the loop alone."""

    def __init__(
        self,
        ports: MembershipHost,
        bootstrap: Bootstrap,
        prober: Prober,
        discovery: Discovery | None,
        tasks: BackgroundTasks,
        on_member: Callable[[], None],
    ) -> None:
        self.bootstrap = bootstrap
        self._ports = ports
        self._prober = prober
        self._discovery = discovery
        self._tasks = tasks
        self._on_member = on_member
        self._store_lock = asyncio.Lock()
        self._listing = False
        #: Whether discovery named more places than are probed when it last answered.
        self._crowded = False

    def apply(self, effects: Iterable[Effect]) -> None:
        """Begin to carry out the effects; never blocks."""
        for effect in effects:
            match effect:
                case ListDiscovery():
                    self.search()
                case Probe(contact):
                    self._tasks.spawn(self._probe(contact), f"probe-{contact}")
                case StoreRecord():
                    self._tasks.spawn(self.store(), "store")
                case SendProposal():
                    self._tasks.spawn(self._offer(effect), f"offer-{effect.server_id}")
                case StartCluster(cluster_id, configuration):
                    self._tasks.spawn(self._found(cluster_id, configuration), "found")
                case SendJoinRequest():
                    self._tasks.spawn(self._join(effect), f"join-{effect.address}")

    def search(self) -> None:
        """List discovery now, unless that is under way."""
        if self._discovery is not None and not self._listing:
            self._listing = True
            self._tasks.spawn(self._list(self._discovery), "list")

    def listed(self, contacts: Iterable[Contact]) -> None:
        """Discovery has a new set."""
        unresolved = self._discovery.unresolved if self._discovery is not None else ()
        self.apply(self.bootstrap.contacts_listed(self._ports.now(), contacts, unresolved))
        unprobed = self.bootstrap.view.unprobed
        if unprobed and not self._crowded:
            _log.warning(
                "discovery names %d places more than the %d that are probed at a time, so they "
                "take turns; name fewer (labels, another mDNS service) or list the nodes",
                unprobed,
                len(self.bootstrap.view.contacts),
            )
        self._crowded = bool(unprobed)

    def listing_failed(self, error: BaseException) -> None:
        """Discovery failed: told apart from an empty list."""
        reason = printable(str(error) or type(error).__name__, MOST_REASON)
        # A node without a cluster says so as long as it lasts; a member does not depend on it.
        if self.bootstrap.initialised and reason != self.bootstrap.view.listing_failure:
            _log.warning("discovery failed: %s", reason)
        self.apply(self.bootstrap.listing_failed(self._ports.now(), reason))

    async def answer(self, request: BootstrapProposal) -> BootstrapProposalReply:
        """A peer's BootstrapProposal; the reply leaves once what it says is durable.

        :raises StorageError: it could not be made durable, so nothing was promised or refused.
        """
        decision = self.bootstrap.proposal_received(self._ports.now(), request)
        self.apply(decision.effects)
        await self.store()
        return decision.reply

    async def store(self) -> None:
        """Make the machine's record durable. Stores are ordered, and the last one is the newest."""
        async with self._store_lock:
            while self.bootstrap.durable is not self.bootstrap.record:
                record = self.bootstrap.record
                try:
                    await self._ports.store_bootstrap_record(encode_record(record))
                except BraftError as error:
                    reason = f"cannot store the founding: {error.message}"
                    self.apply(self.bootstrap.failed(self._ports.now(), reason))
                    raise
                self.apply(self.bootstrap.stored(self._ports.now(), record))

    # -- effects -----------------------------------------------------------------------------

    async def _list(self, discovery: Discovery) -> None:
        try:
            async with asyncio.timeout(LISTING_TIMEOUT):
                contacts = await discovery.discover()
        # A plugin may raise anything; whatever it is, it means "unknown", never "nobody".
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
            effects = self.bootstrap.probe_failed(self._ports.now(), contact, error.message)
        else:
            effects = self.bootstrap.probe_answered(self._ports.now(), contact, reply)
        self.apply(effects)

    async def _offer(self, offer: SendProposal) -> None:
        timeout = self._ports.settings.call_timeout
        try:
            reply = await self._ports.call(offer.address, offer.request, timeout)
            if not isinstance(reply, BootstrapProposalReply):
                raise TransportError(f"{offer.address} answered an offer with {reply!r}")
        except BraftError as error:
            effects = self.bootstrap.proposal_failed(self._ports.now(), offer, error.message)
        else:
            effects = self.bootstrap.proposal_answered(self._ports.now(), offer, reply)
        self.apply(effects)

    async def _found(self, cluster_id: str, configuration: Configuration) -> None:
        try:
            await self._start(cluster_id, configuration)
        except BraftError as error:
            reason = f"cannot start the cluster: {error.message}"
            self.apply(self.bootstrap.failed(self._ports.now(), reason))

    async def _join(self, ask: SendJoinRequest) -> None:
        try:
            await self._start(await self._ask(ask), None)
        except BraftError as error:
            hint = self._leader_hint(error)
            effects = self.bootstrap.join_failed(
                self._ports.now(), ask.address, error.message, hint
            )
            self.apply(effects)

    async def _ask(self, ask: SendJoinRequest) -> str:
        identity, settings = self._ports.identity, self._ports.settings
        request = JoinRequest(
            identity.server_id,
            identity.address,
            settings.cluster_name,
            "",
            settings.voter,
            self._ports.capabilities.encode(),
        )
        reply = await self._ports.call(ask.address, request, settings.call_timeout)
        if not isinstance(reply, JoinReply) or reply.cluster_id != ask.cluster_id:
            raise TransportError(f"expected to join cluster {ask.cluster_id}, answered {reply!r}")
        return reply.cluster_id

    async def _start(self, cluster_id: str, configuration: Configuration | None) -> None:
        await self._ports.start_raft(cluster_id, configuration)
        self.bootstrap.became_member(self._ports.now(), cluster_id)
        how = "joined" if configuration is None else "founded"
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
