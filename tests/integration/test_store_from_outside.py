"""The store, leases and watches of clients of real nodes that are killed, and of killed clients."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from braft_core.client import Client
from braft_core.errors import BraftError
from braft_core.store import Change, Key, Put
from braft_testing.processes import PATIENCE, ProcessCluster, wait_for

pytestmark = pytest.mark.integration

#: A client that holds a lease until it is lost.
HOLDER = """
import sys
from braft_core.client import Client

with Client(sys.argv[1:]) as client:
    lease = client.lease(5).grant()
    client.store.put("owner", "me", lease=lease)
    print("held", flush=True)
    lease.lost.wait()
    print("lost", flush=True)
"""


def urls(cluster: ProcessCluster) -> list[str]:
    return [node.url for node in cluster.nodes]


def test_a_client_s_lease_and_writes_go_on_when_the_leader_is_killed(tmp_path: Path) -> None:
    with ProcessCluster(3, tmp_path) as cluster:
        cluster.start()
        cluster.wait_ready()
        # Long ttl: on a busy machine an election may take as long as a short one.
        with Client(urls(cluster), timeout=20) as client, client.lease(600) as lease:
            client.store.put("owner", "me", lease=lease)
            cluster.kill(cluster.leader())
            done = wait_for(lambda: put_once(client, "after", "1"))
            assert done
            before = lease.valid_until
            client._keeper._held.renew_now()
            wait_for(lambda: lease.valid_until > before, what="the lease is renewed")
            entry = client.store.get("owner")
            assert entry is not None
            assert entry.lease == lease.id
            assert asyncio.run(scan(urls(cluster))) == [b"after", b"owner"]
            lease.check()


def put_once(client: Client, key: str, value: str) -> bool:
    """Put a key that may be there, since an earlier attempt may have been applied."""
    try:
        client.store.txn([Key(key).version == 0], [Put(key, value)])
    except BraftError:
        return False
    return True


async def scan(nodes: list[str]) -> list[bytes]:
    async with Client(nodes, timeout=20) as client:
        return [entry.key async for entry in client.store.scan(page=1)]


@pytest.mark.slow
def test_leases_of_killed_and_stopped_clients_end(tmp_path: Path) -> None:
    with ProcessCluster(1, tmp_path) as cluster:
        cluster.start()
        cluster.wait_ready()
        with Client(urls(cluster)) as client:
            for number in (signal.SIGKILL, signal.SIGSTOP):
                with holder(urls(cluster)) as (pid, output):
                    assert output.readline() == b"held\n"
                    assert client.store.get("owner") is not None
                    os.kill(pid, number)
                    wait_for(lambda: client.store.get("owner") is None, what="the lease ends")
                    if number == signal.SIGSTOP:
                        os.kill(pid, signal.SIGCONT)
                        assert output.readline() == b"lost\n"


@contextmanager
def holder(nodes: list[str]) -> Iterator[tuple[int, IO[bytes]]]:
    """Run a client that holds a lease; yield its process id and its output."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, *nodes], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield process.pid, process.stdout
    finally:
        process.kill()
        process.wait(PATIENCE)
        process.stdout.close()


#: Keys that are written while nodes are killed.
KEYS = 40


@pytest.mark.slow
def test_watches_miss_nothing_when_leaders_are_killed(tmp_path: Path) -> None:
    with ProcessCluster(3, tmp_path) as cluster:
        cluster.start()
        cluster.wait_ready()
        with Client(urls(cluster), timeout=20) as client:
            since = client.store.status().revision
            # Each begins at another node. The one to which a watch is connected is killed, too.
            orders = [urls(cluster)[n:] + urls(cluster)[:n] for n in range(3)]
            watched = [Watched(order, since, is_async=n == 2) for n, order in enumerate(orders)]
            for number in range(KEYS):
                if number % 20 == 10:
                    victim = cluster.leader()
                    cluster.kill(victim)
                wait_for(lambda: put_once(client, f"k/{number:03}", "x"))  # noqa: B023 - called here
                if number % 20 == 15:
                    cluster.start(victim)
        expected = [b"k/%03d" % number for number in range(KEYS)]
        for each in watched:
            seen = each.end()
            assert [key for key, _ in seen] == expected
            revisions = [revision for _, revision in seen]
            assert revisions == sorted(set(revisions))
            assert revisions[0] > since


class Watched:
    """A thread that watches until the last key was written."""

    def __init__(self, nodes: list[str], since: int, is_async: bool) -> None:
        self._nodes, self._since = nodes, since
        self._seen: list[tuple[bytes, int]] = []
        self._error: Exception | None = None
        target = self._afollow if is_async else self._follow
        self._thread = threading.Thread(target=self._run, args=(target,), daemon=True)
        self._thread.start()

    def end(self) -> list[tuple[bytes, int]]:
        self._thread.join(PATIENCE)
        assert self._error is None
        assert not self._thread.is_alive()
        return self._seen

    def _run(self, target: Callable[[], None]) -> None:
        try:
            target()
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self._error = error

    def _take(self, change: Change) -> bool:
        self._seen.append((change.entry.key, change.revision))
        return change.entry.key == b"k/%03d" % (KEYS - 1)

    def _follow(self) -> None:
        with (
            Client(self._nodes, timeout=20) as client,
            client.store.watch("k/", since=self._since, reconnect_timeout=PATIENCE) as changes,
        ):
            for change in changes:
                if self._take(change):
                    return

    def _afollow(self) -> None:
        async def follow() -> None:
            client = Client(self._nodes, timeout=20)
            watch = client.store.watch("k/", since=self._since, reconnect_timeout=PATIENCE)
            async with client, watch as changes:
                async for change in changes:
                    if self._take(change):
                        return

        asyncio.run(follow())
