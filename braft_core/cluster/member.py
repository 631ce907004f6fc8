"""A member's life in its cluster: addresses, announcements, newcomers, promotions, absences.

Owns the I/O of membership once Raft runs; :mod:`.steady` and :mod:`.joining` decide. It must not
know how the cluster came about.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from math import inf

from braft_core.abc import Contact
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
from braft_core.cluster.probes import Prober, in_turn
from braft_core.compat.go_braft.server_id import short_id
from braft_core.errors import BraftError, Conflict, DecodeError, NotLeader, WrongCluster
from braft_core.peer import AnnounceReply, AnnounceRequest, JoinReply, JoinRequest, ProbeReply
from braft_core.raft.types import Server, Suffrage, encode_configuration
from braft_core.transport.auth_failures import refused_token_message

__all__ = ["Member"]

_log = logging.getLogger(__name__)

#: Seconds between announcements while there is something to announce, and between a learner's
#: requests for its vote.
ANNOUNCE_INTERVAL = 1.0
#: Seconds between rounds of probes, with a leader and without one.
PROBE_INTERVAL = 5.0
PROBE_INTERVAL_LEADERLESS = 1.0
#: Seconds between two searches of discovery while the leader stays away.
SEARCH_INTERVAL = 5.0
#: What is logged once is remembered, up to so many sentences.
MOST_TOLD = 256
#: Seconds before a membership change that failed is tried again.
CHANGE_RETRY = 1.0


class _Every:
    """True at most once per interval, the first time at once."""

    def __init__(self) -> None:
        self._last = -inf

    def __call__(self, now: float, interval: float) -> bool:
        if now - self._last < interval:
            return False
        self._last = now
        return True


class Member:
    """One member. Used on the loop alone; :meth:`tick` some times a second."""

    def __init__(
        self,
        ports: MembershipHost,
        prober: Prober,
        tasks: BackgroundTasks,
        contacts: Callable[[], Sequence[Contact]],
        search: Callable[[], None],
        dissolve: Callable[[str], None] = lambda into: None,
        rest: Callable[[Collection[Contact], Collection[Contact]], None] = lambda heard, silent: (
            None
        ),
    ) -> None:
        self.book = AddressBook()
        self.foreign: list[ForeignCluster] = []
        #: The sentence that says that this node was removed from its cluster, else "".
        self.removed = ""
        self._ports, self._prober, self._tasks = ports, prober, tasks
        self._contacts, self._search, self._dissolve = contacts, search, dissolve
        self._rest = rest
        self._duplicates = DuplicateIDs(ports, prober, self.book)
        self._campaign_enabled = True
        self._told: set[tuple[str, str]] = set()
        self._caught_up = CaughtUp()
        self._wants_vote: dict[str, None] = {}
        self._changing = asyncio.Lock()
        self._retry_change_at = -inf
        self._leader_seen_at = ports.now()
        self._announce_due, self._probe_due, self._search_due = _Every(), _Every(), _Every()
        self._vote_due = _Every()
        self._busy: set[str] = set()
        self.cleanup = DeadServerCleanup(ports, prober, self.book, self._changing, self._once)
        self.negotiation = CapabilityNegotiation(ports, self.book, self._once)
        for reply in self._own_replies():
            self.negotiation.learn(reply.server_id, reply.capabilities)
        self.book.learn(ports.now(), ports.identity.server_id, ports.identity.address)

    def move(self) -> None:
        """This member's address has changed: say so at the next tick, whatever was said before."""
        identity = self._ports.identity
        self.book.learn(self._ports.now(), identity.server_id, identity.address)
        self._announce_due = _Every()

    # -- views -------------------------------------------------------------------------------

    def waiting(self, now: float) -> str:
        """Why there is no leader, who is missing, what is tolerated; "" while there is one."""
        view = self._ports.raft_view()
        if self.removed or view.leader_id:
            return self.removed
        if self._duplicates.refused:
            return self._duplicates.refused
        sentence = explain_no_leader(
            view,
            self._ports.identity.server_id,
            self._heard(now, view),
            self.book,
            now - self._leader_seen_at,
            self._ports.settings.restart_min,
        )
        if not self.foreign:
            return sentence
        others = [(cluster.address, cluster.cluster_id) for cluster in self.foreign]
        return f"{sentence}; {wrong_cluster_message(self._ports.identity.cluster_id, others)}"

    @property
    def notes(self) -> dict[str, str]:
        """See :attr:`ClusterMembership.notes`."""
        rivals = [(f.address, f.cluster_id, f.voters) for f in self.foreign]
        differences = self.negotiation.differences(self._ports.raft_view())
        denials = [outcome.failure for outcome in self._prober.outcomes.values() if outcome.denied]
        notes = {
            "rival cluster": rival_cluster_message(self._ports.identity.cluster_id, rivals)
            if rivals
            else "",
            "node id": self._duplicates.sentence,
            "discovery": self._unchosen(self._ports.raft_view()),
            "versions": version_differences_message(differences) if differences else "",
            "token": refused_token_message(denials) if denials else "",
        }
        return {subject: sentence for subject, sentence in notes.items() if sentence}

    def _unchosen(self, view: RaftView) -> str:
        """Say which cluster this is, if a discovery that nobody chose led to it; else ""."""
        settings, identity = self._ports.settings, self._ports.identity
        others = [s for s in view.configuration.servers if s.id != identity.server_id]
        if not settings.default_discovery or not others:
            return ""
        return default_discovery_message(
            settings.default_discovery, settings.cluster_name, identity.cluster_id, others
        )

    def _once_told(self, level: int, subject: str, sentence: str) -> None:
        """Log what lasts, or comes again and again, once."""
        if (subject, sentence) not in self._told:
            if len(self._told) >= MOST_TOLD:
                self._told.clear()
            self._told.add((subject, sentence))
            _log.log(level, "%s", sentence)

    def _heard(self, now: float, view: RaftView) -> dict[str, float]:
        ages = {server_id: peer.last_contact for server_id, peer in view.peers.items()}
        for outcome in self._prober.outcomes.values():
            if outcome.reply and outcome.reply.cluster_id == self._ports.identity.cluster_id:
                server_id = outcome.reply.server_id
                ages[server_id] = min(ages.get(server_id, inf), now - outcome.at)
        return ages

    def _own_replies(self) -> list[ProbeReply]:
        """The last answers of nodes of this cluster."""
        replies = [outcome.reply for outcome in self._prober.outcomes.values()]
        ours = self._ports.identity.cluster_id
        return [reply for reply in replies if reply and reply.cluster_id == ours]

    # -- the clock's side --------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Do what is due; never blocks."""
        view = self._ports.raft_view()
        if view.leader_id:
            self._leader_seen_at = now
            if unchosen := self._unchosen(view):
                self._once_told(logging.WARNING, "discovery", unchosen)
        if self.removed and hears_leader(view):
            self._set_removed("")
        self._refresh_addresses(view)
        self._lead(now, view)
        self.negotiation.tick(now, view)
        identity = self._ports.identity
        news = must_announce(view, identity.server_id, identity.address)
        # Who was refused asks until it is not: the next announcement may be a long time off.
        asks = news or bool(self._duplicates.refused)
        if asks and not self.removed and self._announce_due(now, ANNOUNCE_INTERVAL):
            self._once("announce", self._announce)
        if self._wants_own_vote(view) and self._vote_due(now, ANNOUNCE_INTERVAL):
            self._once("ask-vote", self._ask_for_vote)
        self.cleanup.tick(now, view)
        interval = PROBE_INTERVAL if hears_leader(view) else PROBE_INTERVAL_LEADERLESS
        if self._probe_due(now, self.cleanup.interval(interval)):
            self._once("probe-all", self._probe_all)
        lost = now - self._leader_seen_at >= self._ports.settings.restart_min
        if lost and not self.removed and self._search_due(now, SEARCH_INTERVAL):
            self._search()

    def _once(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Run ``work`` unless the same is still under way."""
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
            if server_id != self._ports.identity.server_id:
                self._ports.set_address(server_id, address)

    def _learn(self, server_id: str, address: str, asked: float = inf) -> None:
        """That server is there; ``asked`` is when it was asked, unless it says so just now."""
        at = min(asked, self._ports.now())
        own = server_id == self._ports.identity.server_id
        if not own and self.book.learn(at, server_id, address):
            _log.info("node %s is at %s", short_id(server_id), address)
            self._refresh_addresses(self._ports.raft_view())

    # -- the leader's side -------------------------------------------------------------------

    def _lead(self, now: float, view: RaftView) -> None:
        self._caught_up.observe(now, view, self._ports.settings.promotion_lag)
        if self._changing.locked() or now < self._retry_change_at:
            return
        change = next_change(now, view, self.book, self._caught_up, self._wants_vote)
        if change is not None:
            self._once("change", lambda: self._change(change))

    async def _change(self, change: Change) -> None:
        who = short_id(change.server_id)
        _log.info("%s %s at %s: %s", change.kind, who, change.address, change.reason)
        try:
            async with self._changing:
                await self._ports.change_membership(change.kind, change.server_id, change.address)
        except BraftError:
            self._retry_change_at = self._ports.now() + CHANGE_RETRY
            raise

    async def on_join(self, request: JoinRequest) -> JoinReply:
        """A newcomer, or a learner that wants its vote, asks.

        :raises NotLeader: with the leader's id and address.
        :raises BraftError: it was refused, or the change could not be committed.
        """
        async with self._changing:
            view = self._ports.raft_view()
            if not view.is_leader:
                raise self._not_leader(view)
            await self._admit(request, view)
        if request.voter:
            self._wants_vote[request.server_id] = None
        else:
            self._wants_vote.pop(request.server_id, None)
        configuration = self._ports.raft_view().configuration
        return JoinReply(self._ports.identity.cluster_id, encode_configuration(configuration))

    async def _admit(self, request: JoinRequest, view: RaftView) -> None:
        decision = handle_join(
            request,
            cluster_name=self._ports.settings.cluster_name,
            cluster_id=self._ports.identity.cluster_id,
            configuration=view.configuration,
            was_removed=self.cleanup.was_removed_as_dead(request.server_id),
            lacking=self.negotiation.lacking(request.capabilities),
        )
        match decision:
            case Refuse(error):
                sentence = f"{request.address} may not join: {error.message}"
                self._once_told(logging.WARNING, request.server_id, sentence)
                raise error
            case AddNonvoter(server_id, address):
                _log.info("node %s at %s joins", short_id(server_id), address)
                self._learn(server_id, address)
                self.negotiation.learn(server_id, request.capabilities)
                await self._ports.change_membership("add_nonvoter", server_id, address)
            case UpdateAddress(server):
                # The next tick commits it, as it does after an announcement.
                self._learn(server.id, server.address)

    def _not_leader(self, view: RaftView) -> NotLeader:
        address = self.book.get(view.leader_id) or view.leader_address
        who = f"{short_id(view.leader_id)} at {address}" if view.leader_id else "no known node"
        return NotLeader(
            f"this node does not lead; {who} does", leader=view.leader_id, leader_address=address
        )

    # -- news from others and for others -----------------------------------------------------

    async def on_announce(self, request: AnnounceRequest) -> AnnounceReply:
        """A member says where it is now.

        :raises WrongCluster: it is of another cluster.
        :raises Conflict: the member of that id is somewhere else, and answers there.
        """
        identity = self._ports.identity
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
            self._once_told(logging.ERROR, request.server_id, error.message)
            raise
        self._learn(request.server_id, request.address)
        self.negotiation.learn(request.server_id, request.capabilities)
        return AnnounceReply(identity.server_id, identity.address)

    def _targets(self) -> list[Contact]:
        """Everyone who might be a member: every known address, then discovery's contacts."""
        own = self._ports.identity.address
        members = self._member_contacts()
        others = {str(contact): contact for contact in self._contacts()}
        return [contact for address, contact in (members | others).items() if address != own]

    def _member_contacts(self) -> dict[str, Contact]:
        """Where members are, or may be; always probed, whatever discovery says."""
        view = self._ports.raft_view()
        addresses = [s.address for s in view.configuration.servers]
        addresses += [self.book.get(s.id) for s in view.configuration.servers]
        # A leader may have come after this node was last told the configuration.
        addresses += [r.leader_address for r in self._own_replies() if r.leader_address]
        targets: dict[str, Contact] = {}
        for address in addresses:
            try:
                targets.setdefault(address, contact_at(address, "configuration"))
            except DecodeError:
                continue
        return targets

    async def _announce(self) -> None:
        identity = self._ports.identity
        request = AnnounceRequest(
            identity.server_id,
            identity.address,
            identity.cluster_id,
            self._ports.capabilities.encode(),
        )

        async def tell(target: Contact) -> BraftError | None:
            # The one that is told may have to ask another one first.
            timeout = 2 * self._ports.settings.probe_timeout
            try:
                reply = await self._ports.call(str(target), request, timeout)
            except BraftError as error:
                return error
            if isinstance(reply, AnnounceReply):
                self._learn(reply.server_id, reply.address)
            return None

        members = self._member_contacts()
        due = [t for t in self._targets() if str(t) in members or self._prober.may_answer(t)]
        self._duplicates.answered(await in_turn(due, tell))
        self._update_campaigning()

    async def _probe_all(self) -> None:
        targets, asked = self._targets(), self._ports.now()
        members = self._member_contacts()
        due = [t for t in targets if str(t) in members or self._prober.is_due(t)]
        replies = await self._prober.probe_all(due)
        self._prober.forget_except(targets)
        if self._rest is not None:
            self._rest(*self._prober.heard_and_silent())
        ours = [
            reply
            for reply in replies
            if reply.initialised and reply.cluster_id == self._ports.identity.cluster_id
        ]
        for reply in self._duplicates.single(ours):
            # The round waited for the slowest: an announcement since is newer than any answer.
            self._learn(reply.server_id, reply.address, asked)
            self.negotiation.learn(reply.server_id, reply.capabilities)
            self._ports.state_comparison.learn(reply.server_id, reply.digests)
        self._ports.compare_states()
        self._note_removal(replies)
        self._note_foreign(replies)

    def _note_removal(self, replies: Sequence[ProbeReply]) -> None:
        cluster_id = self._ports.identity.cluster_id
        leader = removal_notice(self._ports.raft_view(), cluster_id, replies)
        if leader is None:
            self._set_removed("")
        else:
            server = Server(leader.server_id, leader.address)
            self._set_removed(removed_message(cluster_id, server, leader.rejoin_allowed))
            if leader.rejoin_allowed:
                # Nobody wanted to be rid of this node, so nobody need start it anew.
                voter = self._ports.settings.voter
                self._once("return", lambda: self._ask_to_join(server.address, voter=voter))

    async def _ask_to_join(self, leader_address: str, *, voter: bool) -> None:
        identity, settings = self._ports.identity, self._ports.settings
        name, cluster_id = settings.cluster_name, identity.cluster_id
        request = JoinRequest(
            identity.server_id,
            identity.address,
            name,
            cluster_id,
            voter,
            self._ports.capabilities.encode(),
        )
        await self._ports.call(leader_address, request, settings.call_timeout)

    def _set_removed(self, sentence: str) -> None:
        """A node that knows that it was removed does not campaign. It goes on to listen and ask."""
        if bool(sentence) != bool(self.removed):
            if sentence:
                _log.warning("%s", sentence)
            else:
                _log.info("this node may be a member of its cluster again")
        self.removed = sentence
        self._update_campaigning()

    def _update_campaigning(self) -> None:
        """Do not campaign while removed, or while another process uses our server id."""
        enabled = not (self.removed or self._duplicates.refused)
        if enabled != self._campaign_enabled:
            self._campaign_enabled = enabled
            self._ports.set_campaign_enabled(enabled)

    def _note_foreign(self, replies: Sequence[ProbeReply]) -> None:
        ours = self._ports.identity.cluster_id
        found = foreign_clusters(self._ports.settings.cluster_name, ours, replies)
        self.foreign = found
        for f in found:
            sentence = rival_cluster_message(ours, [(f.address, f.cluster_id, f.voters)])
            self._once_told(logging.ERROR, "rival cluster", sentence)
        into = preferred_cluster(
            self._ports.raft_view(), self._ports.identity.server_id, ours, found
        )
        if into:
            self._dissolve(into)

    def _wants_own_vote(self, view: RaftView) -> bool:
        own = view.configuration.get(self._ports.identity.server_id)
        learner = own is not None and own.suffrage == Suffrage.NONVOTER
        return learner and self._ports.settings.voter and bool(view.leader_id)

    async def _ask_for_vote(self) -> None:
        """Repeated until granted: a new leader does not know what its predecessor was told."""
        view = self._ports.raft_view()
        address = self.book.get(view.leader_id) or view.leader_address
        if address:
            await self._ask_to_join(address, voter=True)
