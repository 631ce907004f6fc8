"""A cancelled call leaves no thread, port, lock, task or request."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from braft_core import Node
from braft_core import node as node_module
from braft_core.errors import Stopped
from braft_core.http.server import HTTPServer
from braft_core.local_nodes import free_ports
from braft_core.runtime import components, lifecycle
from braft_core.runtime.applier import Applier
from braft_core.runtime.conditions import StateCondition
from braft_core.runtime.events import Events
from braft_core.runtime.loop import LoopThread
from braft_core.runtime.periodic_checks import PeriodicChecks
from braft_core.runtime.server import Server
from braft_core.runtime.shielded import run_shielded
from braft_core.storage.directory import DirectoryLock
from braft_testing.internals import internals

HOST = "127.0.0.1"
LONG = 60.0


class Location:
    """The ports and the directory of a node, and a check that they are free again."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.raft, self.discovery, self.http = free_ports(3)

    def node(self, **settings: Any) -> Node:
        return Node(
            discovery="none",
            ip=HOST,
            rport=self.raft,
            dport=self.discovery,
            hport=self.http,
            data_dir=str(self.directory),
            sleep="0",
            **settings,
        )

    def left_behind(self) -> list[str]:
        left = [t.name for t in threading.enumerate() if t.name.startswith("braft-")]
        for port in (self.raft, self.discovery, self.http):
            with socket.socket() as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    sock.bind((HOST, port))
                except OSError:
                    left.append(f"port {port}")
        if self.directory.exists():
            lock = DirectoryLock(self.directory)
            lock.acquire()
            lock.release()
        return left


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Location]:
    place = Location(tmp_path / "data")
    assert place.left_behind() == []
    yield place
    assert place.left_behind() == []


#: The steps of a start, in order.
STEPS: list[tuple[Any, str]] = [
    (node_module, "build_components"),
    (components, "choose_location"),
    (lifecycle, "Server"),
    (LoopThread, "start"),
    (Applier, "start"),
    (Server, "start"),
    (HTTPServer, "start"),
    (PeriodicChecks, "start"),
    (Events, "start"),
]


class Interruption:
    """Cancels a task from another thread at a certain step, and waits until that is done."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
        self.cancel: Callable[[], None] = lambda: None
        self.happened = False
        real = getattr(owner, name)

        def stepping(*args: Any, **kwargs: Any) -> Any:
            if not self.happened:
                self.happened = True
                self.cancel()
            return real(*args, **kwargs)

        monkeypatch.setattr(owner, name, stepping)

    def aim(self, task: asyncio.Task[Any]) -> None:
        loop = asyncio.get_running_loop()

        def cancel() -> None:
            done = threading.Event()
            loop.call_soon_threadsafe(task.cancel)
            # One iteration later the task has seen the cancellation.
            loop.call_soon_threadsafe(loop.call_soon, done.set)
            assert done.wait(LONG)

        self.cancel = cancel


@pytest.mark.parametrize(("owner", "name"), STEPS, ids=[name for _, name in STEPS])
@pytest.mark.parametrize("how", ["async with", "astart"])
def test_a_start_that_is_cancelled_leaves_nothing(
    owner: Any, name: str, how: str, place: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    interruption = Interruption(monkeypatch, owner, name)
    entered = False

    async def use(node: Node) -> None:
        nonlocal entered
        if how == "astart":
            await node.astart()
            return
        async with node:
            entered = True

    async def main() -> None:
        node = place.node()
        task = asyncio.create_task(use(node))
        interruption.aim(task)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert interruption.happened
        assert not entered
        assert place.left_behind() == []
        assert not node.ready()[0]

    asyncio.run(main())


def test_a_timeout_around_a_start_is_a_timeout(place: Location) -> None:
    async def use() -> None:
        async with asyncio.timeout(0), place.node():
            raise AssertionError("it was entered")

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await use()
        assert place.left_behind() == []

    asyncio.run(main())


@pytest.mark.parametrize(("owner", "name"), STEPS, ids=[name for _, name in STEPS])
def test_a_start_that_fails_leaves_nothing(
    owner: Any, name: str, place: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This includes a plugin that raises an error of the wrong type."""

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("broken")

    monkeypatch.setattr(owner, name, broken)

    async def use() -> None:
        async with place.node():
            raise AssertionError("it was entered")

    async def main() -> None:
        with pytest.raises(RuntimeError, match="broken"):
            await use()
        assert place.left_behind() == []

    asyncio.run(main())


