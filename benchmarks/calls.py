"""``python -m benchmarks.calls``: how many functions a put calls, by node and thread.

Three simulated nodes (:mod:`braft_testing.simulation.runtime`) run in one thread and in virtual
time, so the figures do not depend on the machine or its load, and two runs of one tree are equal.
They show what a change to the path of a put does when processor time is too noisy to show it.

The nodes are those of production on a transport, a disk and threads that are simulated. What these
would call is not counted, and neither are asyncio's functions. Calls of an idle cluster in the same
virtual time are subtracted.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any
from unittest.mock import patch

from benchmarks.peers import VALUE_BYTES
from benchmarks.study import Study, options
from benchmarks.workload import fill, key_of
from braft_core.config import Settings
from braft_core.kv import KV
from braft_core.runtime import clock
from braft_core.runtime.timing import Timing
from braft_testing.simulation.runtime.discovery import Directory
from braft_testing.simulation.runtime.network import VirtualNetwork
from braft_testing.simulation.runtime.node import SimulatedNode, Surroundings, address_of
from braft_testing.simulation.runtime.observed import DurabilityJudge
from braft_testing.simulation.runtime.scheduler import Lane, Process, Scheduler
from braft_testing.simulation.runtime.virtual_loop import VirtualLoop

__all__ = ["Calls", "SimulatedCluster", "main"]

_NODES = 3
_EPOCH_NS = 1_750_000_000_000_000_000
#: Virtual seconds: of a message, of a write to the disk, and until a cluster serves.
_TRAVEL, _WRITE, _PATIENCE = 0.0002, 0.002, 120.0
#: Functions of these files belong to the simulation, the event loop or this benchmark.
_NOT_COUNTED = ("/asyncio/", "/simulation/", "/benchmarks/")
_MAP = "bench"


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls for each put. ``python``: of Python functions, resumed coroutines included."""

    python: float
    native: float

    @property
    def all(self) -> float:
        """Calls of both kinds."""
        return self.python + self.native


