"""An attacker announces 3,000 nodes: the cluster still forms, serves and stays small."""

from __future__ import annotations

import asyncio
import selectors
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from braft_core import Node
from braft_core.abc import Contact
from braft_core.cluster.bootstrap import Bootstrap
from braft_core.cluster.bootstrap_effects import ListDiscovery, Probe, SendProposal, StoreRecord
from braft_core.cluster.bootstrap_facts import BootstrapFacts
from braft_core.cluster.bootstrap_record import EMPTY_RECORD
from braft_core.cluster.discovery_view import MAX_PROBED
from braft_core.cluster.probe_slots import MAX_LISTED, MAX_SLOTS
from braft_core.cluster.probes import MAX_CALLS, Prober
from braft_core.cluster.timing import DEFAULT_TIMING
from braft_core.errors import Unreachable
from braft_core.local_nodes import free_ports
from braft_core.peer import PeerReply, PeerRequest, ProbeReply, ProbeRequest
from braft_static.discovery import StaticDiscovery
from braft_testing.processes import PATIENCE, wait_for

NAMES = 3000
STRANGERS = [Contact(f"10.0.{n // 250 + 1}.{n % 250 + 1}", 15000) for n in range(NAMES)]
WHERE = {"a": "10.0.0.1", "b": "10.0.0.2", "c": "10.0.0.3"}
#: Seconds after which a probe without an answer fails.
TIMEOUT = 1.0

both_transports = pytest.mark.parametrize("transport", ["grpc", "tcp"])


class Hall:
    """A node that bootstraps in virtual time, among false contacts that never answer."""

    def __init__(self, contacts: list[Contact]) -> None:
        facts = BootstrapFacts("a", f"{WHERE['a']}:15000", "c", 3, salt="salt")
        self.bootstrap = Bootstrap(facts, EMPTY_RECORD, lambda: "fresh")
        self.contacts = contacts
        self.now = 0.0
        self.most_in_flight = self.most_known = 0
        self.probes: Counter[Contact] = Counter()
        self.proposed_at = 0.0
        self._in_flight: list[tuple[float, Contact]] = []

    def run(self, seconds: float) -> None:
        """Advance time until the node proposes a cluster, at most so far."""
        self._perform(self.bootstrap.start(self.now))
        while self.now < seconds and not self.proposed_at:
            self.now += 0.05
            for end, contact in [each for each in self._in_flight if each[0] <= self.now]:
                self._in_flight.remove((end, contact))
                self._perform(self._outcome(contact))
            self._perform(self.bootstrap.tick(self.now))
            self.most_known = max(self.most_known, len(self.bootstrap.view.contact_states))

    def _outcome(self, contact: Contact) -> Any:
        server_id = next((i for i, host in WHERE.items() if host == contact.host), "")
        if not server_id:
            return self.bootstrap.probe_failed(self.now, contact, "no answer")
        reply = ProbeReply(server_id, "c", "", 3, False, "", "", str(contact))
        return self.bootstrap.probe_answered(self.now, contact, reply)

    def _perform(self, effects: Any) -> None:
        for effect in effects:
            if isinstance(effect, Probe):
                self.probes[effect.contact] += 1
                known = effect.contact.host in WHERE.values()
                self._in_flight.append((self.now + (0.02 if known else TIMEOUT), effect.contact))
                self.most_in_flight = max(self.most_in_flight, len(self._in_flight))
            elif isinstance(effect, ListDiscovery):
                self._perform(self.bootstrap.contacts_listed(self.now, self.contacts))
            elif isinstance(effect, StoreRecord | SendProposal):
                self.proposed_at = self.proposed_at or self.now


@pytest.mark.parametrize("place", [0, 500, MAX_LISTED - 3])
def test_a_cluster_forms_among_3000_silent_contacts(place: int) -> None:
    honest = [Contact(host, 15000) for host in WHERE.values()]
    hall = Hall([*STRANGERS[:place], *honest, *STRANGERS[place:]])
    hall.run(300.0)
    assert hall.proposed_at, hall.bootstrap.waiting(hall.now)
    assert hall.most_in_flight <= MAX_PROBED
    assert hall.most_known <= MAX_SLOTS + len(honest)  # the members of a proposal stay in the table
    assert hall.proposed_at < 150


