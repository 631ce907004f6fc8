"""A network of nodes in virtual time; a table replaces Raft."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import pytest

from braft_core.abc import Contact, Discovery, DiscoveryContext, Identity
from braft_core.cluster.address_book import contact_at
from braft_core.cluster.interface import MembershipSettings, PeerView, RaftView, Removal
from braft_core.cluster.member_capabilities import MemberCapabilities
from braft_core.cluster.membership import ClusterMembership
from braft_core.cluster.state_comparison import StateComparison
from braft_core.errors import BraftError, Busy, NotLeader, StorageFull, Unreachable
from braft_core.peer import PeerReply, PeerRequest
from braft_core.raft.types import Configuration, Server, Suffrage
from braft_core.services.capabilities import NONE, Capabilities, Signature


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time jumps to the next timer when nothing else is ready."""

    virtual = 1000.0

    def time(self) -> float:
        return self.virtual

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            self.virtual = max(self.virtual, self._scheduled[0]._when)  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]


class Listing(Discovery):
    """A discovery that returns the test's contacts; its watch only polls."""

    name = "listing"

    def __init__(self, contacts: Callable[[], list[Contact]]) -> None:
        super().__init__("", DiscoveryContext("", "", "", 0, 0, 0, ""))
        self.contacts = contacts
        self.stopped = 0

    async def discover(self) -> list[Contact]:
        await asyncio.sleep(0.001)
        return self.contacts()

    async def stop(self) -> None:
        self.stopped += 1


#: The capabilities of every node, unless a test sets others.
SOME = Capabilities(1, frozenset({1, 2}), frozenset({1}), {"kv": {"put": Signature(3, 3)}}, {})


@dataclass
class Table:
    """Replaces the replicated state: one cluster and its configuration."""

    configuration: Configuration
    pending: bool = False
    changes: list[tuple[str, str, str]] = field(default_factory=list)
    removals: list[Removal] = field(default_factory=list)
    agreed: Capabilities = NONE
    agreements: list[Capabilities] = field(default_factory=list)


class Host:
    """One machine: its disk, its address, and the process on it. Implements the ports."""

    def __init__(self, net: Net, server_id: str, address: str, **settings: Any) -> None:
        self.net, self.server_id, self.address = net, server_id, address
        self._settings = MembershipSettings("c", **settings)
        self.disk: bytes | None = None
        self.member_of = ""
        self.disk_full = False
        self.written = False
        self.looks_written = False
        self.book: dict[str, str] = {}
        #: The configuration that this machine had when it was removed.
        self.outdated: Configuration | None = None
        self.campaign_enabled = True
        self.capabilities = SOME
        self.member_capabilities = MemberCapabilities()
        self.state_comparison = StateComparison(server_id)
        self.membership: ClusterMembership | None = None
        self._identity = Identity(server_id, address)
        #: The contacts that its discovery lists.
        self.sees: Callable[[], list[Contact]] = net.listed
        self.listing = Listing(lambda: self.sees())

    async def boot(self, discovery: bool = True) -> ClusterMembership:
        self._identity = Identity(self.server_id, self.address, self.member_of)
        self.listing = Listing(lambda: self.sees())
        self.member_capabilities = MemberCapabilities()
        self.membership = ClusterMembership(
            self,
            self.listing if discovery else None,
            lambda: f"cluster-{next(self.net.ids)}",
            self.abandon,
        )
        self.net.hosts[self.address] = self
        await self.membership.start()
        return self.membership

    async def halt(self) -> None:
        if self.membership is not None:
            await self.membership.stop()
        self.membership = None
        self.net.down_since[self.server_id] = self.now()
        self.net.hosts.pop(self.address, None)

    def move(self, address: str) -> None:
        """Move the running process to another address and notify it."""
        assert self.membership is not None
        del self.net.hosts[self.address]
        self.address = address
        self._identity = replace(self._identity, address=address)
        self.net.hosts[address] = self
        self.membership.move(address.rpartition(":")[0])

    def _become_member(self, cluster_id: str) -> None:
        self.member_of = cluster_id
        self._identity = replace(self._identity, cluster_id=cluster_id)

    async def abandon(self) -> None:
        await asyncio.sleep(0.01)
        if self.written:
            raise Busy("something was written meanwhile")
        self._become_member("")

    # -- MembershipHost ---------------------------------------------------------------------

    @property
    def identity(self) -> Identity:
        return self._identity

    @property
    def settings(self) -> MembershipSettings:
        return self._settings

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def load_bootstrap_record(self) -> bytes | None:
        return self.disk

    async def store_bootstrap_record(self, record: bytes) -> None:
        await asyncio.sleep(0.001)
        if self.disk_full:
            raise StorageFull("no space left")
        self.disk = record

    async def start_raft(self, cluster_id: str, configuration: Configuration | None) -> None:
        await asyncio.sleep(0.01)
        if self.disk_full:
            raise StorageFull("no space left")
        if configuration is not None:
            self.net.tables.setdefault(cluster_id, Table(configuration))
        self._become_member(cluster_id)

    async def call(self, address: str, request: PeerRequest, timeout: float) -> PeerReply:
        await asyncio.sleep(0.001)
        peer = self.net.hosts.get(address)
        if peer is None or peer.membership is None:
            raise Unreachable(f"{address}: connection refused", sent=False)
        self.net.calls.append((self.server_id, address, request))
        async with asyncio.timeout(timeout):
            return await peer.membership.on_call(request)

    def raft_view(self) -> RaftView:
        table = self.net.tables.get(self.member_of)
        if table is None:
            return RaftView()
        leader = self.net.leader(self.member_of)
        if table.configuration.get(self.server_id) is None:
            # The leader sends nothing to a removed server, so its configuration is outdated.
            return RaftView(configuration=self.outdated or table.configuration)
        peers = {
            s.id: PeerView(self.net.silence(s.id), 10)
            for s in table.configuration.servers
            if s.id != self.server_id
        }
        return RaftView(
            configuration=table.configuration,
            leader_id=leader.server_id if leader else "",
            leader_address=leader.address if leader else "",
            is_leader=leader is self,
            has_quorum=leader is self,
            change_pending=table.pending,
            last_index=10,
            empty=not self.looks_written,
            peers=peers,
        )

    async def change_membership(self, kind: str, server_id: str, address: str) -> None:
        table = self.net.tables[self.member_of]
        if self.net.leader(self.member_of) is not self:
            raise NotLeader("not the leader")
        if table.pending:
            raise Busy("a change is pending")
        table.pending = True
        await asyncio.sleep(0.005)
        table.pending = False
        table.changes.append((kind, server_id, address))
        suffrage = Suffrage.NONVOTER if kind == "add_nonvoter" else Suffrage.VOTER
        servers = [s for s in table.configuration.servers if s.id != server_id]
        if kind != "remove_server":
            servers.append(Server(server_id, address, suffrage))
        table.configuration = Configuration(tuple(servers))

    @property
    def agreed(self) -> Capabilities:
        table = self.net.tables.get(self.member_of)
        return table.agreed if table is not None else NONE

    def compare_states(self) -> None:
        self.state_comparison.compare(self.raft_view().configuration)

    async def agree(self, capabilities: Capabilities) -> None:
        table = self.net.tables[self.member_of]
        if self.net.leader(self.member_of) is not self:
            raise NotLeader("not the leader")
        await asyncio.sleep(0.005)
        table.agreed = capabilities
        table.agreements.append(capabilities)

    def removals(self) -> list[Removal]:
        table = self.net.tables.get(self.member_of)
        return list(table.removals) if table is not None else []

    async def record_removal(self, server: Server, voters: int, reason: str) -> None:
        table = self.net.tables[self.member_of]
        if self.net.leader(self.member_of) is not self:
            raise NotLeader("not the leader")
        await asyncio.sleep(0.005)
        table.removals = [r for r in table.removals if r.server_id != server.id]
        index = next(self.net.ids)
        table.removals.append(Removal(index, server.id, server.address, voters, reason))

    def set_campaign_enabled(self, enabled: bool) -> None:
        self.campaign_enabled = enabled

    def set_address(self, server_id: str, address: str) -> None:
        self.book[server_id] = address


