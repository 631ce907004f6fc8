"""One braft node that executes :mod:`benchmarks.child` requests; run as a module.

The load runs in the node's own process, as in an application that embeds braft: tasks of an asyncio
loop on the main thread await ``node.kv.aput`` and ``aget``, while the node runs on its threads.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import re
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import workload
from benchmarks.child import serve
from benchmarks.lag import LoopLag
from benchmarks.peers import VALUE_BYTES
from benchmarks.recording import Background
from braft_core import Node
from braft_core.errors import BraftError
from braft_core.runtime.loop import new_loop

__all__ = ["main"]

_MAP = "bench"
#: The map that makes the state large; the load does not use it.
_BALLAST = "ballast"
#: The map of many keys.
_MANY = "many"
_SNAPSHOT_SECONDS = 300.0


class Handlers:
    """The requests."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._value = bytes(VALUE_BYTES)
        self._runner = asyncio.Runner(loop_factory=new_loop)
        self._background: Background | None = None
        self._lag = LoopLag(node)

    def all(self) -> dict[str, Callable[..., Any]]:
        """Return the requests by name."""
        names = [name for name in dir(self) if not name.startswith("_") and name != "all"]
        return {name: getattr(self, name) for name in names}

    def status(self) -> dict[str, Any]:
        """Return whether the node is ready, and the address of the leader that it knows."""
        ready, _ = self._node.ready()
        return {"ready": ready, "leader": leader.address if (leader := self._node.leader) else ""}

    def threads(self) -> dict[str, str]:
        """Return the names of Python's threads by native thread id.

        A thread that is being started has none yet, and has spent no processor time.
        """
        return {
            str(thread.native_id): re.sub(r"\d+", "*", thread.name)
            for thread in threading.enumerate()
            if thread.native_id is not None
        }

    def url(self) -> str:
        """Return the address of HTTP."""
        return f"http://127.0.0.1:{self._node.settings.hport}"

    def progress(self) -> dict[str, Any]:
        """Return the term and the indexes of this node."""
        details = self._node.details()
        return {name: details[name] for name in ("term", "appliedIndex", "commitIndex")}

    async def _put(self, number: int) -> None:
        await self._node.kv.aput(_MAP, workload.key_of(number), self._value)

    async def _get(self, number: int) -> None:
        await self._node.kv.aget(_MAP, workload.key_of(number))

    def _operation(self, name: str) -> workload.Operation:
        return {"put": self._put, "get": self._get}[name]

    def load(
        self, operation: str, outstanding: int, seconds: float, warmup: float
    ) -> dict[str, Any]:
        """See :func:`benchmarks.workload.drive`."""
        driving = workload.drive(self._operation(operation), outstanding, seconds, warmup)
        return self._runner.run(driving).as_json()

    def fill(self, entries: int, outstanding: int) -> None:
        """See :func:`benchmarks.workload.fill`."""
        self._runner.run(workload.fill(self._put, entries, outstanding))

    def fill_state(self, first: int, values: int, size: int, outstanding: int) -> None:
        """Put that many values of ``size`` bytes, each under its own key."""
        value = os.urandom(size)

        async def put(number: int) -> None:
            await self._node.kv.aput(_BALLAST, f"{first + number}", value, timeout=60)

        self._runner.run(workload.fill(put, values, outstanding))

    def fill_keys(self, first: int, keys: int, outstanding: int) -> None:
        """Put that many small lists, each under its own key, in random order."""

        async def put(number: int) -> None:
            spread = (first + number) * 7_368_787 % 10_000_019
            await self._node.kv.aput(_MANY, f"key-{spread:08d}", [number], timeout=60)

        self._runner.run(workload.fill(put, keys, outstanding))

    def list_keys(self) -> int:
        """Read the whole map of many keys; return their number."""
        return len(self._node.kv.list(_MANY, timeout=60))

    def collect_garbage(self) -> None:
        """Run a full garbage collection, as the interpreter does at times."""
        gc.collect()

    def silence(self, begin: float, end: float) -> tuple[float, float]:
        """Return the loop's longest silences in an interval; see :mod:`benchmarks.lag`."""
        return self._lag.longest(begin, end)

    def begin_load(self, operation: str, outstanding: int) -> None:
        """Start a load that runs until :meth:`end_load`; see :mod:`benchmarks.recording`."""
        self._background = Background(self._operation(operation), outstanding)

    def recorded(self, begin: float, end: float, forget: bool = False) -> dict[str, Any]:
        """Return the operations that ended in an interval, and all failures so far."""
        if self._background is None:
            raise RuntimeError("no load was started")
        recording = self._background.recording
        sample = recording.between(begin, end).as_json()
        if forget:
            recording.forget(end)
        return {"sample": sample, "failed": recording.failed, "failures": recording.failures}

    def end_load(self) -> None:
        """Stop the load; its recording stays available."""
        if self._background is not None:
            self._background.stop()

    def take_snapshot(self) -> dict[str, Any]:
        """Take a snapshot; return its index, its size, and its begin and end."""
        begin = time.monotonic()
        taken = self._node.take_snapshot(timeout=_SNAPSHOT_SECONDS)
        return {"index": taken.index, "size": taken.size} | {
            "begin": begin,
            "end": time.monotonic(),
        }

    def digest_state(self) -> int:
        """Commit a checkpoint and wait until this node has computed its digests."""
        index = int(self._node.execute("$cluster", "checkpoint", timeout=_SNAPSHOT_SECONDS))
        end = time.monotonic() + _SNAPSHOT_SECONDS
        while index not in (each["index"] for each in self._node.details()["stateDigests"]):
            if time.monotonic() > end:
                raise BraftError(f"no digests at entry {index} after {_SNAPSHOT_SECONDS:g} s")
            time.sleep(0.05)
        return index

    def snapshots(self) -> list[dict[str, Any]]:
        """Return the snapshots of this node, newest first."""
        return [asdict(snapshot) for snapshot in self._node.snapshots()]

    def first_success(self, period: float, limit: float) -> int:
        """See :func:`benchmarks.workload.first_success`."""
        return self._runner.run(workload.first_success(self._put, period, limit))


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not name=value")
    return name, value


def main() -> None:
    """Start the node and serve requests."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--ports", type=int, nargs=3, required=True, help="Raft, discovery, HTTP")
    parser.add_argument("--peers", required=True, help="Raft addresses of all")
    parser.add_argument(
        "--set", type=_setting, action="append", default=[], help="another setting: name=value"
    )
    args = parser.parse_args()
    settings: dict[str, Any] = {
        "ip": "127.0.0.1",
        "rport": args.ports[0],
        "dport": args.ports[1],
        "hport": args.ports[2],
        "data_dir": args.data,
        "discovery": f"static:{args.peers}",
        "expect": 3,
        "log": "warning",
    }
    with Node(**settings | dict(args.set)) as node:
        serve(Handlers(node).all())


if __name__ == "__main__":
    main()
