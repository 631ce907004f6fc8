"""``client.store.watch`` shows what ``node.store.watch`` shows, whichever nodes serve it."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from functools import wraps
from typing import Any

import pytest

from braft_core import errors
from braft_core.client import Client
from braft_core.client.watch import RemoteWatch
from braft_core.http import HTTPServer, store_watch
from braft_core.store import Batch, Change, Delete, Entry, NodeStore, Put, Store
from braft_testing.processes import PATIENCE, wait_for


@pytest.fixture
def node(fake_node_class: Any) -> Iterator[Any]:
    made = fake_node_class()
    yield made
    made.close()


@pytest.fixture
def store(node: Any) -> NodeStore:
    """Return the store of the node, without HTTP."""

    def no_lease(ttl: float) -> Any:
        raise AssertionError(ttl)

    return NodeStore(node, no_lease, lambda: node.hub)


@pytest.fixture
def serve(node: Any) -> Iterator[Callable[[], HTTPServer]]:
    """Return a function that starts one more server of the cluster."""
    servers: list[HTTPServer] = []

    def start() -> HTTPServer:
        servers.append(HTTPServer(node, "127.0.0.1", 0))
        servers[-1].start()
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def url_of(server: HTTPServer) -> str:
    return f"http://127.0.0.1:{server.port}"


@pytest.fixture
def client(serve: Any) -> Iterator[Client]:
    with Client([url_of(serve())], timeout=PATIENCE) as made:
        yield made


def on_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run the test in its own event loop."""

    @wraps(test)
    def run(**fixtures: Any) -> None:
        asyncio.run(test(**fixtures))

    return run


def write(store: Store) -> int:
    """Change some keys; return the last revision, which puts ``a/end``."""
    store.put("a/1", b"\xff\0")
    store.put("b", "x")
    store.put("a/2", "ü")
    store.txn(then=[Put("a/1", "y"), Put("b", "z"), Delete("a/2"), Put("a/3", "")])
    store.delete(prefix="a/")
    return store.put("a/end", "")


def until_end(changes: Any) -> list[Change]:
    found = []
    for change in changes:
        found.append(change)
        if change.entry.key == b"a/end":
            break
    return found


RANGES: list[dict[str, Any]] = [
    {},
    {"prefix": "a/"},
    {"prefix": "a/", "previous": True},
    {"key": "a/end"},
    {"start": "a/2", "previous": True},
    {"start": "a/2", "end": b"a/\xff"},
]


@pytest.mark.parametrize("watched", RANGES)
@pytest.mark.parametrize("piece", [1, 32 << 10])
def test_it_shows_what_the_watch_of_a_node_shows(
    client: Client, store: NodeStore, watched: Any, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_watch, "PIECE", piece)
    last = write(store)
    with store.watch(since=1, **watched) as changes:
        expected = until_end(changes)
    with client.store.watch(since=1, **watched) as remote:
        assert 1 <= remote.revision < expected[0].revision
        assert until_end(remote) == expected
        assert remote.revision == last
    with client.store.watch(since=4, **watched) as remote:
        assert until_end(remote) == [each for each in expected if each.revision > 4]
    with store.watch(since=1, **watched) as changes, client.store.watch(since=1, **watched) as far:
        for batch in changes.batches():
            assert next(far.batches()) == batch
            if batch.revision == last:
                break


@on_loop
async def test_on_a_loop_it_shows_the_same(client: Client, store: NodeStore) -> None:
    last = await asyncio.to_thread(write, store)
    with store.watch("a/", since=1, previous=True) as changes:
        expected = until_end(changes)
    async with client.store.watch("a/", since=1, previous=True) as remote:
        found = []
        async for change in remote:
            found.append(change)
            if change.revision == last:
                break
        assert found == expected
    async with client.store.watch("a/", since=1) as remote:
        batches = []
        async for batch in remote.batches():
            batches.append((batch.revision, len(batch.changes)))
            if batch.revision == last:
                break
        assert batches == [(2, 1), (4, 1), (5, 3), (6, 2), (7, 1)]
    await client.aclose()


def test_without_since_it_begins_after_what_was_acknowledged(
    client: Client, store: NodeStore
) -> None:
    revision = store.put("a", b"before")
    with client.store.watch("a") as changes:
        assert changes.revision == revision
        store.put("a", b"after")
        assert next(changes) == Change(
            "put", Entry(b"a", b"after", revision + 1, revision, 2, 0), None, revision + 1
        )


def test_progress_comes_as_batches_without_changes(client: Client, store: NodeStore) -> None:
    with client.store.watch("a") as changes:
        store.put("b", b"")
        batches = changes.batches(progress=0.1)
        wait_for(lambda: next(batches) == Batch(2, []), what="progress")
        store.put("a", b"")
        wait_for(lambda: [change.revision for change in next(batches).changes] == [3])


