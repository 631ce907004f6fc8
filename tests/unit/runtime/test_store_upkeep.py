"""The leader compacts the store's history and sets its quota."""

from __future__ import annotations

import asyncio
import dataclasses
from types import SimpleNamespace
from typing import Any, cast

import pytest

from braft_core import Node
from braft_core.abc import CommandContext
from braft_core.errors import Compacted, NoSpace
from braft_core.runtime import clock
from braft_core.runtime.requests import Command, settle
from braft_core.runtime.store_upkeep import HistoryWindow, StoreUpkeep
from braft_core.runtime.timing import DEFAULT_TIMING
from braft_core.serializers.msgpack import MsgpackSerializer
from braft_core.services.envelope import encode_command
from braft_core.services.store import StoreService
from braft_testing.internals import with_timing
from braft_testing.processes import PATIENCE, wait_for


def test_without_bounds_nothing_is_compacted() -> None:
    window = HistoryWindow(0, 0)
    assert [window.target(now, 10**6, 0) for now in (0, 1, 10**9)] == [None] * 3


def test_revisions_are_kept_for_their_age() -> None:
    window = HistoryWindow(100, 0)
    assert window.target(0, 50, 0) is None
    assert window.target(60, 70, 0) is None
    assert window.target(99, 80, 0) is None
    assert window.target(100, 90, 0) == 50
    # The revision of then is kept, and what came since.
    assert window.target(101, 90, 50) is None
    assert window.target(160, 95, 50) == 70
    assert window.target(10_000, 95, 70) == 95
    assert window.target(20_000, 95, 95) is None


def test_the_number_of_samples_is_bounded() -> None:
    window = HistoryWindow(100, 0)
    for now in range(1_000):
        window.target(now, now, now)
    assert len(window._samples) <= 21


def test_a_new_leader_knows_no_ages() -> None:
    window = HistoryWindow(100, 0)
    window.target(0, 50, 0)
    window.forget()
    assert window.target(100, 60, 0) is None
    assert window.target(200, 70, 0) == 60


def test_a_number_of_revisions_is_kept_and_a_tenth_more_now_and_then() -> None:
    window = HistoryWindow(0, 1_000)
    assert window.target(0, 1_100, 0) is None
    assert window.target(0, 1_101, 0) == 101
    assert window.target(0, 1_101, 101) is None


@pytest.mark.parametrize("now", [0, 100])
def test_the_stricter_bound_decides(now: float) -> None:
    window = HistoryWindow(100, 10)
    window.target(0, 50, 0)
    assert window.target(now, 52, 0) == (50 if now else 42)


def test_a_node_compacts_and_configures_its_store() -> None:
    node = Node(
        discovery="none",
        data_dir=":memory:",
        rport=0,
        http=False,
        store_history=(0, 10),
        store_max_bytes=10_000,
    )
    with_timing(node, dataclasses.replace(DEFAULT_TIMING, store_check=0.02))
    with node:
        for number in range(20):
            node.store.put("k", b"%d" % number, timeout=PATIENCE)

        def is_done() -> bool:
            status = node.query("store", "status")
            return bool(status["compacted"] >= 10 and status["quota"] == 10_000)

        wait_for(is_done)
        with pytest.raises(Compacted):
            node.store.get("k", at=2)
        with pytest.raises(NoSpace):
            node.store.put("k", b"x" * 10_000)


def test_a_node_that_leads_again_knows_no_ages() -> None:
    """While it followed, another leader may have compacted and written."""
    now, replica = [0.0], SimpleNamespace(is_leader=True)
    service = StoreService()
    service.apply("put", [b"k", b"", 0, 0], CommandContext(1, 1, 1))
    components = SimpleNamespace(
        timing=SimpleNamespace(store_check=0.0, live_timeout=1.0),
        settings=SimpleNamespace(store_history=(100.0, 0), store_max_bytes=service.upkeep.quota),
        services=[service],
        serializer=MsgpackSerializer(),
    )
    proposed: list[bytes] = []

    def submit(command: Command) -> None:
        proposed.append(command.data)
        settle([(command, None)])

    async def run() -> None:
        server = SimpleNamespace(components=components, replica=replica, submit=submit)
        upkeep = StoreUpkeep(cast("Any", server))
        upkeep.start()
        for at, leads in ((0.0, True), (50.0, False), (101.0, True)):
            now[0], replica.is_leader = at, leads
            for _ in range(3):
                await asyncio.sleep(0)
        assert proposed == []
        now[0] = 202.0
        for _ in range(3):
            await asyncio.sleep(0)
        assert proposed == [encode_command(components.serializer, "store", "compact", [2])]
        await upkeep.stop()

    system = clock.system_clock()
    with clock.installed(clock.Clock(lambda: now[0], system.wall_ns, system.thread_time)):
        asyncio.run(run())
