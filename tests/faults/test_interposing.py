"""The interposed C library: how a process sees changed clocks and slow syncs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from braft_testing.faults import Ability, survey_loopback
from braft_testing.faults.freezing import wait_frozen
from braft_testing.faults.interposing import Interposer, build_library

#: Evaluates each line and prints the result.
CHILD = """
import json, os, sys, threading, time
def timed(action):
    began = time.clock_gettime(time.CLOCK_BOOTTIME)
    result = action()
    return [result, time.clock_gettime(time.CLOCK_BOOTTIME) - began]
def clocks():
    return [time.time(), time.monotonic(), time.clock_gettime(time.CLOCK_BOOTTIME)]
lock = threading.Lock()
lock.acquire()
for line in sys.stdin:
    print(json.dumps(eval(line)), flush=True)
"""
AGES = 3600.5


@pytest.fixture
def interposer(tmp_path: Path) -> Interposer:
    if (reason := survey_loopback().get(Ability.INTERPOSE)) is not None:
        pytest.skip(reason)
    return Interposer(build_library(tmp_path), tmp_path / "interposer")


class Child:
    """An interpreter with the library in front of its C library."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def tell(self, expression: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{expression}\n")
        self.process.stdin.flush()

    def answer(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def ask(self, expression: str) -> Any:
        self.tell(expression)
        return self.answer()

    def ahead(self) -> list[float]:
        """Return how far its wall, monotonic and boot clocks are ahead of ours."""
        theirs = self.ask("clocks()")
        ours = [time.time(), time.monotonic(), time.clock_gettime(time.CLOCK_BOOTTIME)]
        return [their - our for their, our in zip(theirs, ours, strict=True)]


@pytest.fixture
def child(interposer: Interposer) -> Iterator[Child]:
    with process(interposer) as started:
        yield started


@contextmanager
def process(interposer: Interposer) -> Iterator[Child]:
    with subprocess.Popen(
        [sys.executable, "-c", CHILD],
        env=os.environ | dict(interposer.environment),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as started:
        try:
            yield Child(started)
        finally:
            started.kill()


def near(*seconds: float) -> Any:
    return pytest.approx(list(seconds), abs=20)


def test_a_wall_clock_jumps_and_the_others_do_not(interposer: Interposer, child: Child) -> None:
    for ahead in (0.0, AGES, -1e8, 0.0):
        interposer.set_wall_clock(ahead)
        assert child.ahead() == near(ahead, 0, 0)


def test_a_suspend_is_counted_by_the_boot_clock_alone(interposer: Interposer, child: Child) -> None:
    assert child.ahead() == near(0, 0, 0)
    interposer.suspended(AGES)
    assert child.ahead() == near(0, -AGES, 0)
    interposer.suspended(AGES)
    assert child.ahead() == near(0, -2 * AGES, 0)


def test_a_suspend_lasts_over_a_restart(interposer: Interposer) -> None:
    interposer.suspended(AGES)
    with process(interposer) as started:
        assert started.ahead() == near(0, -AGES, 0)


@pytest.mark.parametrize(
    ("wait", "result"),
    [
        ("lock.acquire(timeout=0.2)", False),
        ("time.sleep(0.2)", None),
        ("threading.Event().wait(0.2)", False),
        ("__import__('select').select([], [], [], 0.2)", [[], [], []]),
    ],
)
def test_waits_take_as_long_as_ever_after_a_suspend(
    interposer: Interposer, child: Child, wait: str, result: object
) -> None:
    interposer.suspended(AGES)
    got, seconds = child.ask(f"timed(lambda: {wait})")
    assert got == result
    assert 0.2 <= seconds < AGES / 2


@pytest.mark.parametrize("wait", ["lock.acquire(timeout=1)", "time.sleep(1)"])
def test_a_wait_that_was_suspended_goes_on_for_what_was_left(
    interposer: Interposer, child: Child, wait: str
) -> None:
    """The kernel's timer expires meanwhile; the process must not see that."""
    child.ask("clocks()")
    child.tell(f"[time.monotonic(), {wait}, time.monotonic()]")
    child.process.send_signal(signal.SIGSTOP)
    wait_frozen(child.process.pid)
    began = time.monotonic()
    time.sleep(1.2)
    interposer.suspended(time.monotonic() - began)
    child.process.send_signal(signal.SIGCONT)
    before, _, after = child.answer()
    assert after - before >= 1.0


def test_threads_hand_on_the_interpreter_after_a_suspend(
    interposer: Interposer, child: Child
) -> None:
    interposer.suspended(AGES)
    code = (
        "(lambda stop, seen: (threading.Thread(target=lambda: [seen.append(1) for _ in"
        " iter(lambda: stop.is_set() or time.sleep(0.001), True)], daemon=True).start(),"
        " sum(range(3_000_000)), stop.set(), len(seen) > 0)[-1])(threading.Event(), [])"
    )
    assert child.ask(code) is True


@pytest.mark.parametrize("call", ["fsync", "fdatasync"])
def test_syncs_take_longer_while_they_are_slow(
    interposer: Interposer, child: Child, tmp_path: Path, call: str
) -> None:
    sync = f"timed(lambda: os.{call}(os.open({str(tmp_path / 'file')!r}, os.O_CREAT | os.O_RDWR)))"
    interposer.slow_syncs(0.3)
    result, seconds = child.ask(sync)
    assert result is None
    assert seconds >= 0.3
    # The smallest of several: a disk may be busy.
    interposer.slow_syncs(0.0)
    assert min(child.ask(sync)[1] for _ in range(20)) < 0.3


def test_the_database_syncs_slowly(interposer: Interposer, child: Child, tmp_path: Path) -> None:
    database = f"__import__('sqlite3').connect({str(tmp_path / 'db')!r})"
    child.ask(f"globals().update(db={database})")
    child.ask("[db.execute(s) and 0 for s in ('pragma synchronous=full', 'create table t(x)')]")
    interposer.slow_syncs(0.3)
    _, seconds = child.ask(
        "timed(lambda: [db.execute('insert into t values(1)') and 0, db.commit()])"
    )
    assert seconds >= 0.3
