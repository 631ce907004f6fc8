"""``braft run`` in a real process, with one node."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

ROOT = str(Path(__file__).parents[3])
ANY_PORTS = ["--rport", "0", "--dport", "0", "--hport", "0", "--ip", "127.0.0.1"]


@pytest.mark.integration
@pytest.mark.smoke
@pytest.mark.parametrize("words", [["run"], []], ids=["run", "no command"])
def test_a_node_runs_serves_and_stops(words: list[str], braft: Any) -> None:
    alone = [*ANY_PORTS, "--data-dir", ":memory:", "--expect", "1", "--log", "warning"]
    process = subprocess.Popen(
        [sys.executable, "-m", "braft_core", *words, *alone],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        listening = process.stdout.readline()
        found = re.search(r"Raft on 127\.0\.0\.1:\d+, HTTP on (http://\S+)", listening)
        assert found, listening
        url = found[1]
        deadline = time.monotonic() + 40
        while braft("kv", "put", "m", "k", "v", "--url", url).exit_code != 0:
            assert time.monotonic() < deadline, "no write within 40 s"
            time.sleep(0.05)
        assert braft("kv", "get", "m", "k", "--url", url).stdout == "v\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) == 0
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


@pytest.mark.integration
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_comes_when_the_node_has_just_started_stops_it_in_order(
    number: signal.Signals,
) -> None:
    """Its HTTP port may answer already, so a supervisor may send a signal at once."""
    alone = [*ANY_PORTS, "--data-dir", ":memory:", "--expect", "1", "--log", "warning"]
    script = f"""
import os, runpy, sys
from braft_core.node import Node
start, stop = Node.start, Node.stop

def interrupted(node):
    start(node)
    os.kill(os.getpid(), {int(number)})
    return node

def told(node):
    stop(node)
    print("stopped")

Node.start, Node.stop = interrupted, told
sys.argv = ["braft", "run", *{alone!r}]
runpy.run_module("braft_core", run_name="__main__")
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["stopped"]), done.stderr