def test_a_server_that_cannot_be_made_leaves_no_lock(
    place: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("broken")

    monkeypatch.setattr(node_module, "HTTPServer", broken)
    with pytest.raises(RuntimeError, match="broken"):
        place.node().start()


@pytest.mark.parametrize("times", [1, 3])
def test_a_stop_that_is_cancelled_is_finished(place: Location, times: int) -> None:
    async def main() -> None:
        node = await place.node().astart()
        await node.await_ready(LONG)
        task = asyncio.create_task(node.astop())
        for _ in range(times):
            await asyncio.sleep(0)
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert place.left_behind() == []

    asyncio.run(main())


Call = Callable[[Node], Awaitable[Any]]
CALLS: dict[str, Call] = {
    "aput": lambda node: node.kv.aput("m", "k", 1),
    "aput_if": lambda node: node.kv.aput_if("m", "other", 1, 0),
    "adelete": lambda node: node.kv.adelete("m", "k"),
    "aget": lambda node: node.kv.aget("m", "k"),
    "aget_stale": lambda node: node.kv.aget_stale("m", "k"),
    "alist": lambda node: node.kv.alist("m"),
    "aset": lambda node: node.distribute.aset(["a"]),
    "aassignment": lambda node: node.distribute.aassignment(),
    "session": lambda node: _in_a_session(node),
    "await_ready": lambda node: node.await_ready(LONG),
}


async def _in_a_session(node: Node) -> None:
    async with node.session() as session:
        await session.kv.aput("m", "s", 1)


def requests_of(node: Node) -> list[Any]:
    """Return all requests of a running node that still wait for an answer."""
    server: Any = internals(node).server
    own = server.sessions.shared
    window = own._window
    return [
        *own._waiting,
        *server.retries._waiting[True],
        *server.retries._waiting[False],
        *server.sessions._opening,
        *(window._under_way if window is not None else ()),
        *server.condition._waiters,
    ]


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_call_that_is_cancelled_at_any_point_leaves_nothing(place: Location, call: Call) -> None:
    async def main() -> None:
        async with place.node(http=False) as node:
            await node.await_ready(LONG)
            await node.kv.aput("m", "k", 0)
            for steps in range(12):
                task = asyncio.ensure_future(call(node))
                for _ in range(steps):
                    await asyncio.sleep(0)
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            threads = threading.active_count()
            # One more request passes through the log and the state machine after all of them.
            await node.kv.aput("m", "last", 1)
            assert await node.kv.aget("m", "last") == 1
            async with asyncio.timeout(LONG):
                while requests_of(node):  # noqa: ASYNC110 - no event announces it
                    await asyncio.sleep(0.01)
            assert threading.active_count() <= threads
            assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def test_who_waits_for_a_cluster_that_never_comes_and_goes_away_leaves_no_thread(
    place: Location,
) -> None:
    async def main() -> None:
        async with place.node(http=False, expect=3) as node:
            before = threading.active_count()
            waiting = [asyncio.create_task(node.await_ready(LONG)) for _ in range(20)]
            await asyncio.sleep(0)
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            assert threading.active_count() == before
            assert requests_of(node) == []

    asyncio.run(main())


def test_a_caller_that_waits_for_a_stopped_node_gets_an_error(place: Location) -> None:
    async def main() -> None:
        node = await place.node(http=False, expect=3).astart()
        condition = internals(node).server.condition
        in_a_thread = asyncio.create_task(asyncio.to_thread(node.wait_ready, 10 * LONG))
        awaited = [asyncio.create_task(node.await_ready(10 * LONG)) for _ in range(3)]
        async with asyncio.timeout(LONG):
            while len(condition._waiters) < 3:  # noqa: ASYNC110
                await asyncio.sleep(0)
            await node.astop()
            for told in await asyncio.gather(in_a_thread, *awaited, return_exceptions=True):
                assert isinstance(told, Stopped)

    asyncio.run(main())


def test_a_signal_wakes_every_loop_and_forgets_who_went_away() -> None:
    condition, ready = StateCondition(), threading.Event()

    async def elsewhere() -> bool:
        return await condition.await_for(ready.is_set, float("inf"))

    other = threading.Thread(target=lambda: asyncio.run(elsewhere()))
    other.start()

    async def main() -> None:
        task = asyncio.create_task(elsewhere())
        while len(condition._waiters) < 2:  # noqa: ASYNC110 - the other one is a thread
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(condition._waiters) == 1
        ready.set()
        condition.notify()

    asyncio.run(main())
    other.join(LONG)
    assert not other.is_alive()
    assert not condition._waiters


def test_an_error_of_the_undoing_is_not_lost() -> None:
    release = threading.Event()

    def undo() -> None:
        raise RuntimeError("it cannot be undone")

    async def main() -> None:
        task = asyncio.create_task(run_shielded("work", lambda: release.wait(LONG), undo))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        release.set()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert "it cannot be undone" in str(caught.value.__cause__)

    asyncio.run(main())
    gc.collect()
