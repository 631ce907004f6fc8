"""Long commands are read on other threads than the loop, which sends heartbeats meanwhile."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from braft_core import StateMachineService, command, query
from braft_core.gc_pause import gc_paused
from braft_core.serializers.msgpack import MsgpackSerializer
from braft_core.services.envelope import (
    LONG_COMMAND,
    encode_command,
    read_need,
    with_session,
)
from braft_testing.memory_cluster import MemoryCluster
from braft_testing.processes import PATIENCE
from tests.unit.runtime.test_admission import KNOWN, MACHINE, Bench

MSGPACK = MsgpackSerializer()
DAY = datetime(2026, 1, 2, tzinfo=UTC)
LONG = encode_command(MSGPACK, "kv", "put", ["m", "k", [[]] * 100_000])


class Diary(StateMachineService):
    """Holds the last days that were written."""

    name = "diary"

    def __init__(self) -> None:
        self._days: list[Any] = []

    @command
    def add(self, days: list[Any]) -> int:
        self._days = days
        return len(days)

    @query
    def count(self) -> int:
        return len(self._days)

    def snapshot(self) -> Any:
        return [day.isoformat() for day in self._days]

    def restore(self, state: Any) -> None:
        self._days = [datetime.fromisoformat(day) for day in state]


@contextmanager
def _decodings(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Record the names of the threads that decode something long."""
    threads: list[str] = []
    loads = MsgpackSerializer.loads

    def recorded(self: MsgpackSerializer, data: bytes) -> Any:
        if len(data) > LONG_COMMAND:
            threads.append(threading.current_thread().name)
        return loads(self, data)

    with monkeypatch.context() as patch:
        patch.setattr(MsgpackSerializer, "loads", recorded)
        yield threads


@pytest.mark.parametrize("stamp", [False, True], ids=["plain", "in a session"])
def test_the_loop_admits_a_long_command_without_reading_it(
    monkeypatch: pytest.MonkeyPatch, stamp: bool
) -> None:
    bench = Bench()
    bench.agree(KNOWN)
    need = read_need(MACHINE.serializers, LONG)
    data = with_session(LONG, (bytes(16), 1, 1)) if stamp else LONG
    with _decodings(monkeypatch) as threads:
        assert bench.gate.refusal(data, need) is None
    assert threads == []


def test_no_loop_decodes_a_long_command(monkeypatch: pytest.MonkeyPatch) -> None:
    with MemoryCluster(3, services=["kv", Diary]) as cluster:
        leader = cluster.leader()
        follower = cluster.followers_of(leader)[0]
        with _decodings(monkeypatch) as threads:
            for index in (leader, follower):
                node = cluster.node(index)
                days = [DAY] * 10_000
                assert node.execute("diary", "add", days, timeout=PATIENCE) == len(days)
                node.kv.put("m", "k", [[]] * 100_000, timeout=PATIENCE)
        assert len(threads) >= 2 * 2 * cluster.size
        assert [name for name in threads if name.endswith("-loop")] == []


def test_decoding_collects_garbage_a_few_times_only() -> None:
    data = MSGPACK.dumps([[]] * 300_000)
    collections: list[int] = []

    def count(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            collections.append(info["generation"])

    thresholds = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    gc.callbacks.append(count)
    try:
        value = MSGPACK.loads(data)
    finally:
        gc.callbacks.remove(count)
        gc.set_threshold(*thresholds)
    assert len(value) == 300_000
    # After each slice of 64 KiB, instead of after each 700 lists: 428 times.
    assert len(collections) <= 20


def test_a_pause_leaves_the_collector_as_it_was() -> None:
    assert gc.isenabled()
    with pytest.raises(KeyError), gc_paused():
        raise KeyError(gc.isenabled())
    assert gc.isenabled()
    gc.disable()
    try:
        with gc_paused():
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()
