"""A snapshot brings a follower up to date that is behind the compacted log, under load."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import pytest

from braft_core.errors import BraftError
from braft_testing.processes import ProcessCluster

pytestmark = [pytest.mark.integration]

#: More entries than the log keeps after a snapshot, and few enough for one slow client.
LEFT_BEHIND = 700


class Writing:
    """One client that puts new keys until the end of the block."""

    def __init__(self, cluster: ProcessCluster, *indexes: int) -> None:
        self._client = cluster.client(*indexes, timeout=20)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._broken: BaseException | None = None
        #: Keys below this number are written.
        self.count = 0

    def __enter__(self) -> Writing:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        if self._broken is not None:
            raise self._broken

    def _run(self) -> None:
        try:
            while not self._end.is_set():
                self._client.kv_put("m", f"k{self.count}", self.count)
                self.count += 1
        except BaseException as error:  # noqa: BLE001 - raised at the end of the block
            self._broken = error

    @property
    def alive(self) -> bool:
        """True while no put has failed."""
        return self._broken is None


def log_begins(cluster: ProcessCluster, index: int) -> int:
    """Return where that node's log begins, from its log line about the compaction."""
    found = re.findall(r"the log begins at (\d+)", cluster.nodes[index].log.read_text())
    return int(found[-1]) if found else 1


def last_index(cluster: ProcessCluster, index: int) -> int:
    address = cluster.nodes[index].address
    nodes = cluster.client(index).status()["nodes"]
    return next(int(node["lastIndex"]) for node in nodes if node["address"] == address)


def test_a_follower_far_behind_catches_up_while_writes_go_on(tmp_path: Path) -> None:
    with ProcessCluster(3, tmp_path, snapshot_entries=500, snapshot_trailing=50) as cluster:
        cluster.start()
        cluster.wait_ready()
        leader = cluster.leader()
        away, other = (index for index in range(3) if index != leader)
        cluster.client(leader).kv_put("m", "first", 1)
        reached = last_index(cluster, away)
        cluster.kill(away)
        with Writing(cluster, leader, other) as writing:
            cluster.wait_for(
                lambda: (
                    not writing.alive
                    or (
                        writing.count > LEFT_BEHIND
                        and min(log_begins(cluster, i) for i in (leader, other)) > reached + 1
                    )
                ),
                120,
                "no log reaches back to what the absent one has",
            )
            assert writing.alive
            cluster.start(away)
            cluster.wait_ready(away)
            back = writing.count

            def caught_up() -> bool:
                try:
                    stale = cluster.client(away).kv_get("m", f"k{back + 50}", consistency="stale")
                except BraftError:
                    return False
                return bool(stale == back + 50)

            cluster.wait_for(caught_up, 60, "the one that was away applies what is written now")
            assert writing.alive
        everything = {f"k{n}": n for n in range(writing.count)} | {"first": 1}
        for index in range(3):
            assert cluster.client(index).kv_list("m") == everything
        assert cluster.client(away).snapshots()
