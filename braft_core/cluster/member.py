"""The loop of a member: addresses, announcements, join requests, promotions, missing servers.

Owns the I/O of membership while Raft runs; :mod:`.member_rules` and :mod:`.joining` decide. It does
not know how the cluster was bootstrapped.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from math import inf

from braft_core.abc import Contact
from braft_core.auth_failures import refused_token_message
from braft_core.cluster.address_book import AddressBook, contact_at
from braft_core.cluster.background_tasks import BackgroundTasks
from braft_core.cluster.capability_negotiation import CapabilityNegotiation
from braft_core.cluster.dead_server_cleanup import DeadServerCleanup
from braft_core.cluster.duplicate_ids import DuplicateIDs
from braft_core.cluster.interface import MembershipHost, RaftView
from braft_core.cluster.joining import AddNonvoter, Refuse, UpdateAddress, handle_join
from braft_core.cluster.member_rules import (
    CaughtUp,
    Change,
    ForeignCluster,
    explain_no_leader,
    foreign_clusters,
    hears_leader,
    must_announce,
    next_change,
    preferred_cluster,
    removal_notice,
)
from braft_core.cluster.messages import (
    default_discovery_message,
    removed_message,
    rival_cluster_message,
    version_differences_message,
    wrong_cluster_message,
)
from braft_core.cluster.probes import Prober, call_each
from braft_core.compat.go_braft.server_id import short_id
from braft_core.errors import BraftError, Conflict, DecodeError, NotLeader, WrongCluster
from braft_core.peer import AnnounceReply, AnnounceRequest, JoinReply, JoinRequest, ProbeReply
from braft_core.raft.types import Server, Suffrage, encode_configuration

__all__ = ["Member"]

_log = logging.getLogger(__name__)

#: Most logged messages that are remembered, so that each is logged once.
MAX_LOGGED = 256


class _Every:
    """Return True at most once per interval; the first call returns True."""

    def __init__(self) -> None:
        self._last = -inf

    def __call__(self, now: float, interval: float) -> bool:
        if now - self._last < interval:
            return False
        self._last = now
        return True


class Member:
    """One member. Use on the node's loop only; call :meth:`tick` several times a second.

    :param contacts: returns what discovery listed last.
    :param search: lists discovery again.
    :param abandon: abandons this cluster for the one with the given id.
    :param rotate: receives the contacts that answered and those that did not.
    """

    def __init__(
        self,
        host: MembershipHost,
        prober: Prober,
        tasks: BackgroundTasks,
        contacts: Callable[[], Sequence[Contact]],
        search: Callable[[], None],
        abandon: Callable[[str], None],
        rotate: Callable[[Collection[Contact], Collection[Contact]], None],
    ) -> None:
        self.book = AddressBook()
        self.foreign: list[ForeignCluster] = []
        #: The message that this node was removed from its cluster, else "".
        self.removed = ""
        self._host, self._prober, self._tasks = host, prober, tasks
        self._contacts, self._search = contacts, search
        self._abandon, self._rotate = abandon, rotate
        self._timing = host.settings.timing
        self._duplicates = DuplicateIDs(host, prober, self.book)
        self._campaign_enabled = True
        self._logged: set[tuple[str, str]] = set()
        self._caught_up = CaughtUp()
        self._wants_vote: dict[str, None] = {}
        self._changing = asyncio.Lock()
        self._retry_change_at = -inf
        self._leader_seen_at = host.now()
        self._announce_due, self._probe_due, self._search_due = _Every(), _Every(), _Every()
        self._promotion_due = _Every()
        self._busy: set[str] = set()
        self.cleanup = DeadServerCleanup(host, prober, self.book, self._changing, self._once)
        self.negotiation = CapabilityNegotiation(host, self.book, self._once)
        for reply in self._cluster_replies():
            self.negotiation.learn(reply.server_id, reply.capabilities)
        self.book.learn(host.now(), host.identity.server_id, host.identity.address)

    def move(self) -> None:
        """Use the changed address of this node, and announce it at the next tick."""
        identity = self._host.identity
        self.book.learn(self._host.now(), identity.server_id, identity.address)
        self._announce_due = _Every()

    # -- views -------------------------------------------------------------------------------

    def waiting(self, now: float) -> str:
        """Return the message about a missing leader; "" while there is a leader."""
        view = self._host.raft_view()
        if self.removed or view.leader_id:
            return self.removed
        if self._duplicates.conflict:
            return self._duplicates.conflict
        message = explain_no_leader(
            view,
            self._host.identity.server_id,
            self._contact_ages(now, view),
            self.book,
            now - self._leader_seen_at,
            self._host.settings.restart_min,
            self._timing,
        )
        if not self.foreign:
            return message
        others = [(cluster.address, cluster.cluster_id) for cluster in self.foreign]
        return f"{message}; {wrong_cluster_message(self._host.identity.cluster_id, others)}"

    @property
    def notes(self) -> dict[str, str]:
        """Problems of a member that may serve: messages by subject."""
        rivals = [(f.address, f.cluster_id, f.voters) for f in self.foreign]
        differences = self.negotiation.differences(self._host.raft_view())
        denials = [outcome.failure for outcome in self._prober.outcomes.values() if outcome.denied]
        notes = {
            "rival cluster": rival_cluster_message(self._host.identity.cluster_id, rivals)
            if rivals
            else "",
            "node id": self._duplicates.message,
            "discovery": self._default_discovery_note(self._host.raft_view()),
            "versions": version_differences_message(differences) if differences else "",
            "token": refused_token_message(denials) if denials else "",
        }
        return {subject: message for subject, message in notes.items() if message}

    def _default_discovery_note(self, view: RaftView) -> str:
        """Return the message about a cluster found by the default discovery; else ""."""
        settings, identity = self._host.settings, self._host.identity
        others = [s for s in view.configuration.servers if s.id != identity.server_id]
        if not settings.default_discovery or not others:
            return ""
        return default_discovery_message(
            settings.default_discovery, settings.cluster_name, identity.cluster_id, others
        )

    def _log_once(self, level: int, subject: str, message: str) -> None:
        """Log a recurring condition only once."""
        if (subject, message) not in self._logged:
            if len(self._logged) >= MAX_LOGGED:
                self._logged.clear()
            self._logged.add((subject, message))
            _log.log(level, "%s", message)

    def _contact_ages(self, now: float, view: RaftView) -> dict[str, float]:
        ages = {server_id: peer.last_contact for server_id, peer in view.peers.items()}
        for outcome in self._prober.outcomes.values():
            if outcome.reply and outcome.reply.cluster_id == self._host.identity.cluster_id:
                server_id = outcome.reply.server_id
                ages[server_id] = min(ages.get(server_id, inf), now - outcome.at)
        return ages

    def _cluster_replies(self) -> list[ProbeReply]:
        """Return the last replies of nodes of this cluster."""
        replies = [outcome.reply for outcome in self._prober.outcomes.values()]
        ours = self._host.identity.cluster_id
        return [reply for reply in replies if reply and reply.cluster_id == ours]

    # -- ticks -------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Start the work that is due; never block."""
        view = self._host.raft_view()
        if view.leader_id:
            self._leader_seen_at = now
            if note := self._default_discovery_note(view):
                self._log_once(logging.WARNING, "discovery", note)
        if self.removed and hears_leader(view, self._timing):
            self._set_removed("")
        self._refresh_addresses(view)
        self._lead(now, view)
        self.negotiation.tick(now, view)
        identity = self._host.identity
        announce = must_announce(view, identity.server_id, identity.address)
        # Keep announcing after a Conflict; otherwise the next announcement could be minutes away.
        announce = announce or bool(self._duplicates.conflict)
        interval = self._timing.announce_interval
        if announce and not self.removed and self._announce_due(now, interval):
            self._once("announce", self._announce)
        if self._wants_promotion(view) and self._promotion_due(now, interval):
            self._once("ask-promotion", self._ask_for_promotion)
        self.cleanup.tick(now, view)
        probe_interval = self._probe_interval(view)
        if self._probe_due(now, self.cleanup.interval(probe_interval)):
            self._once("probe-all", self._probe_all)
        lost = now - self._leader_seen_at >= self._host.settings.restart_min
        if lost and not self.removed and self._search_due(now, self._timing.search_interval):
            self._search()

    def _probe_interval(self, view: RaftView) -> float:
        timing = self._timing
        hears = hears_leader(view, timing)
        return timing.probe_interval if hears else timing.leaderless_probe_interval

    def _once(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Run ``work`` in the background unless work of that name is under way."""
        if name not in self._busy:
            self._busy.add(name)
            self._tasks.spawn(self._run(name, work), name)

    async def _run(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        finally:
            self._busy.discard(name)

    def _refresh_addresses(self, view: RaftView) -> None:
        self.book.configure(view.configuration)
        for server_id, address in self.book.take_changes():
            if server_id != self._host.identity.server_id:
                self._host.set_address(server_id, address)

    def _learn(self, server_id: str, address: str, asked: float = inf) -> None:
        """Store the address that a server reported.

        :param asked: when the server was asked; omitted if it reports on its own.
        """
        at = min(asked, self._host.now())
        own = server_id == self._host.identity.server_id
        if not own and self.book.learn(at, server_id, address):
            _log.info("node %s is at %s", short_id(server_id), address)
            self._refresh_addresses(self._host.raft_view())

    # -- as the leader -----------------------------------------------------------------------

    def _lead(self, now: float, view: RaftView) -> None:
        self._caught_up.observe(now, view, self._host.settings.promotion_lag)
        if self._changing.locked() or now < self._retry_change_at:
            return
        change = next_change(now, view, self.book, self._caught_up, self._wants_vote, self._timing)
        if change is not None:
            self._once("change", lambda: self._change(change))

    async def _change(self, change: Change) -> None:
        who = short_id(change.server_id)
        _log.info("%s %s at %s: %s", change.kind, who, change.address, change.reason)
        try:
            async with self._changing:
                await self._host.change_membership(change.kind, change.server_id, change.address)
        except BraftError:
            self._retry_change_at = self._host.now() + self._timing.retry_interval
            raise

    async def on_join(self, request: JoinRequest) -> JoinReply:
        """Answer the request of a newcomer, or of a learner that asks for its promotion.

        :raises NotLeader: with the leader's id and address.
        :raises BraftError: if it is refused, or the change could not be committed.
        """
        async with self._changing:
            view = self._host.raft_view()
            if not view.is_leader:
                raise self._not_leader(view)
            await self._admit(request, view)
        if request.voter:
            self._wants_vote[request.server_id] = None
        else:
            self._wants_vote.pop(request.server_id, None)
        configuration = self._host.raft_view().configuration
        return JoinReply(self._host.identity.cluster_id, encode_configuration(configuration))

    async def _admit(self, request: JoinRequest, view: RaftView) -> None:
        decision = handle_join(
            request,
            cluster_name=self._host.settings.cluster_name,
            cluster_id=self._host.identity.cluster_id,
            configuration=view.configuration,
            was_removed=self.cleanup.was_removed_as_dead(request.server_id),
            lacking=self.negotiation.lacking(request.capabilities),
        )
        match decision:
            case Refuse(error):
                message = f"{request.address} may not join: {error.message}"
                self._log_once(logging.WARNING, request.server_id, message)
                raise error
            case AddNonvoter(server_id, address):
                _log.info("node %s at %s joins", short_id(server_id), address)
                self._learn(server_id, address)
                self.negotiation.learn(server_id, request.capabilities)
                await self._host.change_membership("add_nonvoter", server_id, address)
            case UpdateAddress(server):
                # The next tick commits it, as after an announcement.
                self._learn(server.id, server.address)

    def _not_leader(self, view: RaftView) -> NotLeader:
        address = self.book.get(view.leader_id) or view.leader_address
        who = f"{short_id(view.leader_id)} at {address}" if view.leader_id else "no known node"
        return NotLeader(
            f"this node does not lead; {who} does", leader=view.leader_id, leader_address=address
        )

    # -- announcements and probes ------------------------------------------------------------

    async def on_announce(self, request: AnnounceRequest) -> AnnounceReply:
        """Store the address and the capabilities that a member announces.

        :raises WrongCluster: if it is of another cluster.
        :raises Conflict: if a process with its id still answers at another address.
        """
        identity = self._host.identity
        if request.cluster_id != identity.cluster_id:
            raise WrongCluster(
                f"{request.address} announced cluster {request.cluster_id!r}, this node is in "
                f"{identity.cluster_id!r}",
                expected=request.cluster_id,
                actual=identity.cluster_id,
            )
        try:
            await self._duplicates.check(request)
        except Conflict as error:
            self._log_once(logging.ERROR, request.server_id, error.message)
            raise
        self._learn(request.server_id, request.address)
        self.negotiation.learn(request.server_id, request.capabilities)
        return AnnounceReply(identity.server_id, self._host.identity.address)

    def _targets(self) -> list[Contact]:
        """Return all possible members: every known address, then discovery's contacts."""
        own = self._host.identity.address
        members = self._member_contacts()
        others = {str(contact): contact for contact in self._contacts()}
        return [contact for address, contact in (members | others).items() if address != own]

    def _member_contacts(self) -> dict[str, Contact]:
        """Return the known addresses of members, which are always probed."""
        view = self._host.raft_view()
        addresses = [s.address for s in view.configuration.servers]
        addresses += [self.book.get(s.id) for s in view.configuration.servers]
        # The leader may have joined after this node received its last configuration.
        addresses += [r.leader_address for r in self._cluster_replies() if r.leader_address]
        targets: dict[str, Contact] = {}
        for address in addresses:
            try:
                targets.setdefault(address, contact_at(address, "configuration"))
            except DecodeError:
                continue
        return targets

    async def _announce(self) -> None:
        identity = self._host.identity
        request = AnnounceRequest(
            identity.server_id,
            identity.address,
            identity.cluster_id,
            self._host.capabilities.encode(),
        )

        async def announce(target: Contact) -> BraftError | None:
            # The receiver may first probe another server.
            timeout = 2 * self._host.settings.probe_timeout
            try:
                reply = await self._host.call(str(target), request, timeout)
            except BraftError as error:
                return error
            if isinstance(reply, AnnounceReply):
                self._learn(reply.server_id, reply.address)
            return None

        members = self._member_contacts()
        due = [t for t in self._targets() if str(t) in members or self._prober.may_answer(t)]
        self._duplicates.note_announced(await call_each(due, announce))
        self._update_campaigning()

    async def _probe_all(self) -> None:
        targets, asked = self._targets(), self._host.now()
        members = self._member_contacts()
        due = [t for t in targets if str(t) in members or self._prober.is_due(t)]
        replies = await self._prober.probe_all(due)
        self._prober.forget_except(targets)
        self._rotate(*self._prober.answered_and_silent())
        ours = [
            reply
            for reply in replies
            if reply.initialised and reply.cluster_id == self._host.identity.cluster_id
        ]
        for reply in self._duplicates.unique(ours):
            # The round waited for the slowest reply; announcements since then are newer.
            self._learn(reply.server_id, reply.address, asked)
            self.negotiation.learn(reply.server_id, reply.capabilities)
            self._host.state_comparison.learn(reply.server_id, reply.digests)
        self._host.compare_states()
        self._note_removal(replies)
        self._note_foreign(replies)

    def _note_removal(self, replies: Sequence[ProbeReply]) -> None:
        cluster_id = self._host.identity.cluster_id
        leader = removal_notice(self._host.raft_view(), cluster_id, replies, self._timing)
        if leader is None:
            self._set_removed("")
        else:
            server = Server(leader.server_id, leader.address)
            self._set_removed(removed_message(cluster_id, server, leader.rejoin_allowed))
            if leader.rejoin_allowed:
                # It was removed automatically, so it may rejoin without an operator.
                voter = self._host.settings.voter
                self._once("rejoin", lambda: self._ask_to_join(server.address, voter=voter))

    async def _ask_to_join(self, leader_address: str, *, voter: bool) -> None:
        identity, settings = self._host.identity, self._host.settings
        name, cluster_id = settings.cluster_name, identity.cluster_id
        request = JoinRequest(
            identity.server_id,
            identity.address,
            name,
            cluster_id,
            voter,
            self._host.capabilities.encode(),
        )
        await self._host.call(leader_address, request, settings.call_timeout)

    def _set_removed(self, message: str) -> None:
        """Store the message of a removal, "" for none; a removed node does not campaign."""
        if bool(message) != bool(self.removed):
            if message:
                _log.warning("%s", message)
            else:
                _log.info("this node may be a member of its cluster again")
        self.removed = message
        self._update_campaigning()

    def _update_campaigning(self) -> None:
        """Do not campaign while removed, or while another process uses our server id."""
        enabled = not (self.removed or self._duplicates.conflict)
        if enabled != self._campaign_enabled:
            self._campaign_enabled = enabled
            self._host.set_campaign_enabled(enabled)

    def _note_foreign(self, replies: Sequence[ProbeReply]) -> None:
        ours = self._host.identity.cluster_id
        found = foreign_clusters(self._host.settings.cluster_name, ours, replies)
        self.foreign = found
        for f in found:
            message = rival_cluster_message(ours, [(f.address, f.cluster_id, f.voters)])
            self._log_once(logging.ERROR, "rival cluster", message)
        into = preferred_cluster(self._host.raft_view(), self._host.identity.server_id, ours, found)
        if into:
            self._abandon(into)

    def _wants_promotion(self, view: RaftView) -> bool:
        own = view.configuration.get(self._host.identity.server_id)
        learner = own is not None and own.suffrage == Suffrage.NONVOTER
        return learner and self._host.settings.voter and bool(view.leader_id)

    async def _ask_for_promotion(self) -> None:
        """Ask the leader for the promotion; repeated, since a new leader lost earlier requests."""
        view = self._host.raft_view()
        address = self.book.get(view.leader_id) or view.leader_address
        if address:
            await self._ask_to_join(address, voter=True)
