"""What a rolling restart of all nodes costs clients that write meanwhile.

The clients use the client library, with its own retries and no others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from braft_core.client import Client
from braft_testing.load import CountingClient, Load
from braft_testing.processes import ProcessCluster, free_ports

pytestmark = pytest.mark.integration

WRITERS = 4
#: Writes between two steps of a rolling restart, while all nodes serve.
BETWEEN = 100
COUNTERS = "counters"


class Traffic(NamedTuple):
    """Writers of new keys, and clients that increment counters."""

    load: Load
    counters: list[CountingClient]

    @property
    def failures(self) -> list[str]:
        """All errors that callers got."""
        parts: list[Load | CountingClient] = [self.load, *self.counters]
        told = [error for part in parts for error in part.failures]
        return [f"{type(error).__name__}: {error}" for error in told]

    def check(self, cluster: ProcessCluster) -> None:
        """Check that each node has all acknowledged writes and that each counter is exact."""
        for index in cluster.awake:
            client = cluster.client(index, timeout=20)
            self.load.check(client.kv_list(self.load.map_name))
            for number, counter in enumerate(self.counters):
                counter.check(client.kv_get(COUNTERS, str(number)))


@contextmanager
def traffic(urls: list[str]) -> Iterator[Traffic]:
    """Run callers, each of which prefers another of these nodes."""
    with ExitStack() as stack:

        def client(number: int) -> Client:
            turn = number % len(urls)
            return stack.enter_context(Client(urls[turn:] + urls[:turn], timeout=20.0))

        puts = [partial(client(number).kv_put, "load") for number in range(WRITERS)]
        counting = [CountingClient(client(i), COUNTERS, str(i)) for i in range(len(urls))]
        callers = Traffic(Load(puts), counting)
        with callers.load, ExitStack() as counted:
            for counter in counting:
                counted.enter_context(counter)
            yield callers


@pytest.fixture
def three(tmp_path: Path) -> Iterator[ProcessCluster]:
    with ProcessCluster(3, tmp_path) as cluster:
        cluster.start()
        cluster.wait_ready()
        yield cluster


def stopped(cluster: ProcessCluster, index: int) -> None:
    """Stop the node by SIGTERM, as an orchestrator does."""
    assert cluster.stop(index) == 0


def killed(cluster: ProcessCluster, index: int) -> None:
    """Kill the node by SIGKILL."""
    cluster.kill(index)


def roll(
    cluster: ProcessCluster,
    callers: Traffic,
    end: Callable[[ProcessCluster, int], None],
    between: Callable[[int], None] = lambda index: None,
) -> None:
    """Restart every node once, each after the one before is ready.

    Restart the current leader each time if it was not restarted yet: each hand-over counts.
    """
    left = {node.index for node in cluster.nodes}
    led = 0
    while left:
        callers.load.more(BETWEEN)
        leader = cluster.leader()
        index = leader if leader in left else min(left)
        led += index == leader
        left.discard(index)
        end(cluster, index)
        callers.load.more(BETWEEN)
        between(index)
        cluster.start(index)
        cluster.wait_ready(index)
    callers.load.more(BETWEEN)
    assert led, "no leader was restarted"


def report(name: str, callers: Traffic, record: Callable[[str, object], None]) -> None:
    """Record and print the figures of docs/operations.md (``pytest -s`` shows them)."""
    load = callers.load
    counts = sum(counter.value for counter in callers.counters)
    text = (
        f"{name}: {len(load.acknowledged)} writes and {counts} counts, "
        f"{len(callers.failures)} failed; longest pause of all writers {load.longest_pause:.2f} s, "
        f"slowest write {load.slowest:.2f} s"
    )
    record("rolling restart", text)
    print(text)


def test_stopping_all_one_after_the_other_fails_no_write(
    three: ProcessCluster, record_property: Callable[[str, object], None]
) -> None:
    with traffic([node.url for node in three.nodes]) as callers:
        roll(three, callers, stopped)
    report("stopped", callers, record_property)
    assert callers.failures == []
    callers.check(three)


def test_killing_all_one_after_the_other_loses_and_doubles_no_write(
    three: ProcessCluster, record_property: Callable[[str, object], None]
) -> None:
    with traffic([node.url for node in three.nodes]) as callers:
        roll(three, callers, killed)
    report("killed", callers, record_property)
    # Only requests in flight at the killed node have an unknown outcome: one of each caller.
    assert all(told.startswith("OutcomeUnknown") for told in callers.failures), callers.failures
    assert len(callers.failures) <= 3 * (WRITERS + len(callers.counters))
    callers.check(three)


def test_moving_all_to_other_ports_one_after_the_other_fails_no_write(
    three: ProcessCluster, record_property: Callable[[str, object], None]
) -> None:
    ports = free_ports(9)
    moved = [f"http://127.0.0.1:{port}" for port in ports[2::3]]
    with traffic([node.url for node in three.nodes] + moved) as callers:
        roll(
            three,
            callers,
            stopped,
            lambda index: three.move(index, ports[3 * index : 3 * index + 3]),
        )
    report("moved", callers, record_property)
    assert callers.failures == []
    callers.check(three)
    addresses = {node.address for node in three.nodes}
    three.wait_for(lambda: {m.address for m in three.client(0).members()} == addresses)
