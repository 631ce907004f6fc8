"""Three real processes use this transport, and the leader is killed."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from braft_core.errors import BraftError
from braft_testing.processes import ProcessCluster, wait_for

pytest.importorskip("braft_static", reason="the nodes find each other by a static list")

pytestmark = [pytest.mark.integration]

#: Seconds within which writes go on under another leader on a busy machine.
SOON = 15.0


class _Writer:
    """Puts increasing numbers under new keys, and records the acknowledged ones."""

    def __init__(self, cluster: ProcessCluster, indexes: list[int]) -> None:
        self.acknowledged: dict[str, int] = {}
        self.moments: list[float] = []
        self._client = cluster.client(*indexes, timeout=20.0)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        number = 0
        while not self._end.is_set():
            number += 1
            try:
                self._client.kv_put("load", f"k{number}", number)
            except BraftError:
                continue
            self.acknowledged[f"k{number}"] = number
            self.moments.append(time.monotonic())

    def end(self) -> None:
        self._end.set()
        self._thread.join(60)
        assert not self._thread.is_alive()


def test_a_killed_leader_is_replaced_soon_and_nothing_is_lost(tmp_path: Path) -> None:
    with ProcessCluster(3, tmp_path, transport="tcp") as cluster:
        cluster.start()
        cluster.wait_ready()
        leader = cluster.leader()
        survivors = [index for index in range(3) if index != leader]
        writer = _Writer(cluster, survivors)
        try:
            wait_for(lambda: len(writer.moments) > 50, what="50 writes")
            killed = time.monotonic()
            cluster.kill(leader)
            wait_for(lambda: writer.moments[-1] > killed + 1.5, what="writes after the failover")
        finally:
            writer.end()
        after = [moment for moment in writer.moments if moment > killed]
        gaps = [b - a for a, b in zip([killed, *after], after, strict=False)]
        assert max(gaps) < SOON
        cluster.start(leader)
        cluster.wait_ready()
        assert cluster.client(leader).kv_list("load") == {
            **cluster.client(survivors[0]).kv_list("load"),
            **writer.acknowledged,
        }


def test_a_cluster_of_two_transports_does_not_form_and_says_why(tmp_path: Path) -> None:
    with ProcessCluster(2, tmp_path) as cluster:
        cluster.start(0, transport="tcp")
        cluster.start(1, transport="grpc")
        client = cluster.client(0)
        wait_for(lambda: "BRAFT_TRANSPORT" in client.ready()[1], what="the reason")
