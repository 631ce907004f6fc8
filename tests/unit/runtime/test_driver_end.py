"""Requests of a driver when their callers are cancelled or when the driver halts."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from braft_core import Node
from braft_core.errors import NoLeader, OutcomeUnknown, Stopped, StorageError, StorageFull
from braft_core.raft import AppendEntries, Entry, EntryType, SnapshotMeta
from braft_core.runtime.core_requests import barrier, change_membership, transfer_leadership
from braft_core.runtime.driver import Driver
from braft_core.runtime.requests import Command, Query
from braft_core.services.capabilities import NONE
from braft_core.services.cluster import agreement_command
from braft_testing.internals import Internals, internals
from braft_testing.processes import PATIENCE


@pytest.fixture
def host() -> Iterator[Internals]:
    """Start a node that leads alone."""
    node = Node(discovery="none", data_dir=":memory:", ip="127.0.0.1", rport=0, http=False)
    with node:
        node.kv.put("m", "k", 1)
        yield internals(node)


def driver_of(host: Internals) -> Driver:
    driver = host.server.running().driver
    assert driver is not None
    return driver


def test_who_goes_away_before_the_answer_does_not_end_the_node(host: Internals) -> None:
    driver = driver_of(host)

    async def go_away() -> None:
        # Cancelled before the driver acts in the next iteration of the loop.
        transfer_leadership(driver, "").cancel()
        meta = SnapshotMeta("s", 1, 1, driver.core.configuration, 1, 0)
        taken = asyncio.ensure_future(driver.snapshot_taken(meta, 0))
        await asyncio.sleep(0)
        taken.cancel()
        await asyncio.gather(taken, return_exceptions=True)
        await barrier(driver, PATIENCE)

    host.loop.run(go_away(), 2 * PATIENCE)
    assert host.threads.failure is None


@pytest.mark.parametrize("late", [False, True], ids=["in the same turn", "afterwards"])
def test_a_driver_that_goes_on_no_more_tells_those_who_call(host: Internals, late: bool) -> None:
    driver = driver_of(host)
    meta = SnapshotMeta("s", 1, 1, driver.core.configuration, 1, 0)

    async def call() -> list[Any]:
        def fail() -> None:
            driver.on_disk_trouble(StorageError("the disk is gone"))

        if late:
            fail()
        taken = asyncio.ensure_future(driver.snapshot_taken(meta, 0))
        asked = [
            barrier(driver, PATIENCE),
            change_membership(driver, "remove_server", "x", "", PATIENCE),
            transfer_leadership(driver, ""),
        ]
        await asyncio.sleep(0) if late else fail()
        return await asyncio.gather(*asked, taken, return_exceptions=True)

    answers = host.loop.run(call(), PATIENCE)
    assert [type(answer) for answer in answers] == [Stopped] * 4


def test_a_driver_that_goes_on_no_more_keeps_no_messages(host: Internals) -> None:
    driver = driver_of(host)
    heartbeat = AppendEntries(
        "x", host.threads.components.server_id, 1, 0, 0, [Entry(1, 1, EntryType.COMMAND, b"x")], 0
    )

    async def receive() -> int:
        driver.halt(Stopped("the disk is gone"))
        for _ in range(3):
            driver.on_message(heartbeat)
        await asyncio.sleep(0)
        return len(driver._inbox)

    assert host.loop.run(receive(), PATIENCE) == 0


def test_a_read_whose_index_never_comes_ends_at_its_deadline(host: Internals) -> None:
    """The leader confirms the index and is partitioned before its entries arrive."""

    async def read() -> None:
        query = Query("kv", "get", ("m", "k"), 0.1, asyncio.get_running_loop())
        driver_of(host).serve(10**6, [query])
        await query.awaitable

    with pytest.raises(NoLeader):
        host.loop.run(read(), PATIENCE)


def test_a_disk_that_recovers_while_one_asks_is_no_error(
    host: Internals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk recovers between two checks of the calling thread."""
    looks = iter([StorageFull("no space")])
    me = threading.current_thread()

    def look(driver: Driver) -> StorageFull | None:
        return next(looks, None) if threading.current_thread() is me else None

    monkeypatch.setattr(Driver, "disk_trouble", property(look), raising=False)
    assert host.threads.ready() == (False, "no writes: no space")
    assert host.threads.ready() == (True, "")


def test_a_node_whose_state_machine_failed_takes_no_part_any_more(
    host: Internals, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(entries: object, outcomes: object) -> None:
        raise MemoryError

    monkeypatch.setattr(host.threads.components.machine, "apply_many", fail)

    async def write() -> None:
        command = Command(agreement_command(NONE), 60, asyncio.get_running_loop())
        driver_of(host).submit(command)
        with pytest.raises(OutcomeUnknown):
            await command.awaitable
        later = Command(agreement_command(NONE), 60, asyncio.get_running_loop())
        driver_of(host).submit(later)
        with pytest.raises(Stopped):
            await later.awaitable

    host.loop.run(write(), PATIENCE)
    assert host.threads.failure is not None


def test_an_interrupted_submit_does_not_lose_the_wake_up_of_the_next(
    host: Internals, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = driver_of(host)
    wake = driver.loop.call_soon_threadsafe

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    driver._awake = False
    monkeypatch.setattr(driver.loop, "call_soon_threadsafe", interrupt, raising=False)
    first = Query("kv", "get", ("m", "k"), PATIENCE)
    with pytest.raises(KeyboardInterrupt):
        driver.submit(first)
    assert not driver._awake
    monkeypatch.setattr(driver.loop, "call_soon_threadsafe", wake, raising=False)
    second = Query("kv", "get", ("m", "k"), PATIENCE)
    driver.submit(second)
    assert second.blocking.result(PATIENCE) == first.blocking.result(PATIENCE)
