"""A signal handler may set the flag at any moment of a wait for it."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

from braft_core.runtime.signal_flag import SignalFlag

#: Waits for a flag while a signal arrives at the first, second, … line that the main thread runs.
SCRIPT = """
import signal, sys
from braft_core.runtime.signal_flag import SignalFlag

def trace(frame, event, _):
    global lines
    lines += event == "line"
    if event == "line" and lines == chosen:
        signal.raise_signal(signal.SIGTERM)
    return trace

def wait():
    for _ in range(100):
        if flag.wait(0.001):
            return True
    return False

for chosen in range(1, 13):
    flag, lines = SignalFlag(), 0
    signal.signal(signal.SIGTERM, lambda *_: flag.set())
    sys.settrace(trace)
    ended = wait()
    sys.settrace(None)
    print(ended, lines >= chosen)
"""


def test_a_signal_at_any_line_of_a_wait_ends_it() -> None:
    """``threading.Event`` hangs at the fifth line."""
    command = [sys.executable, "-c", SCRIPT]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True).stdout
    assert shown.splitlines() == ["True True"] * 12


def test_another_thread_ends_a_wait_at_once() -> None:
    flag = SignalFlag()
    setter = threading.Thread(target=flag.set)
    began = time.monotonic()
    setter.start()
    assert flag.wait(600)
    assert time.monotonic() - began < 300
    assert flag.is_set()
    setter.join()


def test_a_wait_ends_after_its_timeout() -> None:
    flag = SignalFlag()
    assert not flag.wait(0.001)
    assert not flag.is_set()
