"""Power cuts lose exactly what was not synced; else the kit would report false losses."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import cast

import psutil
import pytest

from braft_testing.faults import KINDS, Ability, FaultKitError, LoopDisk, survey
from braft_testing.faults.cluster import Cluster
from braft_testing.faults.freezing import thread_states, wait_frozen
from braft_testing.faults.kinds import Scene
from braft_testing.faults.plan import Fault
from braft_testing.processes import wait_for

CUTS = 60

#: Its only thread is in a system call that no signal interrupts, until the file exists.
BUSY = """
import ctypes, os, sys, time
CLONE_VFORK, SIGCHLD, SYS_clone = 0x4000, 17, 56
print("calls", flush=True)
if ctypes.CDLL(None).syscall(SYS_clone, CLONE_VFORK | SIGCHLD, 0, 0, 0, 0) == 0:
    while not os.path.exists(sys.argv[1]):
        time.sleep(0.01)
    os._exit(0)
print("returned", flush=True)
time.sleep(600)
"""

#: Appends numbers, syncs, and reports the durable ones through a pipe.
WRITER = """
import os, sys
log = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
os.fsync(log)
folder = os.open(os.path.dirname(sys.argv[1]), os.O_RDONLY)
os.fsync(folder)
number = 0
while True:
    number += 1
    os.write(log, b"%d\\n" % number)
    os.fdatasync(log)
    os.write(1, b"%d\\n" % number)
"""


@contextmanager
def process(code: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program and kill it at the end of the block, also if it is suspended."""
    command = [sys.executable, "-c", code, *arguments]
    child = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        yield child
    finally:
        child.kill()
        assert child.stdout is not None
        child.stdout.close()
        child.wait()


def line(child: subprocess.Popen[bytes]) -> bytes:
    assert child.stdout is not None
    return child.stdout.readline()


def _waits_for_its_child(pid: int) -> bool:
    # A disk that is slow makes a "D" too, but a child exists only during the call.
    return bool(psutil.Process(pid).children()) and "D" in thread_states(pid).values()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_process_is_frozen_only_when_its_system_call_has_returned(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with process(BUSY, str(gate)) as child:
        assert line(child) == b"calls\n"
        wait_for(lambda: _waits_for_its_child(child.pid), what="it is in the call")
        child.send_signal(signal.SIGSTOP)
        with pytest.raises(FaultKitError, match=rf"process {child.pid} is not stopped.*'D'"):
            wait_frozen(child.pid, seconds=0.1)
        gate.touch()
        wait_frozen(child.pid)
        assert set(thread_states(child.pid).values()) == {"T"}


def test_all_threads_are_waited_for() -> None:
    looks = iter([{1: "T", 2: "D"}, {1: "T", 2: "R"}, {1: "T", 2: "T"}, {1: "T", 2: "R"}])
    wait_frozen(1, states=lambda pid: next(looks))
    assert next(looks) == {1: "T", 2: "R"}


def test_a_process_that_has_ended_counts_as_frozen() -> None:
    wait_frozen(1, states=lambda pid: {})
    wait_frozen(1, states=lambda pid: {1: "Z"})


class Recorded:
    """Replaces a cluster and its disks: records what is done to them, in order."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments: self.done.append(" ".join(map(str, (name, *arguments))))


class RecordedDisk(LoopDisk):
    def __init__(self, done: list[str]) -> None:
        self._done = done

    def cut_power(self) -> None:
        self._done.append("cut")

    def unmount(self) -> None:
        self._done.append("unmount")

    def mount(self) -> None:
        self._done.append("mount")


def test_nodes_are_frozen_before_their_disks_lose_power(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Recorded()
    monkeypatch.setattr(Scene, "disk", lambda scene, index: RecordedDisk(cluster.done))
    scene = Scene(cast(Cluster, cluster))
    KINDS["power loss"].inject(scene, Fault("power loss", (1, 0), 1.0, 0.5, False))
    assert cluster.done == ["freeze 1 0", "cut", "cut", "kill 1 0", *["unmount", "mount"] * 2]
    cluster.done.clear()
    scene.undo.close()
    assert cluster.done == ["start 1 0"]


@pytest.mark.faults
@pytest.mark.optional
def test_what_frozen_processes_have_synced_survives_the_cut(tmp_path: Path) -> None:
    """Running writers report data as synced that some of the cuts lose."""
    if (reason := survey().get(Ability.POWER)) is not None:
        pytest.skip(reason)
    lost = [cut(tmp_path / f"disk-{number}", freeze=True) for number in range(CUTS)]
    assert not any(lost)


def cut(path: Path, *, freeze: bool) -> bool:
    """Cut the power under two writers; return whether something is lost that was synced."""
    with LoopDisk(path, size=16 << 20) as disk, ExitStack() as running:
        logs = [disk.path / "first", disk.path / "second"]
        writers = [running.enter_context(process(WRITER, str(log))) for log in logs]
        for writer in writers:
            assert line(writer) == b"1\n"
        if freeze:
            for writer in writers:
                writer.send_signal(signal.SIGSTOP)
            for writer in writers:
                wait_frozen(writer.pid)
        disk.cut_power()
        durable = []
        for writer in writers:
            writer.kill()
            assert writer.stdout is not None
            durable.append((b"1\n" + writer.stdout.read()).split())
        running.close()
        disk.unmount()
        disk.mount()
        kept = [log.read_bytes().split() for log in logs]
    path.with_name(f"{path.name}.ext4").unlink()
    return any(have[: len(told)] != told for told, have in zip(durable, kept, strict=True))
