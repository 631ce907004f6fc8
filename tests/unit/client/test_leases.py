"""Leases of a client: renewed over HTTP while held, and reported when they are lost."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from braft_core.client import Client
from braft_core.client import lease_keeper as module
from braft_core.client.lease_keeper import LeaseKeeper
from braft_core.errors import LeaseLost, NotReady, OutcomeUnknown, Stopped, Unreachable
from braft_core.http import HTTPServer
from braft_core.runtime import clock
from braft_core.store.lease import GONE, Lease
from braft_testing.processes import PATIENCE, wait_for


@pytest.fixture
def node(fake_node_class: Any) -> Any:
    return fake_node_class()


@pytest.fixture
def client(node: Any) -> Iterator[Client]:
    server = HTTPServer(node, "127.0.0.1", 0)
    server.start()
    with Client([f"http://127.0.0.1:{server.port}"]) as made:
        yield made
    server.stop()


def renewals(node: Any) -> list[Any]:
    return [call for call in node.calls if call[:3] == ("execute", "store", "renew")]


def test_a_statement_grants_renews_and_revokes(client: Client, node: Any) -> None:
    with client.lease(ttl=30) as lease:
        assert client.store.put("here", b"", lease=lease) == 2
        assert 20 < lease.remaining <= 29
        lease.check()
        before = lease.valid_until
        client._keeper._held.renew_now()
        wait_for(lambda: lease.valid_until > before)
        assert renewals(node)[0][3] == [lease.id]
    assert client.store.get("here") is None
    assert not lease.lost.is_set()
    assert len(client._keeper._held) == 0


def test_an_async_statement_does_the_same(client: Client) -> None:
    async def run() -> None:
        async with client.store.lease(30) as lease:
            assert await client.store.aput("here", b"", lease=lease) == 2
            info = await client.store.leases.aget(lease.id)
            assert info is not None
            assert info.keys == [b"here"]
        assert await client.store.aget("here") is None
        await client.aclose()

    asyncio.run(run())


def test_a_revoked_lease_is_lost_and_reported(client: Client) -> None:
    told: list[str] = []
    called = threading.Event()

    def report(error: LeaseLost) -> None:
        told.extend((str(error), threading.current_thread().name))
        called.set()

    def use() -> None:
        with client.lease(ttl=30) as lease:
            lease.on_lost(report)
            client.store.leases.revoke(lease.id)
            client._keeper._held.renew_now()
            assert lease.lost.wait(PATIENCE)
            assert lease.remaining == 0

    with pytest.raises(LeaseLost, match=GONE):
        use()
    assert called.wait(PATIENCE)
    assert told[0].endswith(GONE)
    assert told[1] == "braft-client-calls"


def test_a_lease_is_lost_when_the_client_closes(client: Client) -> None:
    called = threading.Event()
    lease = client.lease(ttl=30).grant()
    lease.on_lost(lambda _: called.set())
    client.close()
    assert lease.lost.is_set()
    assert called.wait(PATIENCE)
    with pytest.raises(LeaseLost, match="the client was closed"):
        lease.check()
    lease.close()  # nothing can be revoked any more
    assert not [each for each in threading.enumerate() if each.name == "braft-client-leases"]


class Cluster:
    """Answers renewals as it is told to; holds them up on demand."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.answer: Callable[[list[int]], Any] = lambda ids: [30] * len(ids)

    def execute(self, service: str, command: str, *args: Any, timeout: float | None = None) -> Any:
        self.calls.append((command, *args, timeout))
        if command == "renew":
            return self.answer(args[0])
        return args[1] if command == "grant" else 1

    async def aexecute(self, *args: Any, **options: Any) -> Any:
        raise AssertionError(args)

    def query(self, *args: Any, **options: Any) -> Any:
        raise AssertionError(args)

    async def aquery(self, *args: Any, **options: Any) -> Any:
        raise AssertionError(args)


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def keeper(cluster: Cluster) -> Iterator[LeaseKeeper]:
    made = LeaseKeeper(cluster, check=0.001)
    yield made
    made.close()


def granted(keeper: LeaseKeeper, cluster: Cluster, ttl: float = 30) -> Lease:
    return Lease(cluster, lambda: keeper, clock.monotonic, ttl).grant()


def raises(error: Exception) -> Callable[[list[int]], Any]:
    def answer(ids: list[int]) -> Any:
        raise error

    return answer


@pytest.mark.parametrize("error", [NotReady("no"), Unreachable("no"), OutcomeUnknown("no")])
def test_a_failed_renewal_is_repeated(
    keeper: LeaseKeeper, cluster: Cluster, error: Exception
) -> None:
    cluster.answer = raises(error)
    lease = granted(keeper, cluster)
    keeper._held.renew_now()
    wait_for(lambda: len(cluster.calls) >= 4)
    assert not lease.lost.is_set()
    before = lease.valid_until
    cluster.answer = lambda ids: [30] * len(ids)
    wait_for(lambda: lease.valid_until > before)


def test_a_node_that_does_not_answer_delays_no_report(
    keeper: LeaseKeeper, cluster: Cluster
) -> None:
    hangs, goes_on = threading.Event(), threading.Event()

    def answer(ids: list[int]) -> Any:
        hangs.set()
        goes_on.wait(PATIENCE)
        return [30] * len(ids)

    cluster.answer = answer
    lease = granted(keeper, cluster)
    keeper._held.renew_now()
    assert hangs.wait(PATIENCE)
    lease.valid_until = clock.monotonic()
    assert lease.lost.wait(PATIENCE)
    goes_on.set()


def test_a_node_gets_a_part_of_the_shortest_ttl_to_answer(
    keeper: LeaseKeeper, cluster: Cluster
) -> None:
    granted(keeper, cluster, ttl=60)
    keeper._held.renew_now()
    wait_for(lambda: len(cluster.calls) >= 2)
    assert cluster.calls[1][2] == 10
    cluster.calls.clear()
    granted(keeper, cluster, ttl=2)
    wait_for(lambda: len(cluster.calls) >= 2)
    assert cluster.calls[1][2] == 0.5


def test_many_leases_are_few_renewals(
    keeper: LeaseKeeper, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_RENEWED", 4)
    keeper._renew(range(1, 11))
    assert [call[1] for call in cluster.calls] == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10]]


def test_an_interrupted_grant_is_revoked(keeper: LeaseKeeper, cluster: Cluster) -> None:
    keeper.abandon(5)
    wait_for(lambda: cluster.calls)
    assert cluster.calls[0][:2] == ("revoke", 5)


def test_a_callback_that_raises_disturbs_no_other(
    keeper: LeaseKeeper, cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    called = threading.Event()
    lease = granted(keeper, cluster)
    lease.on_lost(lambda _: 1 / 0)
    lease.on_lost(lambda _: called.set())
    cluster.answer = lambda ids: [0] * len(ids)
    keeper._held.renew_now()
    assert called.wait(PATIENCE)
    assert "a callback of a lease raised" in caplog.text


def test_a_closed_keeper_keeps_nothing(keeper: LeaseKeeper, cluster: Cluster) -> None:
    keeper.close()
    lease = Lease(cluster, lambda: keeper, clock.monotonic, 30)
    called: list[LeaseLost] = []
    lease.on_lost(called.append)
    lease.grant()
    assert lease.lost.is_set()
    assert "the client was closed" in str(called[0])


def test_a_closed_client_grants_nothing(client: Client) -> None:
    client.close()
    with pytest.raises(Stopped):
        client.lease(5).grant()
