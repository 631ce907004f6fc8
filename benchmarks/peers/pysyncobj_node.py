"""One PySyncObj node that executes :mod:`benchmarks.child` requests; run as a module.

Proposals are made in its process with callbacks, as its documentation recommends for throughput:
each answer starts the next proposal on the library's own thread, without a thread switch.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pysyncobj import FAIL_REASON, SyncObj, SyncObjConf, replicated

from benchmarks.child import serve
from benchmarks.peers import VALUE_BYTES
from benchmarks.workload import key_of, summarize

_Callback = Callable[[Any, int], None]


class Store(SyncObj):  # type: ignore[misc]  # the library has no types
    """A replicated dictionary."""

    def __init__(self, address: str, others: list[str], conf: SyncObjConf) -> None:
        super().__init__(address, others, conf)
        self._data: dict[str, bytes] = {}

    @replicated  # type: ignore[untyped-decorator]
    def put(self, key: str, value: bytes) -> None:
        """Store a value."""
        self._data[key] = value

    @replicated  # type: ignore[untyped-decorator]
    def get(self, key: str) -> bytes | None:
        """Read through the log, the only linearizable read of the library."""
        return self._data.get(key)


class Load:
    """Keeps proposals outstanding; all but the first ones run on the library's thread."""

    def __init__(self, store: Store, operation: str) -> None:
        self._store = store
        self._operation = operation
        self._value = bytes(VALUE_BYTES)
        self._number = 0
        self.done = threading.Event()
        self.failure = 0
        self.latencies: list[float] = []

    def _propose(self, callback: _Callback) -> None:
        self._number += 1
        key = key_of(self._number)
        if self._operation == "put":
            self._store.put(key, self._value, callback=callback)
        else:
            self._store.get(key, callback=callback)

    def _fail(self, reason: int) -> None:
        self.failure = reason
        self.done.set()

    def drive(self, outstanding: int, begin: float, end: float) -> None:
        """Run until ``end``; count what ends between ``begin`` and ``end``."""
        clock = time.perf_counter

        def issue() -> None:
            started = clock()

            def answered(_: Any, reason: int) -> None:
                now = clock()
                if reason != FAIL_REASON.SUCCESS:
                    return self._fail(reason)
                if begin <= now < end:
                    self.latencies.append(now - started)
                return issue() if now < end else self.done.set()

            self._propose(answered)

        for _ in range(outstanding):
            issue()

    def fill(self, entries: int, outstanding: int) -> None:
        """Propose exactly that many entries."""
        left = entries

        def answered(_: Any, reason: int) -> None:
            nonlocal left
            if reason != FAIL_REASON.SUCCESS:
                return self._fail(reason)
            left -= 1
            if left >= outstanding:
                self._propose(answered)
            return self.done.set() if left == 0 else None

        for _ in range(min(outstanding, entries)):
            self._propose(answered)

    def wait(self, timeout: float) -> None:
        """Wait for the end.

        :raises RuntimeError: a proposal failed.
        :raises TimeoutError: PySyncObj did not answer.
        """
        if not self.done.wait(timeout):
            raise TimeoutError(f"PySyncObj did not answer within {timeout} s")
        if self.failure:
            raise RuntimeError(f"PySyncObj refused a proposal, reason {self.failure}")


class Handlers:
    """The requests."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def status(self) -> dict[str, Any]:
        """Return whether the node is ready, and the leader that it knows."""
        leader = self._store._getLeader()
        return {
            "ready": bool(self._store.isReady()),
            "leader": str(leader) if leader is not None else "",
        }

    def load(
        self, operation: str, outstanding: int, seconds: float, warmup: float
    ) -> dict[str, Any]:
        """See :func:`benchmarks.workload.drive`."""
        load = Load(self._store, operation)
        begin = time.perf_counter() + warmup
        load.drive(outstanding, begin, begin + seconds)
        load.wait(seconds + warmup + 30)
        return summarize(load.latencies, seconds).as_json()

    def fill(self, entries: int, outstanding: int) -> None:
        """See :func:`benchmarks.workload.fill`."""
        load = Load(self._store, "put")
        load.fill(entries, outstanding)
        load.wait(600)

    def first_success(self, period: float, limit: float) -> int:
        """See :func:`benchmarks.workload.first_success`."""
        won: list[int] = []

        def answered(_: Any, reason: int) -> None:
            if reason == FAIL_REASON.SUCCESS and not won:
                won.append(time.time_ns())

        deadline = time.monotonic() + limit
        while not won and time.monotonic() < deadline:
            self._store.put("probe", b"", callback=answered)
            time.sleep(period)
        if not won:
            raise TimeoutError(f"no commit within {limit} s")
        return won[0]


def main() -> None:
    """Start the node and serve requests."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--address", required=True)
    parser.add_argument("--others", required=True)
    parser.add_argument("--data", type=Path, required=True)
    args = parser.parse_args()
    conf = SyncObjConf(
        journalFile=str(args.data / "journal"),
        fullDumpFile=str(args.data / "dump"),
        appendEntriesUseBatch=False,
    )
    handlers = Handlers(Store(args.address, args.others.split(","), conf))
    serve({name: getattr(handlers, name) for name in ("status", "load", "fill", "first_success")})


if __name__ == "__main__":
    main()