def test_many_names_of_one_address_delay_nothing() -> None:
    honest = [Contact(host, 15000) for host in WHERE.values()]
    hall = Hall([*(Contact("10.0.9.9", 2000 + n) for n in range(900)), *honest])
    hall.run(60.0)
    assert 0 < hall.proposed_at < 15


def test_who_does_not_answer_is_probed_ever_more_seldom() -> None:
    hall = Hall([Contact(WHERE["a"], 15000), *STRANGERS[:10]])
    hall.run(60.0)
    assert not hall.proposed_at
    for stranger in STRANGERS[:10]:
        assert hall.probes[stranger] <= 60 / (DEFAULT_TIMING.contact_retry_max + TIMEOUT) + 6
    hall.bootstrap.view.note_incoming_probe(str(STRANGERS[0]))
    assert Probe(STRANGERS[0]) in hall.bootstrap.tick(hall.now) or hall.probes[STRANGERS[0]]


def test_a_member_probes_few_at_a_time_and_silent_ones_seldom() -> None:
    now, open_now, most = 0.0, 0, 0
    asked: Counter[str] = Counter()

    async def call(address: str, request: PeerRequest, timeout: float) -> PeerReply:
        nonlocal open_now, most
        asked[address] += 1
        open_now += 1
        most = max(most, open_now)
        await asyncio.sleep(0)
        open_now -= 1
        raise Unreachable(f"{address}: nobody", sent=False)

    async def rounds() -> None:
        nonlocal now
        prober = Prober(call, lambda: ProbeRequest("a", "c", "x", "10.0.0.1:1"), lambda: now, 1.0)
        for _ in range(120):  # ten minutes, one round every five seconds
            await prober.probe_all(c for c in STRANGERS[:MAX_SLOTS] if prober.is_due(c))
            now += 5.0

    asyncio.run(rounds())
    assert most == MAX_CALLS
    assert len(asked) == MAX_SLOTS
    assert max(asked.values()) <= 15


class Tarpit:
    """Accepts connections on one port of every address of 127/8, and never sends anything."""

    def __init__(self) -> None:
        self.open = self.most_open = self.accepted = 0
        self._listener = socket.create_server(("0.0.0.0", 0), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        self._wake, self._waker = socket.socketpair()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._waker.close()
        self._thread.join()
        self._listener.close()
        self._wake.close()

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._wake, selectors.EVENT_READ)
            guests: set[socket.socket] = set()
            while True:
                for key, _ in selector.select():
                    ready: Any = key.fileobj
                    if ready is self._wake:
                        for guest in guests:
                            guest.close()
                        return
                    if ready is self._listener:
                        guest, _address = self._listener.accept()
                        guests.add(guest)
                        selector.register(guest, selectors.EVENT_READ)
                        self.accepted += 1
                    elif not _reads(ready):
                        selector.unregister(ready)
                        guests.discard(ready)
                        ready.close()
                self.open = len(guests)
                self.most_open = max(self.most_open, self.open)


def _reads(guest: socket.socket) -> bool:
    try:
        return bool(guest.recv(65536))
    except OSError:
        return False


@pytest.fixture
def tarpit() -> Iterator[Tarpit]:
    made = Tarpit()
    yield made
    made.close()


@both_transports
def test_a_node_serves_and_holds_few_connections_while_3000_names_are_listed(
    transport: str, tarpit: Tarpit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rport, dport, hport = free_ports(3)
    names = [Contact(f"127.0.{n // 250 + 1}.{n % 250 + 1}", tarpit.port) for n in range(NAMES)]

    async def discover(_discovery: StaticDiscovery) -> list[Contact]:
        return [*names[:500], Contact("127.0.0.1", rport), *names[500:]]

    monkeypatch.setattr(StaticDiscovery, "discover", discover)
    with Node(
        data_dir=str(tmp_path / "d"),
        discovery=f"static:127.0.0.1:{rport}",
        transport=transport,
        expect=1,
        rport=rport,
        dport=dport,
        hport=hport,
    ) as node:
        node.kv.put("m", "k", 1, timeout=PATIENCE)
        wait_for(lambda: tarpit.accepted > MAX_SLOTS, PATIENCE)
        assert node.kv.get("m", "k") == 1
    # The current probes, and connections of earlier ones that are not closed yet.
    assert tarpit.most_open <= 2 * MAX_SLOTS
