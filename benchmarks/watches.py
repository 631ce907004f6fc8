"""``python -m benchmarks.watches``: what a change costs that many watch.

One node in this process, with 1 to ``--watchers`` watches of one key, each of which takes what it
gets. A put is measured until the last of them has its event, and by the processor that the whole
process took for it. Then all watchers stop reading, and the memory that the next puts add is
measured. Target: less than 20 MiB for 10,000 of them.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from dataclasses import asdict, dataclass
from functools import partial

from benchmarks.machine import resident_bytes
from benchmarks.study import Study, options
from benchmarks.workload import Sample, summarize
from braft_core import Node
from braft_core.errors import Stopped
from braft_core.store.events import Watcher

__all__ = ["FanOut", "fan_out", "main"]

_KEY = b"watched"
_VALUE = 128
_PUTS = 100
#: Bytes of the values that are put while no watcher reads.
_UNREAD = 16 << 20
_PATIENCE = 60.0
_TARGET_MIB = 20.0


@dataclass(frozen=True, slots=True)
class FanOut:
    """Figures of one number of watchers."""

    watchers: int
    #: From before a put until its last event was taken.
    latency: Sample
    #: Processor time of the process for one event, microseconds.
    event_us: float
    #: What memory grew by while no watcher read.
    unread_mib: float


class _Readers:
    """Watchers whose events are taken when they come, on the thread that reports them."""

    def __init__(self, node: Node, count: int) -> None:
        self._lock = threading.Lock()
        self._count = count
        self._taken = 0
        self._all_taken = threading.Event()
        #: Whether they take what they get.
        self.is_reading = True
        self._watchers: list[Watcher] = []
        for number in range(count):
            wake = partial(self._wake, number)
            self._watchers.append(node.store.watchers.watch(_KEY, wake=wake))
        for number in range(count):
            self._wake(number)

    def expect(self) -> threading.Event:
        """Begin a round; return what is set when each has one event more."""
        self._taken = 0
        self._all_taken.clear()
        return self._all_taken

    def close(self) -> None:
        """End all watchers."""
        self.is_reading = False
        for watcher in self._watchers:
            watcher.close()

    def _wake(self, number: int) -> None:
        if not self.is_reading:
            return
        watcher, taken = self._watchers[number], 0
        try:
            while (piece := watcher.take()) is not None:
                taken += len(piece.events)
        except Stopped:
            return
        with self._lock:
            self._taken += taken
            if self._taken >= self._count:
                self._all_taken.set()


def fan_out(node: Node, count: int, puts: int, unread: int) -> FanOut:
    """Measure one number of watchers."""
    readers = _Readers(node, count)
    try:
        latencies: list[float] = []
        begin, processor = time.monotonic(), time.process_time()
        for _ in range(puts):
            all_taken = readers.expect()
            began = time.monotonic()
            node.store.put(_KEY, os.urandom(_VALUE), timeout=_PATIENCE)
            if not all_taken.wait(_PATIENCE):
                raise TimeoutError(f"some of {count} watchers got no event in {_PATIENCE:g} s")
            latencies.append(time.monotonic() - began)
        spent, processor = time.monotonic() - begin, time.process_time() - processor
        readers.is_reading = False
        grown = _grown(node, unread)
    finally:
        readers.close()
    latency = summarize(latencies, spent)
    return FanOut(count, latency, processor / puts / count * 1e6, grown / (1 << 20))


def _grown(node: Node, unread: int) -> int:
    """Put values that no watcher takes; return the bytes that memory grew by beside the values."""
    value = bytes(64 << 10)
    node.store.put(_KEY, value, timeout=_PATIENCE)
    gc.collect()
    before = resident_bytes(os.getpid())
    for _ in range(unread // len(value)):
        revision = node.store.put(_KEY, value, timeout=_PATIENCE)
    node.store.compact(revision, timeout=_PATIENCE)
    for number in range(_PUTS):
        node.store.put(b"free %d" % (number % 4), b"", timeout=_PATIENCE)
    gc.collect()
    return resident_bytes(os.getpid()) - before


def main() -> int:
    """Run the study."""
    parser = options("watches", __doc__)
    parser.add_argument("--watchers", type=int, default=10_000, help="the most watchers")
    args = parser.parse_args()
    most = min(args.watchers, 100) if args.quick else args.watchers
    puts, unread = (5, 1 << 20) if args.quick else (_PUTS, _UNREAD)
    study = Study("watches", args)
    counts = [10**power for power in range(8) if 10**power < most] + [most]
    results = []
    with Node(discovery="none", data_dir=":memory:", http=False, rport=0) as node:
        node.wait_ready()
        for count in counts:
            results.append(fan_out(node, count, puts, unread))
            study.say(f"{count:,} watchers are measured")
    rows = [
        (
            f"{each.watchers:,}",
            f"{each.latency.p50_ms:,.2f}",
            f"{each.latency.p99_ms:,.2f}",
            f"{each.event_us:,.2f}",
            f"{each.unread_mib:,.1f}",
        )
        for each in results
    ]
    head = ["watchers", "p50 ms", "p99 ms", "processor µs an event", "unread MiB"]
    study.table("A put until the last watcher has it", head, rows)
    study.save({"fan_out": [asdict(each) for each in results]})
    last = results[-1]
    met = study.verdict(
        last.unread_mib < _TARGET_MIB,
        f"{last.watchers:,} watchers that do not read {unread >> 20} MiB of values took "
        f"{last.unread_mib:.1f} MiB; target below {_TARGET_MIB:.0f}",
    )
    return 0 if args.quick else met


if __name__ == "__main__":
    sys.exit(main())
