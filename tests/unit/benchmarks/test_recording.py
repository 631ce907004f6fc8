"""Background load, and the memory of another process."""

from __future__ import annotations

import asyncio
import mmap
import os
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest

recording: Any = pytest.importorskip("benchmarks.recording", reason="only in the tree")
resident: Any = pytest.importorskip("benchmarks.resident", reason="only in the tree")


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_a_stretch_holds_what_ended_in_it() -> None:
    record = recording.Recording()
    for second in range(10):
        record.add(float(second), second / 1000)
    sample = record.between(2.0, 5.0)
    assert (sample.operations, sample.seconds, sample.max_ms) == (3, 3.0, pytest.approx(4.0))
    record.forget(4.0)
    assert record.between(0.0, 10.0).operations == 6
    assert record.between(20.0, 30.0).operations == 0


def test_a_load_goes_on_until_it_is_stopped() -> None:
    running = 0
    most = 0

    async def operation(number: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1

    begin = time.monotonic()
    load = recording.Background(operation, 5)
    _wait(lambda: load.recording.between(begin, time.monotonic()).operations > 20)
    load.stop()
    end = time.monotonic()
    assert (running, most) == (0, 5)
    assert load.recording.between(begin, end).p50_ms >= 1.0
    assert load.recording.between(end, end + 1).operations == 0


def test_failed_operations_are_counted_and_the_load_goes_on() -> None:
    async def operation(number: int) -> None:
        if number < 15:
            raise ConnectionError(f"number {number}")
        await asyncio.sleep(0.001)

    begin = time.monotonic()
    load = recording.Background(operation, 2)
    _wait(lambda: load.recording.between(begin, time.monotonic()).operations > 0)
    load.stop()
    assert load.recording.failed == 15
    assert load.recording.failures[0] == "ConnectionError('number 0')"
    assert len(load.recording.failures) < 15


def test_memory_is_seen_while_it_is_held() -> None:
    size = 64 << 20
    with resident.MemoryWatch(interval=0.005) as watch:
        watch.follow({"me": os.getpid()})
        began = time.monotonic()
        _wait(lambda: watch.peak("me", began, time.monotonic()) is not None)
        held_from = time.monotonic()
        before = watch.peak("me", began, held_from)
        # Map fresh pages: Python's allocations may reuse memory that other tests have freed.
        held = mmap.mmap(-1, size)
        for page in range(0, size, mmap.PAGESIZE):
            held[page] = 1
        grown = before + size // 2
        _wait(lambda: (watch.peak("me", held_from, time.monotonic()) or 0) > grown)
        held_to = time.monotonic()
        held.close()
    assert watch.peak("me", held_from, held_to) - before > size // 2
    assert watch.peak("me", held_to + 60, held_to + 61) is None
    assert watch.peak("nobody", began, held_to) is None
    series = watch.series("me", began, 0.01)
    assert max(peak for _, peak in series) >= watch.peak("me", held_from, held_to)


def test_a_process_that_has_ended_is_no_error() -> None:
    process = subprocess.Popen(["sleep", "30"])
    with resident.MemoryWatch(interval=0.002) as watch:
        watch.follow({"it": process.pid, "me": os.getpid()})
        _wait(lambda: watch.peak("it", 0.0, float("inf")) is not None)
        process.kill()
        process.wait()
        gone = time.monotonic()
        _wait(lambda: watch.peak("me", gone, float("inf")) is not None)
        assert watch.peak("it", time.monotonic(), float("inf")) is None
