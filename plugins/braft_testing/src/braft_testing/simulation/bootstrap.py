"""Simulated bootstrap with the real rules and a discovery that lists wrong contacts.

Owns the I/O around ``braft_core.cluster.bootstrap``: listing, probing, storing, proposing, joining,
starting. Everything takes virtual time and may fail. A crash loses what is not stored.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from braft_core.abc import Contact
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
from braft_core.cluster.bootstrap_facts import BootstrapFacts
from braft_core.cluster.bootstrap_record import BootstrapRecord
from braft_core.cluster.joining import AddNonvoter, Refuse, handle_join
from braft_core.errors import BraftError, NotApplied, NotLeader, NotReady, Rejected
from braft_core.peer import (
    BootstrapProposal,
    BootstrapProposalReply,
    JoinReply,
    JoinRequest,
    ProbeReply,
    ProbeRequest,
)
from braft_core.raft.types import Configuration, Entry, EntryType, HardState, encode_configuration
from braft_testing.simulation.disk import LogImage
from braft_testing.simulation.network import Envelope
from braft_testing.simulation.plan import stream

if TYPE_CHECKING:
    from braft_testing.simulation.process import Process
    from braft_testing.simulation.server import Server
    from braft_testing.simulation.world import World

__all__ = ["BootstrapAdapter", "Call", "Discovery", "Reply"]

CLUSTER = "simulated"
_TICK = 0.05
_PROBE_TIMEOUT = 1.0
_CALL_TIMEOUT = 3.0
_UNKNOWN_SERVERS = 2


class Call(NamedTuple):
    """A call of one node to another, besides Raft."""

    number: int
    request: Any


class Reply(NamedTuple):
    """Its reply or error, addressed to one life of the caller."""

    number: int
    life: int
    outcome: Any


def address_of(server_id: str) -> str:
    """Return the address of a simulated server."""
    return f"{server_id}:1"


class Discovery:
    """Lists the contacts of a node: all, some, none, or wrong ones."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._rng = stream(world.seed, "discovery")
        self.accurate = False
        #: The servers that are hidden from each server while discovery is not accurate.
        self._hidden = {server_id: self._draw_hidden() for server_id in world.server_ids}

    def _draw_hidden(self) -> list[str]:
        """Draw the hidden servers once, so that several nodes may have the smallest id they see."""
        plan, rng = self._world.plan, self._rng
        if plan.complete_views or rng.random() >= plan.discovery_error_rate:
            return []
        ids = self._world.server_ids
        return ids[:1] if rng.random() < 0.5 else rng.sample(ids, rng.randint(1, 2) % len(ids))

    def list(self, asker: str) -> list[Contact] | None:
        """Return the contacts, ``None`` for a failure."""
        rng, rate = self._rng, self._world.plan.discovery_error_rate * 0.6
        hidden = () if self.accurate else self._hidden[asker]
        ids = self._world.server_ids
        contacts = [Contact(server_id, 1) for server_id in ids if server_id not in hidden]
        if rng.random() < (0.0 if self.accurate else rate):
            style = rng.choice(self._styles)
            if style == "error":
                return None
            if style == "unknown":
                contacts += [Contact(f"x{n}", 1) for n in range(1, 2 * _UNKNOWN_SERVERS + 1)]
            elif style == "ports":
                contacts += [Contact(server_id, 2) for server_id in self._world.server_ids]
            else:
                count = rng.randint(0, len(contacts)) if style == "partial" else 0
                contacts = rng.sample(contacts, count)
        return contacts

    @property
    def _styles(self) -> tuple[str, ...]:
        complete = ("error", "unknown", "ports")
        return complete if self._world.plan.complete_views else ("partial", "empty", *complete)


@dataclass(slots=True)
class _Awaited:
    effect: Effect
    to: str


