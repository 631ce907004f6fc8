"""Locks held by real processes that are killed and stopped."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from braft_testing.processes import ProcessCluster, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.slow]

#: A node that wants the lock as soon as there is a file ``want`` beside its data, and writes with
#: it until it is lost. What it learns is in the files ``held``, ``lost`` and ``refused``.
PROGRAM = """
import asyncio, json, os
from pathlib import Path
from braft_core import BraftError, Node
from braft_core.errors import LockLost

folder = Path(os.environ["BRAFT_DATA_DIR"]).parent

def write(name, value):
    (folder / f"{name}.new").write_text(json.dumps(value))
    (folder / f"{name}.new").rename(folder / name)

async def main():
    async with Node() as node:
        await node.await_ready(120)
        while not (folder / "want").exists():
            await asyncio.sleep(0.05)
        lock = node.lock("job", ttl=10)
        try:
            async with lock:
                write("held", lock.token)
                while True:
                    await node.store.aput("job", str(lock.token), if_held=lock)
                    await asyncio.sleep(0.05)
        except LockLost:
            write("lost", lock.token)
        try:
            await node.store.aput("job", str(lock.token), if_held=lock)
        except LockLost:
            write("refused", lock.token)
        await asyncio.sleep(3600)

asyncio.run(main())
"""


def test_the_lock_goes_on_from_stopped_and_killed_processes(tmp_path: Path) -> None:
    program = tmp_path / "holder.py"
    program.write_text(PROGRAM)
    with ProcessCluster(3, tmp_path, command=[sys.executable, str(program)]) as cluster:
        cluster.start()
        cluster.wait_ready()
        leader = cluster.leader()
        stopped, killed = (index for index in cluster.running if index != leader)

        def said(index: int, name: str) -> Any:
            file = cluster.nodes[index].directory / name
            return json.loads(file.read_text()) if file.exists() else None

        def want(index: int) -> None:
            (cluster.nodes[index].directory / "want").touch()

        want(stopped)
        first = wait_for(lambda: said(stopped, "held"), what="the first process holds the lock")
        want(killed)
        cluster.pause(stopped)
        second = wait_for(
            lambda: said(killed, "held"), what="the lock of a stopped process goes on"
        )
        assert second > first
        assert said(stopped, "lost") is None
        cluster.resume(stopped)
        wait_for(lambda: said(stopped, "lost"), what="the process that goes on learns of the loss")
        wait_for(lambda: said(stopped, "refused"), what="its next write is refused")
        want(leader)
        cluster.kill(killed)
        third = wait_for(lambda: said(leader, "held"), what="the lock of a killed process goes on")
        assert third > second
