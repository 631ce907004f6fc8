"""Leases on a real cluster: who ticks, who renews, and who is told first that a lease is lost."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from braft_core import Node
from braft_core.errors import InvalidArgument, LeaseLost, LeaseNotFound, NotLeader
from braft_core.runtime import clock, lessor
from braft_core.runtime.timing import Timing
from braft_core.serializers.msgpack import MsgpackSerializer
from braft_core.services.envelope import decode_command
from braft_core.services.store import StoreService
from braft_testing.internals import internals
from braft_testing.memory_cluster import MemoryCluster
from braft_testing.processes import PATIENCE, wait_for

SECOND = 1_000_000_000


class Wall:
    """A wall clock that stands still until it is set."""

    def __init__(self, now: int) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now

    def run(self, seconds: float, node: Node) -> None:
        """Let so many seconds pass, in steps that count in full, each with a tick."""
        for _ in range(round(2 * seconds)):
            self.now += SECOND // 2
            wait_for(lambda: clock_of(node) == self.now, PATIENCE, "a tick")


def clock_of(node: Node) -> int:
    """Return the wall clock that the last command about leases showed on this node."""
    return int(service_of(node)._keyspace.leases.clock.stamp)


def service_of(node: Node) -> StoreService:
    """Return the store of this node."""
    threads = internals(node).threads
    return next(s for s in threads.components.services if isinstance(s, StoreService))


def stop_clocks(monkeypatch: pytest.MonkeyPatch) -> Wall:
    """Let all nodes read a wall clock that stands still. Call it while the cluster runs."""
    wall = Wall(clock.wall_ns())
    monkeypatch.setattr(clock, "wall_ns", wall)
    return wall


TIMING = Timing(lease_tick=0.05)


def test_a_lease_ends_by_the_leaders_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    with MemoryCluster(3, timing=TIMING, request_timeout=PATIENCE) as cluster:
        wall = stop_clocks(monkeypatch)
        node = cluster.node(cluster.leader())
        assert node.execute("store", "grant", 7, 3, timeout=PATIENCE) == 3
        node.store.put("k", "v", lease=7)
        wall.run(2.5, node)
        assert node.store.get("k") is not None
        wall.run(0.5, node)
        cluster.wait_for(lambda: node.query("store", "lease", 7) is None)
        assert node.store.get("k") is None
        for other in cluster.nodes:
            assert other.query("store", "leases") == []
        with pytest.raises(LeaseNotFound):
            node.store.put("k", "v", lease=7)


def test_a_holder_knows_that_its_lease_is_lost_before_it_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with MemoryCluster(3, timing=TIMING, request_timeout=PATIENCE) as cluster:
        stop_clocks(monkeypatch)
        leader = cluster.leader()
        holder = cluster.followers_of(leader)[0]
        node = cluster.node(holder)
        told: list[LeaseLost] = []
        with pytest.raises(LeaseLost, match="renewed in time"), node.lease(2) as lease:  # noqa: PT012
            lease.on_lost(told.append)
            node.store.put("k", "v", lease=lease)
            cluster.isolate(holder)
            assert lease.lost.wait(PATIENCE)
            # The others' clocks stand still, so the lease has not ended by itself there.
            rest = cluster.leader(cluster.followers_of(holder))
            assert cluster.node(rest).store.get("k") is not None
            with pytest.raises(LeaseLost):
                lease.check()
            cluster.heal()
        cluster.wait_for(lambda: told)
        # The end of the statement has revoked it.
        assert cluster.node(rest).store.get("k") is None


def test_a_lease_outlives_its_leader() -> None:
    with MemoryCluster(3, request_timeout=PATIENCE) as cluster:
        leader = cluster.leader()
        holder = cluster.followers_of(leader)[0]
        node = cluster.node(holder)
        with node.lease(60) as lease:
            node.store.put("k", "v", lease=lease)
            cluster.kill(leader)
            other = cluster.leader()
            found = cluster.node(other).store.get("k", timeout=PATIENCE)
            assert found is not None
            assert found.lease == lease.id
            assert not lease.lost.is_set()
            before = lease.valid_until
            internals(node).threads.lease_keeper._held.renew_now()
            cluster.wait_for(lambda: lease.valid_until > before)
        assert cluster.node(other).query("store", "leases") == []


def test_a_ttl_that_makes_no_sense_is_refused() -> None:
    with MemoryCluster(1, request_timeout=PATIENCE) as cluster:
        node = cluster.node(0)
        wrong: tuple[Any, ...] = (0, -1, 10**12, 10**30, float("nan"), None, "10", True)
        for ttl in wrong:
            lease = node.store.lease(ttl)
            with pytest.raises(InvalidArgument, match="ttl of a lease is a number of seconds"):
                lease.grant()
            assert "failed" in repr(lease)
        assert node.query("store", "leases") == []
        with pytest.raises(LeaseNotFound, match="no lease 77"):
            node.store.put("k", "v", lease=77)
        assert node.store.get("k") is None


def test_a_lease_that_somebody_revoked_is_lost() -> None:
    with MemoryCluster(1, request_timeout=PATIENCE) as cluster:
        node = cluster.node(0)
        with pytest.raises(LeaseLost, match="was revoked"), node.lease(600) as lease:  # noqa: PT012
            node.execute("store", "revoke", lease.id)
            internals(node).threads.lease_keeper._held.renew_now()
            assert lease.lost.wait(PATIENCE)


def test_a_stopped_node_has_lost_its_leases() -> None:
    with MemoryCluster(1, request_timeout=PATIENCE) as cluster:
        lease = cluster.node(0).lease(60).grant()
        cluster.stop(0)
        assert lease.lost.is_set()
        with pytest.raises(LeaseLost, match="the node was stopped"):
            lease.check()


class FakeServer:
    """A server whose node leads, and that has a store."""

    def __init__(self, term: int) -> None:
        core = SimpleNamespace(current_term=term)
        self.replica: Any = SimpleNamespace(is_leader=True, core=core, driver=None)
        self.store = StoreService()
        self.components: Any = SimpleNamespace(
            timing=Timing(), services=[self.store], serializer=MsgpackSerializer()
        )


def run_lessor(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch, turns: int, answer: Any = 0
) -> tuple[list[list[Any]], list[float]]:
    """Let the lessor take some turns; return its proposals and how long it slept after each."""
    proposals: list[list[Any]] = []
    waits: list[float] = []
    sleep = asyncio.sleep
    ended = asyncio.Event()

    async def propose(driver: Any, data: bytes, term: int, timeout: float) -> Any:
        serializer = server.components.serializer
        proposals.append([term, *decode_command({serializer.tag: serializer}, data)])
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) >= turns:
            ended.set()
        await sleep(0)

    async def go() -> None:
        monkeypatch.setattr(lessor, "propose_here", propose)
        monkeypatch.setattr(asyncio, "sleep", wait)
        tested = lessor.Lessor(server)
        tested.start()
        tested.start()
        await ended.wait()
        await tested.stop()

    asyncio.run(go())
    return proposals, waits[:turns]


def granted(server: FakeServer, monkeypatch: pytest.MonkeyPatch, *, ago: float) -> None:
    """Grant a lease of ten seconds so long ago, by a clock that stands still."""
    now = 1_700_000_000 * SECOND
    monkeypatch.setattr(clock, "wall_ns", lambda: now)
    context = SimpleNamespace(index=1, term=4, appended_at=now - round(ago * SECOND))
    server.store.apply("grant", [1, 10], context)  # type: ignore[arg-type]


def test_without_leases_nothing_is_proposed(monkeypatch: pytest.MonkeyPatch) -> None:
    proposals, waits = run_lessor(FakeServer(4), monkeypatch, 5)
    assert proposals == []
    assert waits == [0.5] * 5


def test_a_follower_proposes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    server = FakeServer(4)
    granted(server, monkeypatch, ago=20)
    server.replica.is_leader = False
    assert run_lessor(server, monkeypatch, 5)[0] == []
    server.replica = None
    assert run_lessor(server, monkeypatch, 5)[0] == []


@pytest.mark.parametrize(("ago", "wait"), [(2, 0.5), (9.75, 0.25), (10, 0), (20, 0)])
def test_the_next_tick_comes_when_a_lease_is_due(
    monkeypatch: pytest.MonkeyPatch, ago: float, wait: float
) -> None:
    server = FakeServer(4)
    granted(server, monkeypatch, ago=ago)
    proposals, waits = run_lessor(server, monkeypatch, 2)
    assert proposals == [[4, "store", "tick", [4]]] * len(proposals)
    assert len(proposals) >= 2
    assert waits == [wait] * 2


def test_a_tick_that_fails_is_not_repeated_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    server = FakeServer(4)
    granted(server, monkeypatch, ago=20)
    proposals, waits = run_lessor(server, monkeypatch, 2, NotLeader("deposed"))
    assert len(proposals) >= 2
    assert waits == [0.5] * 2
