"""The measuring functions give correct figures for operations with known behaviour."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

_ROOT = Path(__file__).parents[3]

workload: Any = pytest.importorskip("benchmarks.workload", reason="not installed, only in the tree")
child: Any = pytest.importorskip("benchmarks.child", reason="not installed, only in the tree")


def test_summarize_takes_percentiles_of_the_sorted_latencies() -> None:
    sample = workload.summarize([n / 1000 for n in range(100, 0, -1)], seconds=2.0)
    assert (sample.operations, sample.rate) == (100, 50.0)
    assert (sample.p50_ms, sample.p99_ms) == (pytest.approx(51.0), pytest.approx(100.0))
    assert sample.max_ms == pytest.approx(100.0)
    assert workload.summarize([], seconds=1.0).max_ms is None


def test_drive_keeps_exactly_that_many_outstanding(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    # Only the operations advance time, so a busy machine has no influence.
    monkeypatch.setattr(workload, "time", SimpleNamespace(perf_counter=lambda: now))
    running = 0
    most = 0
    numbers = []

    async def operation(number: int) -> None:
        nonlocal now, running, most
        running += 1
        most = max(most, running)
        numbers.append(number)
        await asyncio.sleep(0)
        now += 0.0625
        running -= 1

    sample = asyncio.run(workload.drive(operation, outstanding=7, seconds=1.0, warmup=0.25))
    assert most == 7
    assert running == 0
    assert numbers == list(range(len(numbers)))
    # Operations that end in the warm-up or after the measurement are not counted.
    assert sample.operations == 16
    assert len(numbers) == 3 + 16 + 7
    assert sample.p50_ms == 7 * 62.5


def test_drive_fails_when_an_operation_fails() -> None:
    async def operation(number: int) -> None:
        raise ConnectionError("gone")

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(workload.drive(operation, outstanding=2, seconds=0.1, warmup=0.0))
    assert caught.group_contains(ConnectionError)


@pytest.mark.parametrize("outstanding", [1, 3, 50])
def test_fill_does_each_operation_once(outstanding: int) -> None:
    numbers = []

    async def operation(number: int) -> None:
        numbers.append(number)
        await asyncio.sleep(0)

    asyncio.run(workload.fill(operation, 20, outstanding))
    assert sorted(numbers) == list(range(20))


def test_first_success_overlaps_attempts_and_ends_with_the_first() -> None:
    cancelled = []

    async def operation(number: int) -> None:
        if number == 0:
            try:
                await asyncio.sleep(60)  # sent to the dead leader: hangs
            except asyncio.CancelledError:
                cancelled.append(number)
                raise
        if number < 3:
            raise ConnectionError("no leader yet")

    before = time.time_ns()
    won = asyncio.run(workload.first_success(operation, period=0.001, limit=30))
    assert before <= won <= time.time_ns()
    assert cancelled == [0]


def test_first_success_gives_up() -> None:
    async def operation(number: int) -> None:
        raise ConnectionError("never")

    with pytest.raises(TimeoutError):
        asyncio.run(workload.first_success(operation, period=0.001, limit=0.02))


@pytest.fixture
def process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("PYTHONPATH", str(_ROOT))
    code = "from benchmarks.child import serve; serve({'double': lambda n: 2 * n})"
    started = child.Child([sys.executable, "-c", code], tmp_path / "log")
    yield started
    started.kill()


def test_a_child_answers_in_order_and_reports_errors(process: Any) -> None:
    process.send("double", n=2)
    process.send("double", n=[1])
    assert process.answer(timeout=30) == 4
    assert process.answer(timeout=30) == [1, 1]
    with pytest.raises(child.ChildFailed, match="KeyError"):
        process.ask("halve")
    with pytest.raises(child.ChildFailed, match=r"within 0\.01 s"):
        process.answer(timeout=0.01)


def test_a_frozen_child_says_nothing_and_can_be_killed(process: Any) -> None:
    assert process.ask("double", n=2) == 4
    process.freeze()
    with pytest.raises(child.ChildFailed, match="no answer"):
        process.ask("double", timeout=0.2, n=2)
    process.kill()


def test_a_dead_child_is_noticed(process: Any) -> None:
    process.stop()
    with pytest.raises(child.ChildFailed, match="ended"):
        process.answer(timeout=30)
