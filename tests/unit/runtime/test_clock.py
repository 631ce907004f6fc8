"""The consensus clock includes the time in which the machine is suspended."""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterator

import pytest

from braft_core.raft import AppendEntries, RaftConfig, Role
from braft_core.raft.types import EntryType
from braft_core.runtime import clock
from braft_core.runtime.staleness import StalenessBound
from braft_testing.core_harness import CoreHarness
from braft_testing.memory_cluster import MemoryCluster

BOOTTIME = getattr(time, "CLOCK_BOOTTIME", None)


class Machine:
    """A machine that can be suspended: ``CLOCK_MONOTONIC`` stands still then (tikv#964)."""

    def __init__(self) -> None:
        self.monotonic = 100.0
        self.boottime = 100.0

    def run(self, seconds: float) -> None:
        self.monotonic += seconds
        self.boottime += seconds

    def suspend(self, seconds: float) -> None:
        self.boottime += seconds


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    machine = Machine()
    monkeypatch.setattr(time, "monotonic", lambda: machine.monotonic)
    monkeypatch.setattr(
        time,
        "clock_gettime",
        lambda which: machine.boottime if which == BOOTTIME else machine.monotonic,
    )
    with clock.installed(clock.system_clock()):
        yield machine


@pytest.fixture
def reloaded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    yield
    monkeypatch.undo()
    importlib.reload(clock)


needs_boottime = pytest.mark.skipif(BOOTTIME is None, reason="no clock counts suspends here")


@needs_boottime
def test_a_suspend_counts(machine: Machine) -> None:
    before = clock.monotonic()
    machine.run(1.0)
    machine.suspend(8.0)
    assert clock.monotonic() - before == 9.0


@needs_boottime
def test_a_stale_read_after_a_suspend_is_as_old_as_that(machine: Machine) -> None:
    """One once reported 2.2 s although it lacked a write acknowledged 8 s earlier."""
    harness = CoreHarness("abc")
    core = harness.nodes["c"]
    config = harness.config
    staleness = StalenessBound(config.election_timeout, config.heartbeat_interval)

    def hear(message: object) -> bool:
        if isinstance(message, AppendEntries) and message.to == "c":
            core.step(message)
            staleness.observe_append(core, message, core.commit_index)
            return True
        return False

    harness.now = clock.monotonic()
    harness.lose = hear
    harness.elect("a")
    for _ in range(20):
        machine.run(0.1)
        harness.advance(clock.monotonic() - harness.now)
    assert staleness.seconds(clock.monotonic(), core.commit_index) < 1.5
    machine.suspend(8.0)
    assert staleness.seconds(clock.monotonic(), core.commit_index) > 8.0


@needs_boottime
def test_a_leader_that_wakes_up_serves_nothing_by_its_lease_and_leads_no_more(
    machine: Machine,
) -> None:
    harness = CoreHarness("abc", config=RaftConfig(lease_reads=True))
    harness.now = clock.monotonic()
    for core in harness.nodes.values():
        core.tick(harness.now)
    a = harness.elect("a")
    a.propose([b"x"], type=EntryType.COMMAND)
    harness.settle()
    machine.run(harness.now - clock.monotonic())
    assert a.lease_read() == a.commit_index
    machine.suspend(8.0)
    a.tick(clock.monotonic())
    assert a.role is not Role.LEADER
    assert a.lease_read() == -1


def test_without_such_a_clock_the_usual_one_is_read(
    monkeypatch: pytest.MonkeyPatch, reloaded: None
) -> None:
    monkeypatch.delattr(time, "CLOCK_BOOTTIME", raising=False)
    monkeypatch.setattr(time, "monotonic", lambda: 7.0)
    importlib.reload(clock)
    assert clock.monotonic() == 7.0


@needs_boottime
def test_a_kernel_that_does_not_know_it_is_no_obstacle(
    monkeypatch: pytest.MonkeyPatch, reloaded: None
) -> None:
    def refuse(which: int) -> float:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(time, "clock_gettime", refuse)
    monkeypatch.setattr(time, "monotonic", lambda: 7.0)
    importlib.reload(clock)
    assert clock.monotonic() == 7.0


def test_the_loop_may_go_by_another_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clocks differ on every machine that was ever suspended."""
    original = clock.monotonic
    monkeypatch.setattr(clock, "monotonic", lambda: original() + 1e6)
    with MemoryCluster(3) as cluster:
        leader = cluster.leader()
        cluster.node(leader).kv.put("m", "k", 1)
        cluster.stop(leader)
        cluster.wait_ready()
        assert cluster.node(cluster.leader()).kv.get("m", "k") == 1