@on_loop
async def test_progress_on_a_loop(client: Client, store: NodeStore) -> None:
    async with client.store.watch("a") as changes:
        assert await anext(changes.batches(progress=0.1)) == Batch(1, [])
    await client.aclose()


# -- nodes that end ------------------------------------------------------------------------------


def test_it_goes_on_at_another_node(serve: Any, node: Any, store: NodeStore) -> None:
    servers = [serve(), serve(), serve()]
    urls = [url_of(server) for server in servers]
    with Client(urls, timeout=PATIENCE) as client, client.store.watch("a/") as changes:
        for number, server in enumerate(servers[:2]):
            revision = store.put(f"a/{number}", b"before")
            assert next(changes).revision == revision
            server.stop()
            missed = [store.put(f"a/{number}", b"%d" % each) for each in range(20)]
            assert [next(changes).revision for _ in missed] == missed
        servers[2].stop()
        changes._rotation._patience = 0.0
        with pytest.raises(errors.Unreachable, match="nobody answered"):
            next(changes)
        # It can be continued.
        again = HTTPServer(node, "127.0.0.1", servers[2].port)
        again.start()
        revision = store.put("a/1", b"")
        changes._rotation._patience = PATIENCE
        assert next(changes).revision == revision
        again.stop()


@on_loop
async def test_on_a_loop_it_goes_on_at_another_node(serve: Any, store: NodeStore) -> None:
    servers = [serve(), serve()]
    client = Client([url_of(server) for server in servers], timeout=PATIENCE)
    async with client, client.store.watch("a/") as changes:
        revision = store.put("a/1", b"")
        assert (await anext(changes)).revision == revision
        await asyncio.to_thread(servers[0].stop)
        missed = [store.put("a/1", b"%d" % each) for each in range(20)]
        assert [(await anext(changes)).revision for _ in missed] == missed


class CuttingProxy:
    """Passes on what a server sends, and cuts each connection after some bytes of the answer."""

    def __init__(self, port: int, sizes: list[int]) -> None:
        self._port = port
        #: Bytes after which the next connections end; then they do not.
        self.sizes = sizes
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        #: The connection to the server.
        self._node: socket.socket | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        if self._node is not None:
            with suppress(OSError):  # it has ended
                self._node.shutdown(socket.SHUT_RDWR)
        self._thread.join(PATIENCE)
        self._listener.close()

    def _run(self) -> None:
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return
            left = self.sizes.pop(0) if self.sizes else 1 << 30
            node = self._node = socket.create_connection(("127.0.0.1", self._port))
            with caller, node, suppress(OSError):  # the caller has gone
                request = b""
                while b"\r\n\r\n" not in request:
                    request += caller.recv(64 << 10)
                node.sendall(request)
                while left > 0 and (data := node.recv(min(left, 64 << 10))):
                    caller.sendall(data)
                    left -= len(data)


@pytest.mark.parametrize("step", [1, 97, 1_001])
def test_connections_may_end_anywhere(serve: Any, store: NodeStore, step: int) -> None:
    """A head, the frame of a chunk, an event, a character: whatever it is that is cut."""
    write(store)
    with store.watch("a/", since=1, previous=True) as changes:
        expected = until_end(changes)
    sizes = [150, 300, 500, *(600 + number * step for number in range(6))]
    proxy = CuttingProxy(serve().port, sizes)
    with Client([proxy.url, proxy.url], timeout=PATIENCE) as client:
        watch = client.store.watch("a/", since=1, previous=True)
        watch._rotation.is_new = False
        watch._rotation._patience = PATIENCE
        with watch as remote:
            assert until_end(remote) == expected
    assert len(sizes) < 9
    proxy.close()


