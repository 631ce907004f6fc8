"""Stopping a node when stopping a plugin fails or hangs."""

from __future__ import annotations

import asyncio
import threading

import pytest

from braft_core import Node
from braft_core.errors import OutcomeUnknown, Stopped
from braft_core.runtime.leave_empty_cluster import abandon_cluster
from braft_core.runtime.requests import Command
from braft_core.runtime.timing import Timing
from braft_testing.internals import internals, with_timing
from braft_testing.processes import PATIENCE, wait_for


@pytest.mark.parametrize("hangs", [False, True], ids=["it fails", "it hangs"])
def test_a_discovery_whose_end_fails_leaves_no_thread_and_nobody_waiting(
    hangs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def end() -> None:
        if hangs:
            await asyncio.sleep(60)
        raise OSError("the socket is closed")

    node = Node(discovery="none", data_dir=":memory:", ip="127.0.0.1", rport=0, http=False)
    with with_timing(node, Timing(discovery_stop=0.2)):
        node.kv.put("m", "k", 1)
        threads, server, loop = internals(node)
        monkeypatch.setattr(server.membership, "stop", end)
        driver = server.running().driver
        appended, early = Command(b"x", 60), Command(b"x", 60)

        async def wait() -> None:
            driver.wait_applied(10**6, driver.core.current_term, [appended])
            server._parked._parked.append(early)

        loop.run(wait())
    with pytest.raises(OutcomeUnknown):
        appended.blocking.result(PATIENCE)
    with pytest.raises(Stopped):
        early.blocking.result(PATIENCE)
    name = f"braft-{threads.components.ports.raft}-"
    wait_for(
        lambda: not [t for t in threading.enumerate() if t.name.startswith(name)],
        what="its threads end",
    )


def test_a_stop_while_the_cluster_is_abandoned_answers_those_who_wait() -> None:
    with Node(discovery="none", data_dir=":memory:", ip="127.0.0.1", rport=0, http=False) as node:
        node.wait_ready(PATIENCE)
        node.barrier(PATIENCE)
        _, server, loop = internals(node)
        request = Command(b"x", 60)

        async def leave_in_vain() -> None:
            # A thread has queued it, and the loop has not seen it yet.
            server.running().driver._requests.append(request)
            leaving = asyncio.ensure_future(abandon_cluster(server, server.adapter))
            await asyncio.sleep(0)
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)

        loop.run(leave_in_vain(), PATIENCE)
    with pytest.raises(Stopped):
        request.blocking.result(PATIENCE)
