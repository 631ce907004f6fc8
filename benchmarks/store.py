"""``python -m benchmarks.store``: what a million keys of the store cost.

First the service alone, in this process: memory of a key beside its data, the pause of a full
garbage collection, and how long commands wait for each slice of a snapshot. Then one durable node
that holds the keys: the latency of a put, one at a time, before and while a snapshot is taken.
Targets: at most 300 bytes of a key beside its data, p99 of a put at most 20 ms meanwhile.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.machine import data_folder, resident_bytes
from benchmarks.study import Study, options
from benchmarks.workload import Sample, summarize
from braft_core import Node
from braft_core.abc import CommandContext
from braft_core.abc.service import SLICE_BYTES
from braft_core.services.store import StoreService
from braft_core.store import Put

__all__ = ["Alone", "OnNode", "main"]

_VALUE = 64
_CONTEXT = CommandContext(1, 1, 1)
#: Puts in one transaction while the node is filled.
_BATCH = 128
#: Seconds of quiet puts.
_QUIET = 5.0
_PATIENCE = 600.0
_BYTES_TARGET = 300
_P99_TARGET_MS = 20.0


@dataclass(frozen=True, slots=True)
class Alone:
    """Figures of the service without a node. Seconds are of the processor."""

    keys: int
    put_us: float
    #: Resident bytes of a key beside those of key and value.
    bytes_a_key: float
    collection_ms: float
    #: The same after ``gc.freeze()``, as with ``BRAFT_GC_FREEZE``.
    frozen_collection_ms: float
    capture_us: float
    slices: int
    slowest_slice_ms: float
    snapshot_seconds: float
    restore_seconds: float


@dataclass(frozen=True, slots=True)
class OnNode:
    """Figures of a node."""

    keys: int
    quiet: Sample
    snapshot_seconds: float
    during_snapshot: Sample


def _key(number: int) -> bytes:
    return b"/registry/pods/default/pod-%010d" % number


def _spent(action: Callable[[], object]) -> float:
    begin = time.thread_time()
    action()
    return time.thread_time() - begin


def alone(keys: int) -> Alone:
    """Measure the service in this process."""
    service = StoreService()
    gc.collect()
    before, data = resident_bytes(os.getpid()), 0
    begin = time.thread_time()
    for number in range(keys):
        # A number prime to the count: the keys come in no order.
        key, value = _key(number * 7_919 % keys), os.urandom(_VALUE)
        service.apply("put", [key, value], _CONTEXT)
        data += len(key) + len(value)
    put = time.thread_time() - begin
    gc.collect()
    collection = _spent(gc.collect)
    gc.freeze()
    frozen = _spent(gc.collect)
    gc.unfreeze()
    beside = resident_bytes(os.getpid()) - before - data
    begin = time.thread_time()
    capture = service.snapshot()
    captured = time.thread_time() - begin
    chunks: list[bytes] = []
    slices: list[float] = []
    while True:
        begin = time.thread_time()
        chunk = capture.next(SLICE_BYTES)
        slices.append(time.thread_time() - begin)
        if chunk is None:
            break
        chunks.append(chunk)
    restored = StoreService()
    restore = _spent(lambda: restored.restore(iter(chunks)))
    return Alone(
        keys=keys,
        put_us=put / keys * 1e6,
        bytes_a_key=beside / keys,
        collection_ms=collection * 1e3,
        frozen_collection_ms=frozen * 1e3,
        capture_us=captured * 1e6,
        slices=len(slices) - 1,
        slowest_slice_ms=max(slices) * 1e3,
        snapshot_seconds=sum(slices),
        restore_seconds=restore,
    )


def on_node(folder: Path, keys: int, say: Callable[[str], None]) -> OnNode:
    """Measure a durable node of this process."""
    node = Node(
        discovery="none",
        data_dir=folder / "node",
        http=False,
        rport=0,
        snapshot_entries=10**9,
        digest_interval=0,
    )
    with node:
        for begin in range(0, keys, _BATCH):
            numbers = range(begin, min(begin + _BATCH, keys))
            puts = [Put(_key(number), os.urandom(_VALUE)) for number in numbers]
            node.store.txn(then=puts, timeout=_PATIENCE)
        say(f"filled with {node.store.count():,} keys")
        quiet = _puts(node, keys, lambda spent: spent >= _QUIET)
        done: list[float] = []

        def take() -> None:
            began = time.monotonic()
            node.take_snapshot(timeout=_PATIENCE)
            done.append(time.monotonic() - began)

        taking = threading.Thread(target=take)
        taking.start()
        during = _puts(node, keys, lambda spent: bool(done))
        taking.join()
        return OnNode(keys, quiet, done[0], during)


def _puts(node: Node, keys: int, ends: Callable[[float], bool]) -> Sample:
    """Put one key after the other until the end."""
    latencies: list[float] = []
    begin = time.monotonic()
    while not latencies or not ends(time.monotonic() - begin):
        began = time.monotonic()
        node.store.put(_key(len(latencies) * 7_919 % keys), os.urandom(_VALUE), timeout=_PATIENCE)
        latencies.append(time.monotonic() - began)
    return summarize(latencies, time.monotonic() - begin)


def main() -> int:
    """Run the study."""
    parser = options("store", __doc__)
    parser.add_argument("--keys", type=int, default=1_000_000, help="number of keys")
    parser.add_argument("--service-only", action="store_true", help="measure no node")
    args = parser.parse_args()
    keys = 10_000 if args.quick else args.keys
    study = Study("store", args)
    service = alone(keys)
    rows = [(name, f"{value:,.1f}") for name, value in asdict(service).items()]
    study.table("The service alone", ["figure", "value"], rows)
    figures: dict[str, dict[str, object]] = {"alone": asdict(service)}
    met = study.verdict(
        service.bytes_a_key <= _BYTES_TARGET,
        f"{service.bytes_a_key:.0f} bytes a key beside its data; target {_BYTES_TARGET}",
    )
    if not args.service_only:
        met |= _study_node(study, args, keys, figures)
    study.save(figures)
    return 0 if args.quick else met


def _study_node(
    study: Study, args: argparse.Namespace, keys: int, figures: dict[str, dict[str, object]]
) -> int:
    with data_folder(args.output) as folder:
        node = on_node(folder, keys, study.say)
    figures["node"] = asdict(node)
    rows = [
        (name, *(f"{value:,.2f}" for value in (each.p50_ms, each.p99_ms, each.rate)))
        for name, each in (("quiet", node.quiet), ("during the snapshot", node.during_snapshot))
    ]
    study.table("Puts, one at a time", ["", "p50 ms", "p99 ms", "puts/s"], rows)
    return study.verdict(
        node.during_snapshot.p99_ms <= _P99_TARGET_MS,
        f"p99 of a put {node.during_snapshot.p99_ms:.1f} ms during a snapshot of {keys:,} keys, "
        f"which took {node.snapshot_seconds:.1f} s; target {_P99_TARGET_MS:.0f} ms",
    )


if __name__ == "__main__":
    sys.exit(main())
