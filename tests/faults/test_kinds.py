"""What each kind of fault does to a cluster, in which order, and how it is undone."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from braft_core.errors import NotReady
from braft_testing.faults import KINDS, NotServing, Scene
from braft_testing.faults.cluster import Cluster
from braft_testing.faults.interposing import Interposer
from braft_testing.faults.kinds import versions
from braft_testing.faults.kinds.scene import wait_until
from braft_testing.faults.plan import Fault


class RecordedCluster:
    """Records what is done to it. Node 1 leads, and every write succeeds."""

    def __init__(self, directory: Path) -> None:
        self.done: list[str] = []
        self.running = [0, 1, 2]
        self.ids = {index: f"id-{index}" for index in range(3)}
        self.places = [
            SimpleNamespace(data=directory / f"node-{index}" / "data", interposer=self._of(index))
            for index in range(3)
        ]
        for place in self.places:
            place.data.mkdir(parents=True)
            (place.data / "raft.db").write_bytes(b"x")

    def _of(self, index: int) -> Interposer:
        def say(name: str) -> Callable[..., None]:
            return lambda seconds: self.done.append(f"{name} {index} {seconds:.0f}")

        made: Any = SimpleNamespace(slow_syncs=say("slow"), suspended=say("suspended"))
        return cast(Interposer, made)

    def leader(self) -> int:
        return 1

    def server_id(self, index: int) -> str:
        return self.ids[index]

    def suffrage(self, index: int) -> str:
        return "Voter"

    def membership(self) -> list[Any]:
        return [SimpleNamespace(id=server_id) for server_id in self.ids.values()]

    def client(self, index: int, timeout: float = 1.0) -> Any:
        def remove(server_id: str) -> None:
            self.done.append(f"remove {server_id}")
            index = next(i for i, known in self.ids.items() if known == server_id)
            self.ids[index] = f"new-{index}"

        return SimpleNamespace(kv_put=lambda *entry: 7, remove_member=remove)

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *indexes: self.done.append(" ".join(map(str, (name, *indexes))))


@pytest.fixture
def cluster(tmp_path: Path) -> RecordedCluster:
    return RecordedCluster(tmp_path)


@pytest.fixture
def scene(cluster: RecordedCluster) -> Scene:
    return Scene(cast(Cluster, cluster))


def inject(scene: Scene, kind: str, *, strength: float = 0.0, other: bool = False) -> str:
    return KINDS[kind].inject(scene, Fault(kind, (0, 1, 2), 1.0, strength, other))


def test_a_suspend_is_taken_off_the_clocks_before_the_nodes_go_on(
    scene: Scene, cluster: RecordedCluster
) -> None:
    assert inject(scene, "suspend", other=True) == "nodes [1, 0]"
    assert cluster.done == ["freeze 1 0"]
    scene.undo.close()
    assert cluster.done[1:] == ["suspended 1 0", "suspended 0 0", "resume 1 0"]


def test_syncs_are_slow_until_the_fault_is_healed(scene: Scene, cluster: RecordedCluster) -> None:
    assert "nodes [1] takes 1.85 s" in inject(scene, "slow syncs", strength=0.5)
    assert cluster.done == ["slow 1 2"]
    scene.undo.close()
    assert cluster.done[1:] == ["slow 1 0"]


def test_where_all_syncs_are_slow_the_nodes_must_elect_and_write(
    scene: Scene, cluster: RecordedCluster
) -> None:
    assert "all restarted, a write after 0.0 s" in inject(scene, "slow syncs", other=True)
    slow = ["slow 0 1", "slow 1 1", "slow 2 1"]
    assert cluster.done == [*slow, "kill 0 1 2", "start 0 1 2"]


def test_a_cluster_that_takes_no_write_with_slow_syncs_is_a_problem(
    scene: Scene, cluster: RecordedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*entry: object) -> int:
        raise NotReady("no leader")

    client: Any = lambda index, timeout: SimpleNamespace(kv_put=refuse)  # noqa: E731
    monkeypatch.setattr(cluster, "client", client)
    scene.slow_write_seconds = 0.1
    with pytest.raises(NotServing, match=r"no node takes a write with syncs of 1\.20 s"):
        inject(scene, "slow syncs", other=True)


def test_a_node_without_its_directory_ends_and_is_replaced(
    scene: Scene, cluster: RecordedCluster
) -> None:
    cluster.running = [0, 1]
    data = cluster.places[2].data
    fault = Fault("removed directory", (2, 0, 1), 1.0, 0.0, False)
    assert "of node 2, which ended after" in KINDS[fault.kind].inject(scene, fault)
    assert not data.exists()
    scene.undo.close()
    assert cluster.done == ["kill 2", "forget 2", "start 2", "remove id-2"]


def test_a_node_that_keeps_running_without_its_directory_is_a_problem(scene: Scene) -> None:
    scene.notice_seconds = 0.1
    with pytest.raises(NotServing, match="node 1 does not end although its directory is gone"):
        inject(scene, "removed directory", other=True)


@pytest.mark.parametrize(("other", "victims"), [(False, [1]), (True, [1, 0])])
def test_older_versions_are_refused_what_they_lack_and_upgraded_one_by_one(
    scene: Scene,
    cluster: RecordedCluster,
    monkeypatch: pytest.MonkeyPatch,
    other: bool,
    victims: list[int],
) -> None:
    older: set[int] = set()
    asked: set[int] = set()

    def answers(scene: Scene, node: int) -> bool:
        asked.add(node)
        return asked >= older  # a node that starts does not answer at once

    def start(*indexes: int, **settings: object) -> None:
        cluster.done.append(f"start {indexes[0]} {settings.get('services', 'all')}")
        (older.update if settings else older.difference_update)(indexes)

    monkeypatch.setattr(cluster, "stop", lambda index: 0, raising=False)
    monkeypatch.setattr(cluster, "start", start, raising=False)
    monkeypatch.setattr(
        versions, "_distribute", lambda scene, node: "not_supported" if older else ""
    )
    monkeypatch.setattr(versions, "_answers", answers)
    assert f"nodes {victims} without" in inject(scene, "mixed versions", other=other)
    assert older == asked == set(victims)
    scene.undo.close()
    downs = [f"start {node} kv" for node in victims]
    assert cluster.done == [*downs, *(f"start {node} all" for node in reversed(victims))]


def test_a_cluster_that_takes_what_a_member_lacks_is_a_problem(
    scene: Scene, cluster: RecordedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "stop", lambda index: 0, raising=False)
    monkeypatch.setattr(cluster, "start", lambda *indexes, **settings: None, raising=False)
    monkeypatch.setattr(versions, "_distribute", lambda scene, node: "")
    monkeypatch.setattr(versions, "_answers", lambda scene, node: True)
    impatient = partial(wait_until, seconds=0.1)
    monkeypatch.setattr("braft_testing.faults.kinds.versions.wait_until", impatient)
    with pytest.raises(NotServing, match=r"does not refuse what nodes \[1\] lack"):
        inject(scene, "mixed versions")
