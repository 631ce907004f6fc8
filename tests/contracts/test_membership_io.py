"""The I/O of membership: what is stored before it is answered, what is asked again, who is called.

The pure decisions have their own tests; here they are a record of what they were given.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from braft_core.abc import Identity
from braft_core.cluster.background_tasks import BackgroundTasks
from braft_core.cluster.bootstrap_effects import SendJoinRequest
from braft_core.cluster.bootstrap_io import BootstrapRunner
from braft_core.cluster.bootstrap_record import EMPTY_RECORD, BootstrapRecord, decode_record
from braft_core.cluster.membership import ClusterMembership
from braft_core.cluster.timing import ClusterTiming
from braft_core.errors import BraftError, NotLeader, StorageError, StorageFull
from braft_core.peer import BootstrapProposal, BootstrapProposalReply, JoinReply
from braft_core.raft import Configuration, Server
from braft_core.runtime.peer_addresses import PeerAddresses
from braft_testing.processes import PATIENCE

ACCEPTED, NEWER = BootstrapRecord(None, ("one",)), BootstrapRecord(None, ("one", "two"))


class Decisions:
    """Stands for the pure bootstrap: notes what it is given, in order."""

    initialised = False

    def __init__(self) -> None:
        self.record = self.durable = EMPTY_RECORD
        self.view = SimpleNamespace(unprobed=0, contacts=(), listing_failure="", replies=list)
        self.given: list[Any] = []
        #: What follows from the next fact of that name.
        self.follows: dict[str, list[Any]] = {}

    def stored(self, _now: float, record: BootstrapRecord) -> list[Any]:
        self.durable = record
        self.given.append(("stored", record))
        return []

    def proposal_received(self, _now: float, request: BootstrapProposal) -> Any:
        self.record = ACCEPTED
        reply = BootstrapProposalReply(True, "cl", b"", "")
        return SimpleNamespace(effects=[], reply=reply)

    def __getattr__(self, name: str) -> Callable[..., list[Any]]:
        def note(_now: float, *facts: Any) -> list[Any]:
            self.given.append((name, *facts))
            return self.follows.pop(name, [])

        return note


class Host:
    """Stands for the node: a disk that can be held, and one peer."""

    def __init__(self) -> None:
        self.identity = Identity("a", "a:1")
        self.settings = SimpleNamespace(
            timing=ClusterTiming(listing_timeout=0.001),
            cluster_name="c",
            voter=True,
            call_timeout=5.0,
        )
        self.capabilities = SimpleNamespace(encode=lambda: b"")
        self.stored: list[BootstrapRecord] = []
        self.disk_is_free = asyncio.Event()
        self.disk_is_free.set()
        self.failure: StorageError | None = None
        self.reply: Any = None
        self.started: list[str] = []

    def now(self) -> float:
        return 1.0

    async def store_bootstrap_record(self, record: bytes) -> None:
        await self.disk_is_free.wait()
        if self.failure is not None:
            raise self.failure
        self.stored.append(decode_record(record))

    async def call(self, _address: str, _request: object, _timeout: float) -> Any:
        if isinstance(self.reply, BraftError):
            raise self.reply
        return self.reply

    async def start_raft(self, cluster_id: str, _configuration: object) -> None:
        self.started.append(cluster_id)


class Discovery:
    """Fails or lists, as it is told."""

    unresolved = ()

    def __init__(self) -> None:
        self.listings: list[Any] = []

    async def discover(self) -> Any:
        found = self.listings.pop(0)
        if isinstance(found, Exception):
            raise found
        return await found if isinstance(found, asyncio.Future) else found


Scenario = Callable[[BootstrapRunner, Host, Decisions, Discovery], Awaitable[None]]


def run(scenario: Scenario) -> None:
    async def main() -> None:
        host, decisions, discovery, tasks = Host(), Decisions(), Discovery(), BackgroundTasks()
        runner = BootstrapRunner(
            cast("Any", host),
            cast("Any", decisions),
            cast("Any", None),
            cast("Any", discovery),
            tasks,
            lambda: decisions.given.append(("is a member",)),
        )
        try:
            await scenario(runner, host, decisions, discovery)
        finally:
            await tasks.cancel()

    asyncio.run(main())


async def turn() -> None:
    """Let the loop do everything that waits for nothing."""
    for _ in range(6):
        await asyncio.sleep(0)


PROPOSAL = BootstrapProposal("c", "cl", b"", "b")


def test_a_proposal_is_answered_after_the_decision_is_stored() -> None:
    async def scenario(
        runner: BootstrapRunner, host: Host, decisions: Decisions, _: Discovery
    ) -> None:
        host.disk_is_free.clear()
        answering = asyncio.ensure_future(runner.answer(PROPOSAL))
        await turn()
        assert not answering.done()
        host.disk_is_free.set()
        assert (await answering).accepted
        assert host.stored == [ACCEPTED]
        assert decisions.durable is ACCEPTED

    run(scenario)


def test_a_proposal_is_not_answered_if_the_decision_cannot_be_stored() -> None:
    async def scenario(
        runner: BootstrapRunner, host: Host, decisions: Decisions, _: Discovery
    ) -> None:
        host.failure = StorageFull("no space")
        with pytest.raises(StorageFull):
            await runner.answer(PROPOSAL)
        assert decisions.durable is EMPTY_RECORD
        assert decisions.given[0][0] == "failed"

    run(scenario)


def test_a_record_that_changes_during_the_write_is_stored_after_it() -> None:
    async def scenario(
        runner: BootstrapRunner, host: Host, decisions: Decisions, _: Discovery
    ) -> None:
        host.disk_is_free.clear()
        answering = asyncio.ensure_future(runner.answer(PROPOSAL))
        await turn()
        decisions.record = NEWER
        host.disk_is_free.set()
        await answering
        assert host.stored == [ACCEPTED, NEWER]
        assert decisions.given == [("stored", ACCEPTED), ("stored", NEWER)]

    run(scenario)


def test_a_failed_listing_is_no_empty_one_and_the_next_is_made() -> None:
    async def scenario(
        runner: BootstrapRunner, _host: Host, decisions: Decisions, discovery: Discovery
    ) -> None:
        discovery.listings = [OSError("no network"), ["b:1"], []]
        for _ in range(3):
            runner.search()
            runner.search()  # one is under way
            await turn()
        assert decisions.given == [
            ("listing_failed", "no network"),
            ("contacts_listed", ["b:1"], ()),
            ("contacts_listed", [], ()),
        ]
        assert discovery.listings == []

    run(scenario)


def test_a_listing_that_hangs_ends_and_the_next_is_made() -> None:
    async def scenario(
        runner: BootstrapRunner, _host: Host, decisions: Decisions, discovery: Discovery
    ) -> None:
        never: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        discovery.listings = [never, ["b:1"]]
        runner.search()
        async with asyncio.timeout(PATIENCE):
            await asyncio.wait([never])
            while not decisions.given:  # noqa: ASYNC110 - there is nothing to be woken by
                await asyncio.sleep(0.001)
        assert never.cancelled()
        assert decisions.given == [("listing_failed", "TimeoutError")]
        runner.search()
        await turn()
        assert decisions.given[1:] == [("contacts_listed", ["b:1"], ())]

    run(scenario)


def test_a_watch_that_breaks_is_started_again() -> None:
    async def main() -> None:
        given: list[Any] = []
        enough = asyncio.Event()

        class Watched:
            rounds = 0

            async def watch(self) -> AsyncIterator[list[str]]:
                self.rounds += 1
                yield [f"b:{self.rounds}"]
                if self.rounds == 3:
                    enough.set()
                raise OSError("the watch broke")

        runner = SimpleNamespace(listed=given.append, listing_failed=lambda e: given.append(str(e)))
        timing = ClusterTiming(watch_retry_min=0.001, watch_retry_max=0.001)
        owner = cast("Any", SimpleNamespace(_timing=timing))
        watching = asyncio.ensure_future(
            ClusterMembership._watch(owner, cast("Any", Watched()), cast("Any", runner))
        )
        async with asyncio.timeout(PATIENCE):
            waiting = asyncio.ensure_future(enough.wait())
            await asyncio.wait([waiting, watching], return_when=asyncio.FIRST_COMPLETED)
        assert enough.is_set()
        watching.cancel()
        assert given[:4] == [["b:1"], "the watch broke", ["b:2"], "the watch broke"]

    asyncio.run(main())


def test_a_member_that_does_not_lead_names_who_does() -> None:
    async def scenario(
        runner: BootstrapRunner, host: Host, decisions: Decisions, _: Discovery
    ) -> None:
        host.reply = NotLeader("ask c", leader="c", leader_address="127.0.0.3:1")
        decisions.follows["join_failed"] = [SendJoinRequest("127.0.0.3:1", "asked for")]
        runner.apply([SendJoinRequest("b:1", "asked for")])
        await turn()
        await turn()
        assert decisions.given == [
            ("join_failed", address, "ask c", "127.0.0.3:1") for address in ("b:1", "127.0.0.3:1")
        ]

    run(scenario)


@pytest.mark.parametrize("cluster", ["asked for", "another"])
def test_a_node_joins_the_cluster_that_it_asked_for_alone(cluster: str) -> None:
    async def scenario(
        runner: BootstrapRunner, host: Host, decisions: Decisions, _: Discovery
    ) -> None:
        host.reply = JoinReply(cluster, b"")
        runner.apply([SendJoinRequest("b:1", "asked for")])
        await turn()
        if cluster == "asked for":
            assert host.started == [cluster]
            assert decisions.given == [("became_member", cluster), ("is a member",)]
        else:
            assert host.started == []
            assert decisions.given[0][:2] == ("join_failed", "b:1")

    run(scenario)


# -- addresses -------------------------------------------------------------------------------------


class Connections:
    """Stands for the transport: whom it connects to."""

    def __init__(self) -> None:
        self.peers: dict[str, str] = {}

    def set_peer(self, server_id: str, address: str) -> None:
        self.peers[server_id] = address

    def remove_peer(self, server_id: str) -> None:
        del self.peers[server_id]


def _of(**addresses: str) -> Configuration:
    return Configuration(tuple(Server(name, address) for name, address in addresses.items()))


def test_an_announced_address_outlasts_the_configuration_and_goes_with_the_member() -> None:
    connections = Connections()
    own = SimpleNamespace(identity=Identity("a", "a:1"))
    addresses = PeerAddresses(cast("Any", own), cast("Any", connections))
    addresses.use_configuration(_of(a="a:1", b="b:1", c="c:1"))
    assert connections.peers == {"b": "b:1", "c": "c:1"}
    addresses.set("b", "b:2")
    addresses.use_configuration(_of(a="a:1", b="b:1", c="c:1"))
    assert connections.peers == {"b": "b:2", "c": "c:1"}
    addresses.use_configuration(_of(a="a:1", c="c:1"))
    assert connections.peers == {"c": "c:1"}
    assert addresses.of("b") == ""
    addresses.use_configuration(_of(a="a:1", b="b:1", c="c:1"))
    assert connections.peers == {"b": "b:1", "c": "c:1"}