class SimulatedCluster:
    """Three simulated nodes that are up, and a client on a loop of its own, which calls the leader.

    Use it within :meth:`running`.
    """

    def __init__(self) -> None:
        rng = random.Random(1)
        self._scheduler = scheduler = Scheduler(10**9)
        self._counts: Counter[tuple[str, bool]] = Counter()
        self._lane = ""
        self._counted: dict[str, bool] = {}
        around = Surroundings(
            "calls",
            scheduler,
            VirtualNetwork(scheduler, rng, lambda: _TRAVEL),
            Directory(rng, [address_of(number) for number in range(_NODES)]),
            _settings(),
            Timing(),
            _NODES,
            _latency,
            DurabilityJudge(),
        )
        self._nodes = [SimulatedNode(number, around) for number in range(_NODES)]
        client = Process("client", scheduler, lambda kind: _latency("client", kind))
        self._loop = VirtualLoop(client, "client")  # type: ignore[abstract]  # what is missing raises

    @classmethod
    @contextmanager
    def running(cls) -> Iterator[SimulatedCluster]:
        """Start the nodes in virtual time; drop them at the end."""
        cluster = cls()
        scheduler = cluster._scheduler
        readings = clock.Clock(
            lambda: scheduler.now, lambda: _EPOCH_NS + int(scheduler.now * 1e9), lambda: 0.0
        )
        with clock.installed(readings), patch.object(Lane, "after", cluster._labelled(Lane.after)):
            cluster._loop.begin()
            for node in cluster._nodes:
                node.start()
            cluster._until(lambda: all(node.server.view.ready()[0] for node in cluster._nodes))
            try:
                yield cluster
            finally:
                for node in cluster._nodes:
                    node.stop(lambda life: [], calm=False)
                cluster._loop.process.end()

    def _labelled(self, after: Callable[..., None]) -> Callable[..., None]:
        """Return ``Lane.after``, noting whose action runs."""

        def labelled(lane: Lane, delay: float, action: Callable[[], None]) -> None:
            name = f"{lane.process.name.partition('.')[0]} {lane.name}"

            def run() -> None:
                before, self._lane = self._lane, name
                try:
                    action()
                finally:
                    self._lane = before

            after(lane, delay, run)

        return labelled

    def _until(self, condition: Callable[[], bool]) -> None:
        if not self._scheduler.run_until(condition, self._scheduler.now + _PATIENCE):
            raise TimeoutError(f"not within {_PATIENCE:g} virtual seconds")

    def _wait(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.run_coroutine_threadsafe(work, self._loop)
        self._until(task.done)
        task.result()

    @property
    def _leader(self) -> SimulatedNode:
        return next(node for node in self._nodes if node.server.is_leader)

    def put(self, puts: int, outstanding: int) -> None:
        """Put that many values at the leader."""
        life, value = self._leader.life, bytes(VALUE_BYTES)
        if life is None:
            raise RuntimeError("the leader is down")
        kv = KV(life, clock.monotonic)

        async def put(number: int) -> None:
            await kv.aput(_MAP, key_of(number), value)

        self._wait(fill(put, puts, outstanding))

    def calls(self, puts: int, outstanding: int) -> dict[str, Calls]:
        """Put values; return the calls by thread, of a follower those of both divided by two."""
        self.put(2 * outstanding, outstanding)
        before = self._scheduler.now
        busy = self._profiled(lambda: self.put(puts, outstanding))
        seconds = self._scheduler.now - before
        idle = self._profiled(lambda: self._scheduler.run_for(seconds))
        busy.subtract(idle)
        leader = self._leader.name
        found: Counter[tuple[str, bool]] = Counter()
        for (lane, native), count in busy.items():
            found[_thread(lane, leader), native] += count
        shares = {thread: puts * (2 if thread.startswith("follower") else 1) for thread, _ in found}
        return {
            thread: Calls(found[thread, False] / share, found[thread, True] / share)
            for thread, share in sorted(shares.items())
        }

    def _profiled(self, action: Callable[[], None]) -> Counter[tuple[str, bool]]:
        self._counts.clear()
        sys.setprofile(self._count)
        try:
            action()
        finally:
            sys.setprofile(None)
        return self._counts.copy()

    def _count(self, frame: FrameType, event: str, argument: object) -> None:
        if event not in ("call", "c_call"):
            return
        file = frame.f_code.co_filename
        counted = self._counted.get(file)
        if counted is None:
            counted = self._counted[file] = not any(part in file for part in _NOT_COUNTED)
        if counted:
            self._counts[self._lane, event == "c_call"] += 1

    def processor_micros(self, puts: int, outstanding: int) -> float:
        """Put values; return the processor time of all for each, simulation included."""
        before = time.thread_time()
        self.put(puts, outstanding)
        return (time.thread_time() - before) * 1e6 / puts


def _thread(lane: str, leader: str) -> str:
    """Return the name of a thread by the part of its node."""
    node, _, name = lane.partition(" ")
    if node in ("", "client"):
        return node or "network"  # a message arrives
    return f"{'leader' if node == leader else 'follower'} {name}"


def _latency(process: str, kind: str) -> float:
    return _WRITE if kind == "writer" else 1e-5


def _settings() -> Settings:
    given: dict[str, Any] = {
        "cluster_name": "calls",
        "discovery": "none",
        "http": False,
        "data_dir": ":memory:",
        "sleep": (0.0, 0.1),
        "autopilot": "off",
        "digest_interval": 0.0,
        "snapshot_entries": 10**6,
        "insecure": True,
    }
    return Settings.load(kwargs=given, environ={})


def main(argv: list[str] | None = None) -> int:
    """Run the study."""
    parser = options("calls", __doc__)
    parser.add_argument("--puts", type=int, default=640, help="number of puts of each load")
    args: argparse.Namespace = parser.parse_args(argv)
    study = Study("calls", args)
    puts = 128 if args.quick else args.puts
    figures: dict[str, Any] = {}
    with SimulatedCluster.running() as cluster:
        for outstanding in (1, 64):
            found = cluster.calls(puts, outstanding)
            weights = {thread: 2 if thread.startswith("follower") else 1 for thread in found}
            total = Calls(
                sum(calls.python * weights[thread] for thread, calls in found.items()),
                sum(calls.native * weights[thread] for thread, calls in found.items()),
            )
            rows = [*found.items(), ("three nodes and client", total)]
            study.table(
                f"function calls for a put, {outstanding} outstanding",
                ["thread", "Python", "C", "both"],
                [
                    [thread, f"{calls.python:.1f}", f"{calls.native:.1f}", f"{calls.all:.1f}"]
                    for thread, calls in rows
                ],
            )
            micros = [cluster.processor_micros(puts, outstanding) for _ in range(5)]
            study.say(f"processor time of all, median: {sorted(micros)[2]:.0f} µs")
            figures[str(outstanding)] = {thread: calls.all for thread, calls in rows}
    study.save(figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