class Net:
    """The network: reachable hosts by address, and the contacts of discovery."""

    def __init__(self) -> None:
        self.ids = count(1)
        self.hosts: dict[str, Host] = {}
        self.tables: dict[str, Table] = {}
        self.calls: list[tuple[str, str, PeerRequest]] = []
        self.addresses: list[str] = []
        self.listing_error: Exception | None = None
        self.down_since: dict[str, float] = {}
        #: Running servers from which Raft receives nothing, and since when.
        self.mute: dict[str, float] = {}

    def listed(self) -> list[Contact]:
        if self.listing_error is not None:
            raise self.listing_error
        return [contact_at(address) for address in self.addresses]

    def host(self, server_id: str, address: str, **settings: Any) -> Host:
        return Host(self, server_id, address, **settings)

    def is_up(self, server_id: str) -> bool:
        return any(h.server_id == server_id and h.membership for h in self.hosts.values())

    def silence(self, server_id: str) -> float:
        """Return the seconds since Raft heard from that server."""
        now = asyncio.get_running_loop().time()
        if server_id in self.mute:
            return now - self.mute[server_id]
        return 0.0 if self.is_up(server_id) else now - self.down_since.get(server_id, 0.0)

    def leader(self, cluster_id: str) -> Host | None:
        """Return the smallest voter, if a majority of voters runs and knows its address."""
        configuration = self.tables[cluster_id].configuration
        running = {h.server_id: h for h in self.hosts.values() if h.member_of == cluster_id}
        up = [running[v] for v in configuration.voters if v in running]
        if 2 * len(up) <= len(configuration.voters):
            return None
        leader = min(up, key=lambda h: h.server_id)
        found = [h for h in up if h.book.get(leader.server_id) == leader.address or h is leader]
        return leader if 2 * len(found) > len(configuration.voters) else None


async def until(condition: Callable[[], object], seconds: float = 10.0) -> float:
    """Wait in virtual time; return how long it took."""
    loop = asyncio.get_running_loop()
    begin = loop.time()
    while not condition():
        assert loop.time() - begin < seconds, f"not within {seconds} s"
        await asyncio.sleep(0.01)
    return loop.time() - begin


Scenario = Callable[[Net], Coroutine[Any, Any, None]]


@pytest.fixture
def play() -> Callable[[Scenario], Net]:
    """Run a scenario in virtual time, halt every host, and check that nothing goes on."""

    def run(scenario: Scenario) -> Net:
        net = Net()

        async def whole() -> None:
            try:
                await scenario(net)
            finally:
                for host in list(net.hosts.values()):
                    with contextlib.suppress(BraftError):
                        await host.halt()
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, f"tasks left: {left}"

        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(whole())
        return net

    return run


@pytest.fixture
def wait() -> Callable[..., Coroutine[Any, Any, float]]:
    """Return ``wait(condition, seconds)``, which returns the virtual seconds that it waited."""
    return until
