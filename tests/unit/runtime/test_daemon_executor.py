"""Blocking work, such as a hanging resolver, delays the end of neither loop nor process."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from braft_core.runtime.daemon_executor import DaemonExecutor
from braft_core.runtime.loop import LoopThread

LONG = 60.0
#: Seconds that a shutdown waits.
GRACE = 1.0
ROOT = Path(__file__).parents[3]

HANGING = """
import socket, sys, threading

asked, resolve = threading.Event(), socket.getaddrinfo

def hangs(host, *args, **kwargs):
    if not str(host).endswith(".example"):
        return resolve(host, *args, **kwargs)
    asked.set()
    threading.Event().wait()

socket.getaddrinfo = hangs
"""

NODE = """
from braft_core import Node

with Node(discovery="static:one.example,two.example", ip="127.0.0.1", data_dir=":memory:",
          rport=0, http=False):
    assert asked.wait(60)
print("stopped")
"""

DOCTOR = """
from braft_core.cli import diagnosis, main
from braft_core.cli.diagnosis import host
host._ASK_SECONDS = 0.2
sys.argv = ["braft", "doctor", "--local"]
main()
"""


@pytest.fixture
def executor() -> Iterator[DaemonExecutor]:
    executor = DaemonExecutor("under-test", GRACE)
    yield executor
    executor.shutdown()


def test_results_and_errors_come_back(executor: DaemonExecutor) -> None:
    assert executor.submit(pow, 2, exp=5).result(LONG) == 32
    with pytest.raises(ZeroDivisionError):
        executor.submit(lambda: 1 / 0).result(LONG)
    assert list(executor.map(str, range(100))) == [str(n) for n in range(100)]


def test_threads_are_used_again_and_made_as_they_are_needed(executor: DaemonExecutor) -> None:
    barrier = threading.Barrier(8)
    together = [executor.submit(barrier.wait, LONG) for _ in range(8)]
    assert sorted(future.result(LONG) for future in together) == list(range(8))
    names = {executor.submit(lambda: threading.current_thread().name).result(LONG) for _ in "abc"}
    assert len(executor._workers) == 8
    assert all(name.startswith("under-test-") for name in names)


def test_a_thread_is_free_before_its_outcome_is_seen(executor: DaemonExecutor) -> None:
    for work in (threading.get_ident, lambda: 1 / 0):
        for _ in range(200):
            executor.submit(work).exception(LONG)
            assert len(executor._workers) == 1


def test_an_end_waits_only_a_moment(executor: DaemonExecutor) -> None:
    hang = threading.Event()
    executor.submit(hang.wait)
    began = time.monotonic()
    executor.shutdown()
    assert time.monotonic() - began < LONG
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(print)
    hang.set()


def test_a_loop_ends_although_something_hangs() -> None:
    hang, thread = threading.Event(), LoopThread("under-test", GRACE)
    thread.start()

    async def ask() -> None:
        await asyncio.to_thread(hang.wait)

    with pytest.raises(TimeoutError):
        thread.run(ask(), 0.05)
    thread.stop(LONG)
    assert thread.loop.is_closed()
    hang.set()


@pytest.mark.parametrize("script", [NODE, DOCTOR], ids=["node", "doctor"])
def test_a_resolver_that_hangs_lets_the_process_end(script: str, tmp_path: Path) -> None:
    pytest.importorskip("braft_static")
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "BRAFT_DISCOVERY": "static:one.example,two.example",
        "BRAFT_IP": "127.0.0.1",
    }
    done = subprocess.run(
        [sys.executable, "-c", HANGING + script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LONG,
    )
    assert done.returncode in (0, 1), done.stderr
    assert "stopped" in done.stdout or "failed: " in done.stdout, done.stdout + done.stderr