def test_a_node_that_says_nothing_is_left(
    serve: Any, store: NodeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(store)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        silent = f"http://127.0.0.1:{mute.getsockname()[1]}"
        monkeypatch.setattr("braft_core.client.watch.PROGRESS", 0.1)
        with Client([silent, url_of(serve())], timeout=0.2) as client:
            wait_for(lambda: opened(client), what="the other node serves it")


def opened(client: Client) -> bool:
    try:
        with client.store.watch("a/", since=1) as changes:
            return next(changes).revision == 2
    except errors.Unreachable:  # on a busy machine the other node is too late as well
        return False


def test_a_node_that_cannot_serve_it_is_passed_over(
    make_peer: Any, serve: Any, store: NodeStore
) -> None:
    first = make_peer()
    first.fails(503, errors.NotReady("no cluster yet"))
    revision = write(store)
    with (
        Client([first.url, url_of(serve())], timeout=PATIENCE) as client,
        client.store.watch(key="a/end", since=1) as changes,
    ):
        assert next(changes).revision == revision
    first.fails(503, errors.TooStale("too old"))
    with Client([first.url]) as client, pytest.raises(errors.TooStale, match="too old"):
        client.store.watch().__enter__()


# -- how it ends ---------------------------------------------------------------------------------


def test_compacted_is_raised_before_and_within_a_watch(
    client: Client, store: NodeStore, node: Any
) -> None:
    last = write(store)
    with client.store.watch("a/") as changes:
        node.hub._end_all(errors.Compacted("too old", compacted=5))
        with pytest.raises(errors.Compacted, match="too old") as caught:
            next(changes)
        assert caught.value.data["compacted"] == 5
    store.compact(last)
    with pytest.raises(errors.Compacted) as caught:
        client.store.watch("a/", since=2).__enter__()
    assert caught.value.data["compacted"] == last


def test_bad_arguments_are_refused(client: Client) -> None:
    store = client.store
    with pytest.raises(errors.FutureRevision, match="revision 9 is in the future"):
        store.watch(since=9).__enter__()
    with pytest.raises(errors.InvalidArgument):
        store.watch(start="b", end="a").__enter__()
    with pytest.raises(errors.InvalidArgument):
        store.watch(key="").__enter__()
    calls: list[Callable[[], Any]] = [
        lambda: store.watch("a", key="b"),
        lambda: store.watch(since=-1),
        lambda: store.watch(since=1 << 63),
        lambda: store.watch(reconnect_timeout=-1),
        lambda: store.watch().batches(progress=0),
    ]
    for call in calls:
        with pytest.raises(errors.InvalidArgument, match="accepted"):
            call()
    with pytest.raises(errors.InvalidRequest, match="not open"):
        next(store.watch())
    watch = store.watch()
    with watch:
        pass
    with pytest.raises(errors.InvalidRequest, match="used already"):
        watch.__enter__()


def test_an_answer_that_is_not_a_node_s_is_refused(make_peer: Any, connect: Any) -> None:
    peer = make_peer()
    peer.answer = (200, "text/html", b"<html>log in</html>")
    with pytest.raises(errors.BraftError, match="not as a braft node does"):
        connect(peer.url).store.watch().__enter__()
    peer.answer = (200, "text/event-stream", b"data: nonsense\n\n")
    with pytest.raises(errors.BraftError, match="not as a braft node does"):
        connect(peer.url).store.watch().__enter__()


def test_closing_in_another_thread_ends_the_loop(client: Client, node: Any) -> None:
    found: list[Any] = []

    def follow(watch: RemoteWatch) -> None:
        with watch as changes:
            found.append("begun")
            found.extend(changes)
        found.append("ended")

    watch = client.store.watch("a")
    thread = threading.Thread(target=follow, args=(watch,), daemon=True)
    thread.start()
    wait_for(lambda: found == ["begun"])
    watch.close()
    thread.join(PATIENCE)
    assert found == ["begun", "ended"]
    wait_for(lambda: node.hub.count == 0, what="the node has no watcher")


def test_closing_the_client_ends_the_watch(client: Client) -> None:
    with client.store.watch("a") as changes:
        threading.Timer(0.05, client.close).start()
        with pytest.raises(errors.Stopped, match="closed"):
            next(changes)


@on_loop
async def test_a_task_that_is_cancelled_leaves_nothing_and_can_go_on(
    client: Client, store: NodeStore, node: Any
) -> None:
    async with client.store.watch("a") as changes:
        for _ in range(2):
            waiting = asyncio.create_task(anext(changes))
            await asyncio.sleep(0.01)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        revision = store.put("a", b"")
        assert (await anext(changes)).revision == revision
        asyncio.get_running_loop().call_later(0.01, changes.close)
        assert [change async for change in changes] == []
    await asyncio.to_thread(wait_for, lambda: node.hub.count == 0, what="no watcher")
    async with client.store.watch("a") as changes:
        asyncio.get_running_loop().call_later(0.01, client.close)
        with pytest.raises(errors.Stopped, match="closed"):
            await anext(changes)
    await client.aclose()


def test_watches_leave_connections_for_requests(client: Client, store: NodeStore) -> None:
    watches = [client.store.watch("a") for _ in range(12)]
    try:
        for watch in watches:
            watch.__enter__()
        assert client.store.put("a", b"") == 2
        assert [next(watch).revision for watch in watches] == [2] * 12
    finally:
        for watch in watches:
            watch.__exit__()
