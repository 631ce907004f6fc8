"""``client.store`` does over HTTP what ``node.store`` does, in threads and on event loops."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from braft_core import errors
from braft_core.abc import CommandContext
from braft_core.client import Client
from braft_core.client.nodes import Call, Nodes
from braft_core.client.remote_store import RemoteStore
from braft_core.client.trust import Trust
from braft_core.http import HTTPServer
from braft_core.store import Delete, Entry, Get, Key, Put, Store, Txn, TxnResult
from braft_testing.processes import wait_for


@pytest.fixture
def node(fake_node_class: Any) -> Iterator[Any]:
    made = fake_node_class()
    yield made
    made.close()


@pytest.fixture
def url(node: Any) -> Iterator[str]:
    server = HTTPServer(node, "127.0.0.1", 0)
    server.start()
    yield f"http://127.0.0.1:{server.port}"
    server.stop()


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client([url]) as made:
        yield made


class Local:
    """The same service without HTTP between, to compare with."""

    def __init__(self, node: Any) -> None:
        self._service = type(node.store_service)()

    def execute(self, service: str, command: str, *args: Any, timeout: float | None = None) -> Any:
        return self._service.apply(command, args, CommandContext(1, 1, 1))

    def query(self, service: str, query: str, *args: Any, **options: Any) -> Any:
        return self._service.query(query, args)

    async def aexecute(self, *args: Any, **options: Any) -> Any:
        return self.execute(*args, **options)

    async def aquery(self, *args: Any, **options: Any) -> Any:
        return self.query(*args, **options)


def story(store: Store) -> list[Any]:
    """Use all of a store; return what it answers."""
    seen: list[Any] = [store.get("a"), store.put("a", b"1"), store.put(b"\xff/.\0", b"\xfe" * 3)]
    seen += [store.put(key, "ü") for key in (".", "..", "a/b", "a/", "/a", "ä?&#=+ %")]
    seen += [store.get(key) for key in ("a", b"\xff/.\0", ".", "..", "a/", "/a", "ä?&#=+ %")]
    seen += [store.get("a", at=2), list(store.scan(page=2)), store.count()]
    seen += [list(store.scan("a")), list(store.scan(start="a/", end=b"\xff")), store.count("a/")]
    seen += [list(store.scan(b"\xff", at=3)), store.count(start=b"\xff\0", at=3)]
    seen.append(
        store.txn(
            when=[Key("a").version == 1, Key("b").value != b"x", Key(prefix="z").lease == 0],
            then=[
                Put("b", b"2"),
                Get("b"),
                Get(prefix="a", limit=1),
                Txn([Key("b").created > 5], otherwise=[Delete(prefix="a/")]),
                Delete("nothing"),
            ],
        )
    )
    seen.append(store.txn([Key("a").revision < 1], [Put("c", "")], [Get("c")]))
    seen += [store.delete("a"), store.delete(prefix="/"), store.delete(start="b", end="c")]
    lease = store.leases.grant(10, id=7)
    seen += [lease, store.put("l", b"", lease=lease), store.get("l"), store.leases.renew(7)]
    seen += [store.leases.get(7), store.leases.ids(), store.leases.revoke(7), store.leases.ids()]
    seen += [store.leases.get(7), store.compact(4), store.status(), store.delete(prefix="")]
    return seen


def failures(store: Store) -> list[Any]:
    """Return the types of the errors that calls raise."""
    calls: list[Callable[[], Any]] = [
        lambda: store.put("", b""),
        lambda: store.get(""),
        lambda: store.put("a", b"", lease=99),
        lambda: store.get("a", at=1_000),
        lambda: store.compact(1_000),
        lambda: list(store.scan(start="b", end="a")),
        lambda: store.delete(),
        lambda: store.txn(then=[Put("a", b"")] * 2),
        lambda: store.txn(then=[Get("a")] * 129),
        lambda: store.leases.revoke(5),
        lambda: store.leases.renew(5),
        lambda: store.leases.grant(0),
        lambda: store.leases.grant(10**12),
    ]
    found = []
    for call in calls:
        with pytest.raises(errors.BraftError) as caught:
            call()
        found.append(type(caught.value))
    return found


def test_it_answers_as_the_store_of_a_node_does(client: Client, node: Any) -> None:
    assert story(client.store) == story(Store(Local(node)))


def test_it_fails_as_the_store_of_a_node_does(client: Client, node: Any) -> None:
    assert failures(client.store) == failures(Store(Local(node)))


@asynccontextmanager
async def connected(*urls: str, **options: Any) -> AsyncIterator[Client]:
    client = Client(urls, **options)
    try:
        yield client
    finally:
        await client.aclose()


def test_awaitable_calls_answer_the_same(url: str, dead_url: str) -> None:
    async def run() -> None:
        async with connected(dead_url, url) as client:
            store = client.store
            assert await store.aput("a", b"1") == 2
            assert await store.aget("a") == Entry(b"a", b"1", 2, 2, 1, 0)
            assert await store.aget("b") is None
            await asyncio.gather(*(store.aput(f"k/{n:03}", b"") for n in range(8)))
            found = [entry.key async for entry in store.scan("k/", page=3)]
            assert found == [b"k/%03d" % n for n in range(8)]
            assert await store.acount("k/") == 8
            done = await store.atxn([Key("a").version == 1], [Put("a", b"2"), Get("b")])
            assert done == TxnResult(True, 11, [11, None])
            assert await store.adelete(prefix="k/") == 8
            assert await store.acompact(12) == 12
            assert (await store.astatus()).compacted == 12
            lease = await store.leases.agrant(10)
            assert await store.leases.arenew(lease.id) == 10
            assert await store.leases.aget(lease.id) == lease
            assert await store.leases.aids() == [lease.id]
            assert await store.leases.arevoke(lease.id) == 12
            with pytest.raises(errors.Compacted):
                await store.aget("a", at=2)

    asyncio.run(run())


def test_one_client_serves_several_loops_and_threads(url: str) -> None:
    async def once(client: Client) -> int:
        revision = await client.store.aput("a", b"")
        await client._nodes._async_http().aclose()
        return revision

    with Client([url]) as client:
        assert [asyncio.run(once(client)), asyncio.run(once(client))] == [2, 3]
        assert client.store.get("a", timeout=3) is not None


def test_a_write_without_an_answer_is_never_repeated_and_a_renewal_is(url: str, node: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        silent = f"http://127.0.0.1:{mute.getsockname()[1]}"
        with Client([silent, url], timeout=0.1) as client:
            writes: list[Callable[[], Any]] = [
                lambda: client.store.put("a", b""),
                lambda: client.store.leases.grant(10),
            ]
            for write in writes:
                with pytest.raises(errors.OutcomeUnknown):
                    write()
            assert node.calls == []

            def is_refused() -> bool:
                try:
                    client.store.leases.renew(1)
                except errors.Unreachable:  # on a busy machine the other node is too late as well
                    return False
                except errors.LeaseNotFound:
                    return True
                return False

            wait_for(is_refused)
            assert node.calls[-1][:3] == ("execute", "store", "renew")


def test_which_calls_may_be_sent_twice() -> None:
    store = RemoteStore(Nodes(["h:1"], None, 5, Trust(), insecure=False))
    sent: list[tuple[str, str, bool]] = []
    nodes: Any = store._nodes
    nodes.send = lambda call: sent.append((call.method, call.path, call.write))
    store.execute("store", "put", b"a", b"", 0, 0)
    store.execute("store", "delete", b"a", b"", 0)
    store.execute("store", "delete", b"a", b"b", 0)
    store.execute("store", "txn", [], [], [])
    store.execute("store", "compact", 1)
    store.execute("store", "grant", 1, 10)
    store.execute("store", "revoke", 1)
    assert all(write for _, _, write in sent)
    sent.clear()
    store.execute("store", "renew", [1])
    store.query("store", "count", b"a", b"b", 0)
    assert sent == [("POST", "/v1/store/renew", False), ("GET", "/v1/store/count", False)]


def test_a_renewal_whose_outcome_a_node_does_not_know_goes_to_the_next(
    make_peer: Any, connect: Any
) -> None:
    first, second = make_peer(), make_peer()
    first.fails(504, errors.OutcomeUnknown("no commit"))
    second.gives({"ttls": [10]})
    client = connect(first.url, second.url)
    assert client.store.leases.renew(1) == 10
    second.fails(503, errors.NoLeader("none"))
    with pytest.raises(errors.NoLeader):
        client.store.leases.renew(1)


def test_a_silent_node_is_passed_over_by_awaitable_reads(url: str) -> None:
    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as mute:
            silent = f"http://127.0.0.1:{mute.getsockname()[1]}"
            async with connected(silent, url, timeout=0.1) as client:
                while True:  # on a busy machine the other node may be too late as well
                    with suppress(errors.Unreachable):
                        assert await client.store.aget("a") is None
                        break
                with pytest.raises(errors.OutcomeUnknown):
                    await client.store.aput("a", b"")

    asyncio.run(run())


def test_a_key_that_is_too_long_for_a_path_goes_in_a_transaction(client: Client) -> None:
    key = b"\xff" * 6_000
    with pytest.raises(errors.TooLarge, match="send long ones in a transaction"):
        client.store.put(key, b"")
    done = client.store.txn(then=[Put(key, b"1"), Get(key)])
    assert done.answers == [2, Entry(key, b"1", 2, 2, 1, 0)]


def test_a_route_that_a_node_lacks_is_no_missing_key(make_peer: Any, connect: Any) -> None:
    peer = make_peer()
    body = b'{"status": 404, "code": "not_found", "detail": "no such route", "data": {}}'
    peer.answer = (404, "application/problem+json", body)
    with pytest.raises(errors.BraftError, match="no such route"):
        connect(peer.url).store.get("a")


def test_an_answer_that_is_not_a_node_s_is_named(make_peer: Any, connect: Any) -> None:
    peer = make_peer()
    client = connect(peer.url)
    for answer in ({}, {"revision": 1, "count": 1, "more": False, "entries": [{"key": 1}]}):
        peer.gives(answer)
        with pytest.raises(errors.BraftError, match="not as a braft node does"):
            list(client.store.scan())
        with pytest.raises(errors.BraftError, match="not as a braft node does"):
            client.store.get("a")
    peer.gives({"revision": 1, "succeeded": True, "answers": [{"op": "other"}]})
    with pytest.raises(errors.OutcomeUnknown, match="not as a braft node does"):
        client.store.txn()


def test_what_no_route_has_is_refused_before_it_is_sent() -> None:
    store = RemoteStore(Nodes(["h:1"], None, 5, Trust(), insecure=False))
    with pytest.raises(errors.UnknownCommand, match="not available over HTTP"):
        store.execute("store", "put", b"a", b"", 0, 1)
    with pytest.raises(errors.UnknownCommand, match="hash"):
        store.query("store", "hash")


def test_a_closed_client_says_so(url: str) -> None:
    client = Client([url])
    client.close()
    client.close()
    with pytest.raises(errors.Stopped, match="closed"):
        client.store.get("a")
    with pytest.raises(errors.Stopped, match="closed"):
        asyncio.run(client.store.aget("a"))
    with pytest.raises(errors.Stopped, match="closed"):
        client.lease(5).grant()


@pytest.mark.parametrize("timeout", [0, -1, True, "5"])
def test_a_timeout_of_one_call_is_checked(client: Client, timeout: Any) -> None:
    with pytest.raises(errors.InvalidRequest, match="timeout is"):
        client.store.get("a", timeout=timeout)


def test_a_node_is_told_the_timeout_of_the_call(client: Client, node: Any) -> None:
    client.store.get("a", timeout=3, consistency="stale")
    assert node.calls[-1][-2:] == ("stale", 3.0)
    client.store.put("a", b"", timeout=600)
    assert node.calls[-1][-1] == 60.0


def test_nodes_send_any_call(make_peer: Any) -> None:
    peer = make_peer()
    peer.gives({"x": 1})
    nodes = Nodes([peer.url], "sesame-sesame-sesame", 5, Trust(), insecure=False)
    call = Call("GET", "/x", lambda answer: answer.json()["x"], write=False, waits=False)
    assert nodes.send(call) == 1
    assert peer.seen[0][1] == "/x"
    assert peer.seen[0][2]["Authorization"] == "Bearer sesame-sesame-sesame"
    nodes.close()
