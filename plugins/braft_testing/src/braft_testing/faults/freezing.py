"""Stop processes and wait until none of their system calls is in progress.

SIGSTOP takes effect thread by thread: a thread inside a system call, such as a sync, goes on until
the call returns. A fault that needs a fully stopped process has to wait for that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from braft_testing.faults.machine import FaultKitError

__all__ = ["thread_states", "wait_frozen"]

_SECONDS = 30.0
_POLL = 0.002
#: Stopped, zombie, dead: states in which a thread is in no system call.
_STILL = frozenset("TZX")

States = Callable[[int], Mapping[int, str]]


def thread_states(pid: int) -> Mapping[int, str]:
    """Return the kernel's state letter for each thread of a process; empty if it has exited."""
    states = {}
    for path in Path(f"/proc/{pid}/task").glob("*/stat"):
        try:
            text = path.read_text(errors="replace")
        except OSError:  # this thread has just ended
            continue
        # The name before the state is in parentheses and may contain anything.
        states[int(path.parent.name)] = text.rpartition(")")[2].split()[0]
    return states


def wait_frozen(pid: int, states: States = thread_states, seconds: float = _SECONDS) -> None:
    """Wait until each thread of a process has stopped after SIGSTOP.

    :raises FaultKitError: if that takes longer than ``seconds``.
    """
    deadline = time.monotonic() + seconds
    while busy := {thread: state for thread, state in states(pid).items() if state not in _STILL}:
        if time.monotonic() >= deadline:
            raise FaultKitError(f"process {pid} is not stopped within {seconds:g} s: {busy}")
        time.sleep(_POLL)
