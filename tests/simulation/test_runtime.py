"""Whole nodes in the simulator: fixed seeds, the same run each time, and judges that are awake."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from braft_core.abc import WriteBatch
from braft_core.errors import StorageError, StorageFull
from braft_core.raft import Entry, EntryType, HardState
from braft_core.runtime.workers import Worker
from braft_testing.simulation.errors import InvariantBroken
from braft_testing.simulation.history import Outcome as Answered
from braft_testing.simulation.runtime import run_seed
from braft_testing.simulation.runtime.__main__ import main
from braft_testing.simulation.runtime.clients import Note
from braft_testing.simulation.runtime.clocks import MachineClock
from braft_testing.simulation.runtime.disk import PowerCut, VirtualDisk, VirtualStorage
from braft_testing.simulation.runtime.judges import check_ledger
from braft_testing.simulation.runtime.plan import draw_runtime_plan
from braft_testing.simulation.runtime.platform import VirtualPlatform
from braft_testing.simulation.runtime.scheduler import Killed, Process, Scheduler
from braft_testing.simulation.runtime.virtual_loop import VirtualLoop
from tests.simulation.mutants.runtime import RUNTIME_MUTANTS, RuntimeMutant, hunt_runtime

pytestmark = pytest.mark.timeout(1200)  # computing only, on a busy machine too

#: Short runs, of which `make test` has the first three, and long ones.
SEEDS, MORE_SEEDS = range(6), range(6, 60)
#: Mutants that `make test` plants too; the others take longer together.
QUICK = {
    "messages_leave_before_the_write",
    "forwarded_answers_change_places",
}
#: A seed that found the mutant, which is run first: a hunt from seed 0 takes ten.
KNOWN = {"reads_need_no_proof_of_leadership": 9}


@pytest.mark.parametrize(
    "seed",
    [
        pytest.param(seed, marks=() if seed in SEEDS[:3] else pytest.mark.slow)
        for seed in (*SEEDS, *MORE_SEEDS)
    ],
)
def test_every_rule_holds(seed: int) -> None:
    outcome = run_seed(seed, seconds=None if seed in MORE_SEEDS else 5.0)
    assert outcome.ok, f"{outcome.detail}\n" + "\n".join(outcome.tail[-40:])
    assert outcome.answers["ok"] > 0


@pytest.mark.parametrize("hash_seed", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_a_seed_determines_the_whole_run(hash_seed: str) -> None:
    """In any process, and under any hash seed."""
    assert _digest_elsewhere(hash_seed) == _digest_elsewhere("0")


def _digest_elsewhere(hash_seed: str) -> str:
    command = (
        *(sys.executable, "-m", "braft_testing.simulation.runtime"),
        *("--seeds", "30", "--seconds", "3", "--digests"),
    )
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    seed, digest = done.stdout.splitlines()[0].split()
    assert seed == "30"
    return digest


def test_other_threads_of_the_process_are_no_part_of_a_run() -> None:
    """Such as those of real nodes that other tests left running."""
    alone = run_seed(30, seconds=1.0).digest
    ended = threading.Event()

    def log() -> None:
        while not ended.wait(0.001):
            logging.getLogger("braft_core.elsewhere").error("from another thread")

    thread = threading.Thread(target=log)
    thread.start()
    try:
        assert run_seed(30, seconds=1.0).digest == alone
    finally:
        ended.set()
        thread.join()


def test_seeds_differ() -> None:
    assert run_seed(30, seconds=1.0).digest != run_seed(31, seconds=1.0).digest


@pytest.mark.parametrize(
    "mutant",
    [
        pytest.param(m, marks=() if m.name in QUICK else pytest.mark.slow, id=m.name)
        for m in RUNTIME_MUTANTS
    ],
)
def test_runtime_mutant_is_found(
    mutant: RuntimeMutant, record_property: Callable[[str, object], None]
) -> None:
    seeds, outcome = hunt_runtime(mutant, KNOWN.get(mutant.name))
    record_property("seeds", seeds)
    assert outcome is not None, f"not found in {seeds} seeds"
    assert outcome.rule in mutant.rules, outcome.detail


def test_the_quick_mutants_exist() -> None:
    names = {mutant.name for mutant in RUNTIME_MUTANTS}
    assert len(names) == len(RUNTIME_MUTANTS) >= 10
    assert names > QUICK | KNOWN.keys()


def test_the_command_reports_what_happened(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "20", "--seconds", "1"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("1 seeds, 0 broken, 0 histories undecided\n")


def test_plans_follow_from_seeds_and_differ() -> None:
    assert draw_runtime_plan(1) == draw_runtime_plan(1)
    assert len({draw_runtime_plan(seed) for seed in range(20)}) == 20
    assert {draw_runtime_plan(seed).servers for seed in range(100)} == {1, 2, 3, 4, 5}


# -- clocks ----------------------------------------------------------------------------------


def test_the_clock_of_a_machine_goes_at_its_rate_and_never_back() -> None:
    now = [10.0]
    clock = MachineClock(lambda: now[0])
    clock.run_at(0.5)
    now[0] = 12.0
    assert clock.monotonic() == 11.0
    clock.run_at(4.0)
    now[0] = 13.0
    assert clock.monotonic() == 15.0
    assert clock.true_time(19.0) == 14.0
    assert clock.slowest == 0.5


def test_timers_follow_the_clock_of_their_machine() -> None:
    scheduler = Scheduler(1000)
    process = Process("p", scheduler, lambda _: 0.0, MachineClock(lambda: scheduler.now))
    loop = VirtualLoop(process, "loop")  # type: ignore[abstract]
    loop.begin()
    fired: list[float] = []
    for delay in (1.0, 4.0, 5.0):
        loop.call_later(delay, lambda: fired.append(scheduler.now))
    scheduler.at(2.0, lambda: process.clock.run_at(0.5))
    scheduler.at(5.0, lambda: process.clock.run_at(4.0))
    scheduler.run_for(20.0)
    assert fired == pytest.approx([1.0, 5.125, 5.375])


def test_code_of_a_process_reads_the_clock_of_its_machine() -> None:
    scheduler = Scheduler(1000)
    slow = Process("p", scheduler, lambda _: 0.0, MachineClock(lambda: scheduler.now))
    slow.clock.run_at(0.5)
    seen: list[float] = []
    slow.lane("main").after(2.0, lambda: seen.append(_reading(scheduler)))
    scheduler.run_for(3.0)
    assert seen == [1.0]
    assert scheduler.process is None


def _reading(scheduler: Scheduler) -> float:
    assert scheduler.process is not None
    return scheduler.process.clock.monotonic()


# -- judges ----------------------------------------------------------------------------------


def note(token: int, at: float, **more: object) -> Note:
    """Return a command that took half a second and was answered."""
    made = Note("a", token, at, returned=at + 0.5, outcome=Answered.OK, position=token)
    return replace(made, **more)  # type: ignore[arg-type]


def read(at: float, seen: list[int], kind: str = "tokens") -> Note:
    return note(99, at, kind=kind, seen=seen, position=0)


GOOD = [note(1, 0.0), note(2, 1.0), read(2.0, [1, 2])]
#: A stale read that lacks what was acknowledged 2.5 seconds before.
BOUND = read(4.0, [1], "stale")


def test_a_true_ledger_is_accepted() -> None:
    check_ledger([*GOOD, read(0.0, [], "stale"), read(0.9, [1])], {"a": [1, 2]})
    check_ledger([*GOOD, replace(BOUND, bound=3.0)], {"a": [1, 2]})


@pytest.mark.parametrize(
    ("notes", "held", "rule"),
    [
        (GOOD, [1], "acknowledged writes are there"),
        (GOOD, [1, 2, 2], "a command takes effect once"),
        (GOOD, [1, 2, 7], "the ledger holds what was sent"),
        ([note(1, 0, outcome=Answered.FAILED)], [1], "what was refused is not applied"),
        ([note(1, 0, position=2)], [1], "a caller gets its own answer"),
        ([note(1, 0, position=2), note(2, 1, position=1)], [2, 1], "linearizability"),
        ([*GOOD, read(3.0, [1])], [1, 2], "linearizability"),
        ([*GOOD, read(3.0, [2, 1])], [1, 2], "a read shows what was committed"),
        ([*GOOD, replace(BOUND, bound=2.0)], [1, 2], "a stale read keeps its bound"),
        ([*GOOD, read(3.0, [1, 3], "stale")], [1, 2], "a read shows what was committed"),
        ([*GOOD, read(0.1, [1, 2])], [1, 2], "a read shows nothing of the future"),
        (
            [
                note(1, 0.0, outcome=Answered.UNKNOWN),
                read(1.0, [1]),
                read(2.0, []),
            ],
            [1],
            "linearizability",
        ),
    ],
)
def test_an_untrue_ledger_is_refused(notes: list[Note], held: list[int], rule: str) -> None:
    with pytest.raises(InvariantBroken) as broken:
        check_ledger(notes, {"a": held})
    assert broken.value.invariant == rule


# -- the machine -----------------------------------------------------------------------------


def a_process(scheduler: Scheduler) -> Process:
    return Process("p", scheduler, lambda kind: 0.0 if kind == "turn" else 1.0)


def test_time_is_virtual_and_ordered() -> None:
    scheduler, seen = Scheduler(100), list[tuple[float, str]]()
    scheduler.after(2.0, lambda: seen.append((scheduler.now, "b")))
    scheduler.after(1.0, lambda: seen.append((scheduler.now, "a")))
    scheduler.after(2.0, lambda: seen.append((scheduler.now, "c")))
    assert scheduler.run_until(lambda: len(seen) == 3, 10.0)
    assert seen == [(1.0, "a"), (2.0, "b"), (2.0, "c")]
    scheduler.run_for(5.0)
    assert scheduler.now == 7.0


def test_a_loop_that_never_rests_is_found() -> None:
    scheduler = Scheduler(50)

    def again() -> None:
        scheduler.after(0.0, again)

    again()
    with pytest.raises(InvariantBroken, match="rest"):
        scheduler.run_for(1.0)


def test_a_lane_that_stands_still_runs_later() -> None:
    scheduler, seen = Scheduler(100), list[float]()
    lane = a_process(scheduler).lane("x")
    lane.after(1.0, lambda: seen.append(scheduler.now))
    lane.stand_still(3.0)
    scheduler.run_for(10.0)
    assert seen == [3.0]


def test_a_worker_takes_jobs_together_and_waits_as_it_asks() -> None:
    scheduler, seen = Scheduler(1000), list[tuple[float, list[int]]]()
    platform = VirtualPlatform(a_process(scheduler), random.Random(1))

    def work(jobs: Sequence[int]) -> float | None:
        seen.append((scheduler.now, list(jobs)))
        return 0.5 if len(seen) == 1 else None

    worker: Worker[int] = platform.worker("node-writer", work, many=True)
    worker.start()
    worker.put(1)
    scheduler.run_for(0.5)
    worker.put(2)
    worker.put(3)
    worker.stop(10.0)
    assert seen == [(1.0, [1])]
    assert worker.ended


def test_a_loop_runs_asyncio_in_virtual_time() -> None:
    scheduler = Scheduler(1000)
    loop = VirtualPlatform(a_process(scheduler), random.Random(1)).loop("l", 1.0)
    loop.start()

    async def work() -> float:
        async with asyncio.timeout(100):
            await asyncio.sleep(50)
        return await asyncio.to_thread(lambda: scheduler.now)

    assert loop.run(work()) == 51.0
    loop.stop(1.0)
    assert loop.loop.is_closed()


def test_waiting_for_a_process_that_is_killed_ends() -> None:
    scheduler = Scheduler(1000)
    process = a_process(scheduler)
    loop = VirtualPlatform(process, random.Random(1)).loop("l", 1.0)
    loop.start()
    scheduler.after(3.0, process.end)
    with pytest.raises(Killed):
        loop.run(asyncio.sleep(50))
    assert scheduler.now == 3.0


ENTRY = WriteBatch(HardState(1, "x"), entries=[Entry(1, 1, EntryType.NOOP, b"")])


def test_a_disk_loses_what_comes_after_the_power_cut() -> None:
    disk = VirtualDisk()
    store = VirtualStorage(disk)
    store.open()
    disk.fuse = 1
    store.write([ENTRY])
    with pytest.raises(PowerCut):
        store.set_meta({"a": b"1"})
    disk.power_off()
    again = VirtualStorage(disk)
    assert [entry.index for entry in again.open().entries] == [1]
    assert again.get_meta("a") is None


def test_a_full_or_broken_disk_writes_nothing() -> None:
    disk = VirtualDisk()
    store = VirtualStorage(disk)
    store.open()
    disk.full = True
    with pytest.raises(StorageFull):
        store.write([ENTRY])
    disk.full, disk.broken = False, True
    with pytest.raises(StorageError):
        store.write([ENTRY])
    assert disk.entries == []
    store.write([ENTRY])
    assert len(disk.entries) == 1
