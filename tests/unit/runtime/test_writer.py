"""The writer thread on a memory store: order, group commit, full and failing disks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence

import pytest

from braft_core.abc import StorageOptions, WriteBatch
from braft_core.errors import StorageError, StorageFull
from braft_core.raft import Entry, EntryType
from braft_core.runtime import clock
from braft_core.runtime.timing import Timing
from braft_core.runtime.writer import Writer, WriterReport
from braft_core.storage.memory import MemoryStorage
from braft_testing.processes import PATIENCE


class Disk(MemoryStorage):
    """A memory store whose writes can be delayed, counted and made to fail."""

    def __init__(self) -> None:
        super().__init__(StorageOptions(None))
        self.entered = threading.Event()
        self.gate = threading.Event()
        self.gate.set()
        self.groups: list[int] = []
        self.failures: list[Exception] = []

    def write(self, batches: Sequence[WriteBatch]) -> None:
        self.entered.set()
        assert self.gate.wait(PATIENCE)
        if self.failures:
            raise self.failures.pop(0)
        super().write(batches)
        self.groups.append(len(batches))


class Bench:
    """A writer on a loop, and the results that it reported."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.disk.open()
        self.reports: list[WriterReport] = []
        self.trouble: list[StorageError | None] = []
        self.writer = Writer(
            self.disk,
            asyncio.get_running_loop(),
            "writer-under-test",
            self.reports.append,
            self.trouble.append,
            Timing(full_disk_retry=0.01),
        )

    def submit(self, number: int) -> None:
        entry = Entry(number, 1, EntryType.COMMAND, b"x")
        self.writer.submit(number, WriteBatch(entries=[entry]), [])

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():  # noqa: ASYNC110 - there is nothing to be woken by
                await asyncio.sleep(0.002)

    async def close(self) -> None:
        await asyncio.to_thread(self.writer.stop, PATIENCE)


def run(test: Callable[[Bench], object], disk: Disk | None = None) -> None:
    async def main() -> None:
        bench = Bench(disk or Disk())
        bench.writer.start()
        try:
            outcome = test(bench)
            assert asyncio.iscoroutine(outcome)
            await outcome
        finally:
            bench.disk.gate.set()
            await bench.close()

    asyncio.run(main())


def test_what_queues_up_behind_a_write_goes_into_the_next_together() -> None:
    async def test(bench: Bench) -> None:
        bench.disk.gate.clear()
        bench.submit(1)
        await bench.until(bench.disk.entered.is_set)
        for number in range(2, 50):
            bench.submit(number)
        assert not bench.writer.idle
        bench.disk.gate.set()
        await bench.until(lambda: bench.writer.idle)
        assert bench.disk.groups == [1, 48]
        assert [report.number for report in bench.reports] == [1, 49]

    run(test)


def test_maintenance_comes_behind_the_writes_before_it() -> None:
    async def test(bench: Bench) -> None:
        seen: list[list[int]] = []
        bench.disk.gate.clear()
        bench.submit(1)
        bench.writer.run(lambda: seen.append(list(bench.disk.groups)))
        bench.disk.gate.set()
        await bench.until(lambda: bench.writer.idle and bool(seen))
        assert sum(seen[0]) == 1

    run(test)


def test_a_full_disk_is_waited_out_and_reported_once() -> None:
    async def test(bench: Bench) -> None:
        full = StorageFull("no space")
        bench.disk.failures = [full, StorageFull("again"), StorageFull("and again")]
        bench.submit(1)
        await bench.until(lambda: bench.writer.idle)
        assert bench.trouble == [full, None]
        assert [report.number for report in bench.reports] == [1]
        assert bench.disk.groups == [1]

    run(test)


def test_after_a_failed_write_nothing_is_reported_durable() -> None:
    async def test(bench: Bench) -> None:
        broken = StorageError("input/output error")
        bench.disk.failures = [broken]
        bench.submit(1)
        await bench.until(lambda: bool(bench.trouble))
        bench.submit(2)
        await bench.close()
        assert bench.trouble == [broken]
        assert bench.reports == []
        assert bench.disk.groups == []

    run(test)


def test_stop_writes_what_is_queued() -> None:
    async def test(bench: Bench) -> None:
        bench.disk.gate.clear()
        for number in range(1, 20):
            bench.submit(number)
        bench.disk.gate.set()
        await bench.close()
        assert sum(bench.disk.groups) == 19

    run(test)


def test_stop_does_not_wait_for_a_full_disk() -> None:
    async def test(bench: Bench) -> None:
        bench.disk.failures = [StorageFull("no space")] * 10_000
        bench.submit(1)
        await bench.until(lambda: bool(bench.trouble))
        async with asyncio.timeout(PATIENCE):
            await bench.close()
        assert bench.reports == []

    run(test)


def test_a_loop_that_is_closed_does_not_break_the_thread() -> None:
    loop = asyncio.new_event_loop()
    disk = Disk()
    disk.open()
    writer = Writer(disk, loop, "writer-under-test", lambda _: None, lambda _: None, Timing())
    loop.close()
    writer.submit(1, WriteBatch(entries=[Entry(1, 1, EntryType.COMMAND, b"")]), [])
    writer.start()
    writer.stop(PATIENCE)
    assert disk.groups == [1]


def test_a_store_that_breaks_its_contract_is_reported() -> None:
    async def test(bench: Bench) -> None:
        cause = OSError("input/output error")
        bench.disk.failures = [cause]
        bench.submit(1)
        await bench.until(lambda: bool(bench.trouble))
        [told] = bench.trouble
        assert isinstance(told, StorageError)
        assert told.__cause__ is cause
        assert bench.reports == []

    run(test)


def test_a_compaction_that_breaks_its_contract_is_reported() -> None:
    async def test(bench: Bench) -> None:
        def compact() -> None:
            raise OSError("input/output error")

        bench.writer.run(compact)
        await bench.until(lambda: bool(bench.trouble))
        assert isinstance(bench.trouble[0], StorageError)

    run(test)


def test_a_slow_disk_is_named_and_logged_once_a_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now, takes = 100.0, 0.0

    class Slow(Disk):
        def write(self, batches: Sequence[WriteBatch]) -> None:
            nonlocal now
            now += takes
            super().write(batches)

    monkeypatch.setattr(clock, "monotonic", lambda: now)

    async def test(bench: Bench) -> None:
        nonlocal now, takes

        async def write(number: int, seconds: float) -> None:
            nonlocal takes
            takes = seconds
            bench.submit(number)
            await bench.until(lambda: bench.writer.idle)

        await write(1, 0.1)
        assert bench.writer.slow(now) == ""
        bench.disk.gate.clear()
        takes = 1.4
        bench.submit(2)
        await bench.until(bench.disk.entered.is_set)
        await bench.until(lambda: bench.writer.slow(now) != "")
        assert bench.writer.slow(now) == "the disk is slow: a write has taken 1.4 s so far"
        bench.disk.gate.set()
        await bench.until(lambda: bench.writer.idle)
        assert bench.writer.slow(now) == "the disk is slow: the last write took 1.4 s"
        await write(3, 2.5)
        assert bench.writer.slow(now) == "the disk is slow: the last write took 2.5 s"
        assert bench.writer.slow(now + 61.0) == ""
        now += 60.0
        await write(4, 3.0)
        await write(5, 0.1)
        assert bench.writer.slow(now) == ""

    run(test, Slow())
    logged = [record.getMessage() for record in caplog.records if "a write to" in record.message]
    assert logged == [
        f"a write to the disk took {seconds} s; elections and acknowledgements wait for the disk"
        for seconds in ("1.4", "3.0")
    ]