@dataclass(slots=True)
class BootstrapAdapter:
    """One life of a node: its bootstrap, and its replies to calls of other nodes."""

    server: Server
    life: int
    bootstrap: Bootstrap
    rng: random.Random
    _calls: dict[int, _Awaited] = field(default_factory=dict)
    _next_call: int = 1
    #: Replies that wait until the record is durable.
    _replies: list[tuple[str, Reply]] = field(default_factory=list)
    _records: list[BootstrapRecord] = field(default_factory=list)

    @classmethod
    def of(cls, server: Server) -> BootstrapAdapter:
        """Create the adapter from the state on the disk."""
        world, disk = server.world, server.disk
        # The label is part of every recorded seed.
        rng = stream(world.seed, f"founder/{server.id}/{server.lives}")
        facts = BootstrapFacts(server.id, address_of(server.id), CLUSTER, world.plan.expect)

        def new_cluster_id() -> str:
            return f"{server.id}-{rng.getrandbits(32):08x}"

        return cls(
            server, server.lives, Bootstrap(facts, disk.bootstrap_record, new_cluster_id), rng
        )

    @property
    def _alive(self) -> bool:
        return self.server.bootstrap is self

    def _now(self) -> float:
        return self.server.clock.local(self.server.world.scheduler.now)

    def _after(self, delay: float, action: Any, *args: Any) -> None:
        def act() -> None:
            if self._alive:
                action(*args)

        self.server.world.scheduler.after(delay, act)

    def start(self) -> None:
        """Start the bootstrap, or continue as a member."""
        cluster_id = self.server.disk.cluster_id
        if cluster_id:
            self.bootstrap.became_member(self._now(), cluster_id)
        else:
            self._carry_out(self.bootstrap.start(self._now()))
            self._after(_TICK * self.rng.random(), self._tick)

    def _tick(self) -> None:
        if not self.bootstrap.initialised:
            self._carry_out(self.bootstrap.tick(self._now()))
            self._after(_TICK, self._tick)

    # -- effects -------------------------------------------------------------------------

    def _carry_out(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case ListDiscovery():
                    self._after(0.2 * self.rng.random(), self._listed)
                case Probe(contact) if contact.host not in self.server.world.servers:
                    self._after(0.01, self._unreachable, contact)
                case Probe(contact):
                    request = ProbeRequest(
                        self.server.id,
                        CLUSTER,
                        self.bootstrap.cluster_id,
                        address_of(self.server.id),
                    )
                    self._call(effect, contact.host, request, _PROBE_TIMEOUT)
                case SendProposal():
                    self._call(effect, _host(effect.address), effect.request, _CALL_TIMEOUT)
                case SendJoinRequest():
                    own, declared = self.server.id, self.server.declaration
                    request_to_join = JoinRequest(own, address_of(own), CLUSTER, "", True, declared)
                    self._call(effect, _host(effect.address), request_to_join, _CALL_TIMEOUT)
                case StoreRecord(record):
                    self._store(record)
                case StartCluster(cluster_id, configuration):
                    self._start_cluster(cluster_id, configuration)

    def _listed(self) -> None:
        contacts, now = self.server.world.discovery.list(self.server.id), self._now()
        if contacts is None:
            self._carry_out(self.bootstrap.listing_failed(now, "no answer"))
        else:
            self._carry_out(self.bootstrap.contacts_listed(now, contacts))

    def _unreachable(self, contact: Contact) -> None:
        """Answer for addresses outside the cluster: another cluster, or no process."""
        now = self._now()
        if int(contact.host[1:]) > _UNKNOWN_SERVERS:
            self._carry_out(self.bootstrap.probe_failed(now, contact, "no such node"))
            return
        reply = ProbeReply(
            contact.host, "another", "other-id", 3, True, "", "", address_of(contact.host)
        )
        self._carry_out(self.bootstrap.probe_answered(now, contact, reply))

    def _store(self, record: BootstrapRecord) -> None:
        self._records.append(record)
        if len(self._records) == 1:
            self._after(self.server.world.plan.sync_latency, self._stored)

    def _stored(self) -> None:
        if self.server.disk.full:
            self._records.clear()
            self._carry_out(self.bootstrap.failed(self._now(), "the disk is full"))
            return
        record = self._records.pop(0)
        self.server.disk.bootstrap_record = record
        self.server.world.trace.add(f"{self.server.id} stores {record}")
        self._carry_out(self.bootstrap.stored(self._now(), record))
        if self._records:
            self._after(self.server.world.plan.sync_latency, self._stored)
        self._send_replies()

    def _start_cluster(self, cluster_id: str, configuration: Configuration) -> None:
        server = self.server
        server.world.bootstrap.started(server.id, cluster_id, configuration)
        if server.disk.durable.last_index == 0:
            server.disk.repair(lambda image: write_first_entry(image, configuration))
        # After a crash before the cluster id is stored, the same cluster is started once more.
        self._after(server.world.plan.sync_latency, self._become_member, cluster_id)

    def _become_member(self, cluster_id: str) -> None:
        if self.bootstrap.initialised:
            return
        self.server.disk.cluster_id = cluster_id
        self.bootstrap.became_member(self._now(), cluster_id)
        self._send_replies()
        self.server.begin()

    # -- calling -------------------------------------------------------------------------

    def _call(self, effect: Effect, to: str, request: Any, timeout: float) -> None:
        number, self._next_call = self._next_call, self._next_call + 1
        self._calls[number] = _Awaited(effect, to)
        self.server.world.send(Envelope(self.server.id, to, self.life, Call(number, request)))
        self._after(timeout, self.answered, Reply(number, self.life, None))

    def answered(self, reply: Reply) -> None:
        """Process the reply to a call, ``None`` for a timeout."""
        awaited = self._calls.pop(reply.number, None)
        if awaited is None or reply.life != self.life:
            return
        now, outcome, effect = self._now(), reply.outcome, awaited.effect
        why = str(outcome or "no answer")
        match effect:
            case Probe(contact) if isinstance(outcome, ProbeReply):
                self._carry_out(self.bootstrap.probe_answered(now, contact, outcome))
            case Probe(contact):
                self._carry_out(self.bootstrap.probe_failed(now, contact, why))
            case SendProposal() if isinstance(outcome, BootstrapProposalReply):
                self._carry_out(self.bootstrap.proposal_answered(now, effect, outcome))
            case SendProposal():
                self._carry_out(self.bootstrap.proposal_answered(now, effect, None))
            case SendJoinRequest() if isinstance(outcome, JoinReply):
                self.server.world.bootstrap.joined(self.server.id, outcome.cluster_id)
                self._become_member(outcome.cluster_id)
            case SendJoinRequest():
                data = outcome.data if isinstance(outcome, BraftError) else {}
                hint = str(data.get("leader_address", ""))
                self._carry_out(self.bootstrap.join_failed(now, effect.address, why, hint))

    # -- replies -------------------------------------------------------------------------

    def asked(self, envelope: Envelope) -> None:
        """Process a call of another node."""
        call: Call = envelope.payload
        back = (envelope.sender, envelope.life, call.number)
        match call.request:
            case ProbeRequest(address=address):
                self.bootstrap.view.note_incoming_probe(address)
                self._reply(back, self._probed())
            case BootstrapProposal():
                decision = self.bootstrap.proposal_received(self._now(), call.request)
                self._replies.append(
                    (envelope.sender, Reply(call.number, envelope.life, decision.reply))
                )
                self._carry_out(decision.effects)
                self._send_replies()
            case JoinRequest():
                live = self.server.live
                if live is None:
                    self._reply(back, NotReady("the node is not a member yet"))
                else:
                    self.server.post(self._join, live, call.request, back)

    def _send_replies(self) -> None:
        if self.bootstrap.durable is self.bootstrap.record:
            replies, self._replies = self._replies, []
            for to, reply in replies:
                self.server.world.send(Envelope(self.server.id, to, self.life, reply))

    def _reply(self, back: tuple[str, int, int], outcome: Any) -> None:
        to, life, number = back
        reply = Reply(number, life, outcome)
        self.server.world.send(Envelope(self.server.id, to, self.life, reply))

    def _probed(self) -> ProbeReply:
        live = self.server.live
        leader = live.core.leader if live is not None else ""
        return ProbeReply(
            server_id=self.server.id,
            cluster_name=CLUSTER,
            cluster_id=self.bootstrap.cluster_id,
            expect=self.server.world.plan.expect,
            initialised=self.bootstrap.initialised,
            leader_id=leader,
            leader_address=address_of(leader) if leader else "",
            address=address_of(self.server.id),
            voters=len(live.core.configuration.voters) if live is not None else 0,
            empty=live is None or live.core.last_index <= 1,
        )

    def _join(self, live: Process, request: JoinRequest, back: tuple[str, int, int]) -> None:
        core, negotiation = live.core, live.negotiation
        try:
            decision = handle_join(
                request,
                cluster_name=CLUSTER,
                cluster_id=self.bootstrap.cluster_id,
                configuration=core.configuration,
                lacking="" if negotiation is None else negotiation.lacking(request.capabilities),
            )
            if isinstance(decision, Refuse):
                raise decision.error
            if isinstance(decision, AddNonvoter):
                if negotiation is not None:
                    negotiation.adds(decision.server_id, request.capabilities)
                index = core.change_membership("add_nonvoter", decision.server_id, decision.address)
                self._after(_TICK, self._joined, live, index, core.current_term, back, 40)
                return
            if not core.leader:
                raise NotLeader("no leader is known")
        except (NotApplied, Rejected, BraftError) as error:
            if isinstance(error, NotLeader):
                leader = core.leader
                where = address_of(leader) if leader else ""
                error = NotLeader(error.message, leader=leader, leader_address=where)
            self._reply(back, error)
            return
        self._reply_joined(live, back)

    def _joined(
        self, live: Process, index: int, term: int, back: tuple[str, int, int], left: int
    ) -> None:
        """Reply to the newcomer once its addition is committed."""
        if live is not self.server.live or not left:
            return
        core = live.core
        if core.commit_index < index:
            self._after(_TICK, self._joined, live, index, term, back, left - 1)
        elif core.log.term_at(index) in (term, None):
            self._reply_joined(live, back)

    def _reply_joined(self, live: Process, back: tuple[str, int, int]) -> None:
        configuration = encode_configuration(live.core.configuration)
        self._reply(back, JoinReply(self.bootstrap.cluster_id, configuration))


def _host(address: str) -> str:
    return address.partition(":")[0]


def write_first_entry(image: LogImage, configuration: Configuration) -> None:
    """Write the state that a bootstrap leaves on an empty disk."""
    image.hard_state = HardState(1, "")
    data = encode_configuration(configuration)
    image.append(Entry(1, 1, EntryType.CONFIGURATION, data))
