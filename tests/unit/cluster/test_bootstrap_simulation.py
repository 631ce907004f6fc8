"""Uninitialised nodes with wrong discovery, message loss and crashes form only one cluster."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterable
from itertools import count
from typing import Any

import pytest

from braft_core.abc import Contact
from braft_core.cluster.address_book import contact_at
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
from braft_core.cluster.bootstrap_record import (
    EMPTY_RECORD,
    BootstrapRecord,
    decode_record,
    encode_record,
)
from braft_core.peer import BootstrapProposalReply, ProbeReply

TICK = 0.05
CALL_TIMEOUT = 1.0


class Machine:
    """One host: its durable state, and the process on it, if it is up."""

    def __init__(self, world: World, server_id: str, address: str) -> None:
        self.world, self.server_id, self.address = world, server_id, address
        self.disk = encode_record(EMPTY_RECORD)
        self.member_of = ""
        self.life = 0
        self.bootstrap: Bootstrap | None = None
        self.history: list[BootstrapRecord] = [EMPTY_RECORD]
        self.number = world.random.randrange(2)

    @property
    def up(self) -> bool:
        return self.bootstrap is not None

    def boot(self) -> None:
        self.life += 1
        world = self.world
        facts = BootstrapFacts(
            self.server_id, self.address, "c", world.expect, sleep=world.random.uniform(0, 0.1)
        )
        record = decode_record(self.disk)
        self.bootstrap = Bootstrap(facts, record, lambda: f"cluster-{next(world.cluster_ids)}")
        if self.member_of:
            self.bootstrap.became_member(world.now, self.member_of)
            return
        self.run(self.bootstrap.start(world.now))
        self.tick(self.life)

    def crash(self) -> None:
        self.life += 1
        self.bootstrap = None

    def tick(self, life: int) -> None:
        if self.bootstrap and life == self.life:
            self.run(self.bootstrap.tick(self.world.now))
            self.world.after(TICK, lambda: self.tick(life))

    def later(self, delay: float, act: Callable[[Bootstrap], Iterable[Effect] | None]) -> None:
        """Schedule an action that is dropped if the process ends earlier."""
        life = self.life

        def run() -> None:
            if self.bootstrap and life == self.life:
                self.run(act(self.bootstrap) or ())

        self.world.after(delay, run)

    def probe_reply(self, asker: str) -> ProbeReply:
        assert self.bootstrap
        self.bootstrap.view.note_incoming_probe(asker)
        return ProbeReply(
            self.server_id,
            "c",
            self.bootstrap.cluster_id,
            self.world.expect,
            self.bootstrap.initialised,
            "",
            "",
            self.address,
        )

    def run(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            self.perform(effect)

    def perform(self, effect: Effect) -> None:
        world, now = self.world, self.world.now
        match effect:
            case ListDiscovery():
                self.later(world.random.uniform(0, 0.1), self.listing)
            case Probe(contact):
                self.call(
                    str(contact),
                    lambda peer: peer.probe_reply(self.address),
                    lambda f, reply: f.probe_answered(world.now, contact, reply),
                    lambda f: f.probe_failed(world.now, contact, "no answer"),
                )
            case StoreRecord():
                self.later(world.delay(), lambda f: self.store(f, f.record))
            case SendProposal():
                self.propose(effect)
            case StartCluster(cluster_id, _):
                self.later(world.random.uniform(0, 0.05), lambda f: self.join(f, cluster_id))
            case SendJoinRequest(address, cluster_id):
                self.call(
                    address,
                    lambda peer: peer.member_of,
                    lambda f, found: (
                        self.join(f, cluster_id)
                        if found == cluster_id
                        else f.join_failed(world.now, address, "not there")
                    ),
                    lambda f: f.join_failed(world.now, address, "no answer"),
                )
        assert now == world.now

    def listing(self, bootstrap: Bootstrap) -> list[Effect]:
        contacts = self.world.discover(self)
        if contacts is None:
            return bootstrap.listing_failed(self.world.now, "the API is down")
        return bootstrap.contacts_listed(self.world.now, contacts)

    def store(self, bootstrap: Bootstrap, record: BootstrapRecord) -> list[Effect]:
        self.disk = encode_record(record)
        self.history.append(record)
        return bootstrap.stored(self.world.now, record)

    def join(self, bootstrap: Bootstrap, cluster_id: str) -> list[Effect]:
        self.member_of = cluster_id
        self.world.started.setdefault(cluster_id, set()).add(self.server_id)
        bootstrap.became_member(self.world.now, cluster_id)
        self.world.check()
        return []

    def propose(self, effect: SendProposal) -> None:
        """Send a proposal; as in a real node, the peer replies when its record is durable."""
        world = self.world

        def answer(peer: Machine) -> BootstrapProposalReply:
            assert peer.bootstrap
            decision = peer.bootstrap.proposal_received(world.now, effect.request)
            if not peer.bootstrap.initialised:
                peer.run(peer.store(peer.bootstrap, peer.bootstrap.record))
            peer.run([e for e in decision.effects if not isinstance(e, StoreRecord)])
            return decision.reply

        self.call(
            effect.address,
            answer,
            lambda f, reply: f.proposal_answered(world.now, effect, reply),
            lambda f: f.proposal_answered(world.now, effect, None),
        )

    def call(
        self,
        address: str,
        ask: Callable[[Machine], Any],
        answered: Callable[[Bootstrap, Any], Iterable[Effect] | None],
        failed: Callable[[Bootstrap], Iterable[Effect] | None],
    ) -> None:
        """Send a request and its reply, each of which may be lost or late."""
        world, life = self.world, self.life
        open_calls = [True]

        def finish(act: Callable[[Bootstrap], Iterable[Effect] | None]) -> None:
            if open_calls and self.bootstrap and life == self.life:
                open_calls.clear()
                self.run(act(self.bootstrap) or ())

        def arrive() -> None:
            peer = world.by_address.get(address)
            if peer is None or not peer.up:
                world.after(world.delay(), lambda: finish(failed))
                return
            reply = ask(peer)
            if not world.lost(self, peer):
                world.after(world.delay(), lambda: finish(lambda f: answered(f, reply)))

        target = world.by_address.get(address)
        if target is None or not world.lost(self, target):
            world.after(world.delay(), arrive)
        world.after(CALL_TIMEOUT, lambda: finish(failed))


class World:
    """Virtual time, the network between the machines, and discovery."""

    def __init__(self, seed: int, nodes: int, expect: int, chaos: float) -> None:
        self.seed, self.random = seed, random.Random(seed)
        self.expect, self.chaos, self.now = expect, chaos, 0.0
        self.loss = self.random.choice((0.0, 0.02, 0.2))
        self.splits = self.random.random() < 0.5
        self.crash_every = self.random.choice((2.0, 10.0, 100.0))
        self.lie_lasts = self.random.choice((3.0, chaos + 1))
        self.cluster_ids = count(1)
        self.started: dict[str, set[str]] = {}
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        names = [f"id-{chr(97 + i)}" for i in range(nodes)]
        self.random.shuffle(names)
        self.machines = [Machine(self, n, f"10.0.0.{i}:15000") for i, n in enumerate(names, 1)]
        #: Two overlapping groups of nodes, each of which sees only itself.
        self.camps: list[list[Machine]] = []
        self.by_address = {m.address: m for m in self.machines}

    def after(self, delay: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + delay, next(self._order), act))

    def delay(self) -> float:
        if self.now < self.chaos:
            return self.random.choice((0.002, 0.05, 0.6)) * self.random.random()
        return self.random.uniform(0.0005, 0.005)

    def lost(self, one: Machine, other: Machine) -> bool:
        """Return whether a message is lost; during a split, all between its sides are."""
        if self.now >= self.chaos:
            return False
        sides = [
            random.Random(f"{self.seed} {m.server_id} {int(self.now / 4)}").randrange(2)
            for m in (one, other)
        ]
        return (self.splits and sides[0] != sides[1]) or self.random.random() < self.loss

    def discover(self, asker: Machine) -> list[Contact] | None:
        contacts = [contact_at(m.address) for m in self.machines]
        if self.now >= self.chaos:
            return contacts
        if self.camps:
            mine = [camp for camp in self.camps if asker in camp] or self.camps
            return [contact_at(m.address) for m in mine[asker.number % len(mine)]]
        # Wrong listings last for seconds and differ from node to node.
        lie = random.Random(f"{self.seed} {asker.server_id} {int(self.now / self.lie_lasts)}")
        if lie.random() < 0.05:
            return None
        return lie.sample(contacts, lie.randint(self.expect - 1, len(contacts)))

    def run(self, until: float, done: Callable[[], bool] = lambda: False) -> None:
        while self._events and self._events[0][0] <= until and not done():
            self.now, _, act = heapq.heappop(self._events)
            act()

    def misbehave(self) -> None:
        """Boot in any order; crash and restart during the chaos; all up at its end."""
        for machine in self.machines:
            at = self.random.choice((0.0, self.chaos / 2)) * self.random.random()
            self.after(at, machine.boot)
            while True:
                at += self.random.expovariate(1 / self.crash_every) + 0.01
                again = at + self.random.uniform(0.01, 2.0)
                if again >= self.chaos:
                    break
                self.after(at, machine.crash)
                self.after(again, machine.boot)
                at = again

    def divide(self) -> None:
        """Boot all at once, in two camps that share nodes; nothing else goes wrong."""
        self.loss, self.splits = 0.0, False
        ordered = sorted(self.machines, key=lambda m: m.server_id)
        self.camps = [ordered[: self.expect], ordered[-self.expect :]]
        for machine in self.machines:
            self.after(self.random.uniform(0, 0.1), machine.boot)
        self.after(self.chaos, self.camps.clear)

    def check(self) -> None:
        if len(self.machines) < 2 * self.expect:
            assert len(self.started) <= 1, f"rival clusters: {self.started}"

    def excuses(self) -> list[str]:
        return [m.bootstrap.waiting(self.now) for m in self.machines if m.bootstrap]

    def whole(self) -> bool:
        return len(self.started) > 0 and all(m.member_of for m in self.machines)


def acceptances(machine: Machine) -> list[str]:
    """Return the accepted cluster ids in order; each but the last must have been rejected."""
    accepted: list[str] = []
    for old, new in zip(machine.history, machine.history[1:], strict=False):
        assert set(old.rejected) <= set(new.rejected)
        if old.accepted and new.accepted != old.accepted:
            assert old.accepted.cluster_id in new.rejected
        if new.accepted and new.accepted != old.accepted:
            assert new.accepted.cluster_id not in old.rejected
            accepted.append(new.accepted.cluster_id)
    return accepted


@pytest.mark.parametrize(("nodes", "expect"), [(2, 2), (3, 3), (3, 2), (4, 3), (5, 3), (1, 1)])
@pytest.mark.parametrize("batch", range(3))
def test_any_chaos_ends_in_one_cluster(nodes: int, expect: int, batch: int) -> None:
    for seed in range(batch * 10, batch * 10 + 10):
        world = World(seed, nodes, expect, chaos=12.0)
        world.misbehave()
        world.run(until=world.chaos + 60, done=world.whole)
        assert world.whole(), f"seed {seed}: {world.excuses()}"
        assert world.now <= world.chaos + 20, f"seed {seed}: formed only at {world.now}"
        assert len(world.started) == 1, f"seed {seed}"
        (cluster_id,) = world.started
        for machine in world.machines:
            assert set(acceptances(machine)) - set(decode_record(machine.disk).rejected) <= {
                cluster_id
            }


@pytest.mark.parametrize(("nodes", "expect"), [(3, 2), (4, 3), (5, 3), (7, 4)])
def test_rival_proposals_of_overlapping_groups_end_in_one_cluster(nodes: int, expect: int) -> None:
    rivals = 0
    for seed in range(30):
        world = World(seed, nodes, expect, chaos=5.0)
        world.divide()
        world.run(until=30, done=world.whole)
        assert world.whole(), f"seed {seed}: {world.excuses()}"
        assert len(world.started) == 1, f"seed {seed}"
        rivals += next(world.cluster_ids) > 2
    assert rivals, "no seed made the camps make_proposal rival proposals"


@pytest.mark.parametrize(("nodes", "expect"), [(2, 1), (6, 3), (7, 2), (5, 1)])
def test_a_truthful_view_forms_one_cluster_of_any_size(nodes: int, expect: int) -> None:
    for seed in range(10):
        world = World(seed, nodes, expect, chaos=0.0)
        for machine in world.machines:
            world.after(world.random.uniform(0, 0.05), machine.boot)
        world.run(until=30, done=world.whole)
        assert world.whole(), f"seed {seed}: {world.excuses()}"
        assert len(world.started) == 1, f"seed {seed}: {world.started}"


@pytest.mark.parametrize("gap", [0.0, 0.4, 2.5])
def test_three_static_nodes_form_soon_after_the_last_is_up(gap: float) -> None:
    for seed in range(10):
        world = World(seed, 3, 3, chaos=0.0)
        for i, machine in enumerate(world.machines):
            world.after(i * gap, machine.boot)
        world.run(until=30, done=world.whole)
        assert world.whole(), f"seed {seed}: {world.excuses()}"
        assert world.now <= 2 * gap + 1.2, f"seed {seed}: {world.now}"
