"""The public pytest fixtures, used as users use them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from braft_core.abc import CommandContext
from braft_core.errors import BraftError, ConfigError, NotApplied, OutcomeUnknown
from braft_core.services import StateMachineService, command, query
from braft_testing.discovery import discovery_context
from braft_testing.faults import FaultKitError, Injector
from braft_testing.memory_cluster import MemoryCluster
from braft_testing.processes import ProcessCluster, wait_for

pytestmark = pytest.mark.integration


class Stamps(StateMachineService):
    """Records when it was called, by the time of the log."""

    name = "stamps"

    def __init__(self) -> None:
        self.times: list[int] = []

    @command
    def stamp(self, context: CommandContext) -> int:
        self.times.append(context.appended_at)
        return context.appended_at

    @query
    def count(self) -> int:
        return len(self.times)

    def dump(self) -> list[int]:
        return self.times

    def load(self, value: list[int]) -> None:
        self.times = value


def test_a_cluster_in_memory_keeps_its_data_over_restarts(
    braft_memory_cluster: Callable[..., MemoryCluster],
) -> None:
    cluster = braft_memory_cluster(3)
    cluster.node(0).kv.put("m", "k", 1)
    leader = cluster.leader()
    cluster.kill(leader)
    survivor = cluster.node(cluster.leader())
    assert survivor.kv.get("m", "k") == 1
    survivor.kv.put("m", "k", 2)
    cluster.start(leader)
    cluster.wait_ready(leader)
    assert cluster.node(leader).kv.get("m", "k") == 2
    cluster.restart(0, 1, 2)
    cluster.wait_ready()
    assert cluster.node(1).kv.get("m", "k") == 2


def test_a_network_in_memory_can_be_cut_and_healed(
    braft_memory_cluster: Callable[..., MemoryCluster],
) -> None:
    cluster = braft_memory_cluster(3, services=["kv"])
    old = cluster.leader()
    cluster.isolate(old)
    others = cluster.followers_of(old)
    with pytest.raises((NotApplied, OutcomeUnknown)):
        cluster.node(old).kv.put("m", "k", "minority", timeout=0.3)
    new = cluster.leader(among=others)
    assert new != old
    cluster.node(new).kv.put("m", "k", "majority")
    cluster.heal()
    cluster.wait_for(lambda: not cluster.node(old).is_leader, what="the old leader follows")
    assert cluster.node(old).kv.get("m", "k", timeout=20) == "majority"


def test_one_direction_of_a_network_can_be_cut(
    braft_memory_cluster: Callable[..., MemoryCluster],
) -> None:
    cluster = braft_memory_cluster(3)
    leader = cluster.leader()
    follower = cluster.followers_of(leader)[0]
    cluster.cut(leader, follower, both=False)
    cluster.wait_for(
        lambda: cluster.node(follower).leader is None or cluster.leader() != leader,
        what="who hears nothing from the leader does not take it for one",
    )
    cluster.heal()
    cluster.wait_ready()


def test_the_time_of_the_log_can_be_set(
    braft_memory_cluster: Callable[..., MemoryCluster],
) -> None:
    cluster = braft_memory_cluster(1, services=[Stamps])
    node = cluster.node(0)
    before = node.execute("stamps", "stamp")
    cluster.clock.advance(3600)
    after = node.execute("stamps", "stamp")
    assert 3600 <= (after - before) / 1e9 < 3660
    assert node.query("stamps", "count") == 2


def test_the_clock_is_put_back() -> None:
    with MemoryCluster(1) as cluster:
        cluster.clock.advance(1e6)
    with MemoryCluster(1, services=[Stamps]) as cluster:
        stamped = cluster.node(0).execute("stamps", "stamp")
        assert abs(stamped - cluster.clock.now_ns()) < 60e9
        with pytest.raises(BraftError, match="node 0 runs already"):
            cluster.start(0)


def test_a_cluster_of_processes(
    braft_process_cluster: Callable[..., ProcessCluster],
) -> None:
    cluster = braft_process_cluster(1, expect=1)
    cluster.start()
    cluster.wait_ready()
    client = cluster.client()
    client.kv_put("m", "k", 1)
    cluster.restart(0)
    cluster.wait_ready()
    assert client.kv_get("m", "k") == 1


def leader_of(faults: Injector) -> int:
    """Wait for a leader; on a busy machine a single question may time out."""
    found = wait_for(lambda: [i for i in (faults.cluster.leader(),) if i is not None])
    return found[0]


def test_faults_at_command(braft_faults: Callable[..., Injector]) -> None:
    faults = braft_faults(3, needs=["kill"])
    leader = leader_of(faults)
    with faults.during("kill", leader) as what:
        assert str(leader) in what
        assert leader not in faults.cluster.running
        faults.cluster.wait_serving(60, [i for i in faults.cluster.members if i != leader])
    assert leader in faults.cluster.running
    with pytest.raises(BraftError, match="kind of fault is 'kil'; accepted: kill, "):
        faults.inject("kil")


def test_a_network_cut_at_command(braft_faults: Callable[..., Injector]) -> None:
    faults = braft_faults(3, needs=["partition leader"])
    with faults.during("partition leader") as what:
        # The leader at the moment of the partition; it may have changed just before.
        cut = int(what[1])
        assert what.startswith(f"[{cut}] from ")
        others = [index for index in faults.cluster.members if index != cut]
        faults.cluster.wait_serving(60, others)
        leader = wait_for(faults.cluster.client(others[0]).leader)
        assert leader is not None
        assert leader.address != faults.cluster.places[cut].address


def test_what_a_machine_cannot_do_is_a_skip_with_a_reason(
    braft_faults: Callable[..., Injector], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(pytest.skip.Exception, match=r"no 'partition' on this machine: .*not root"):
        braft_faults(3, needs=["partition"])
    with pytest.raises(FaultKitError, match="partition: this is not root"):
        braft_faults(1, expect=1).inject("partition")


def test_a_session_without_the_fixtures_imports_nothing(tmp_path: Path) -> None:
    code = "import sys, braft_testing.fixtures; print('braft_core.node' in sys.modules)"
    root = str(Path(__file__).parents[2])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert done.stdout == "False\n", done.stderr


def test_the_examples_of_the_manual(tmp_path: Path) -> None:
    """Run the tests that docs/plugins/testing.md shows, in a separate project."""
    root = Path(__file__).parents[2]
    manual = (root / "docs" / "plugins" / "testing.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", manual, re.MULTILINE | re.DOTALL)
    tests = [block for block in blocks if block.startswith("def test_")]
    (tmp_path / "test_manual.py").write_text("\n\n".join(tests))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(rf"^{len(tests)} passed|passed, \d skipped", done.stdout, re.MULTILINE)


def test_the_options_of_the_manual() -> None:
    """The classes in docs/plugins/options.md behave as the page says."""
    root = Path(__file__).parents[2]
    manual = (root / "docs" / "plugins" / "options.md").read_text(encoding="utf-8")
    scope: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```", manual, re.MULTILINE | re.DOTALL):
        exec(compile(block, "options.md", "exec", dont_inherit=True), scope)  # noqa: S102 - ours
    assert scope["LabOptions"].variables() == {
        "pause": "BRAFT_LAB_PAUSE",
        "rooms": "BRAFT_LAB_ROOMS",
        "password": "BRAFT_LAB_PASSWORD",
    }
    lab = scope["Lab"]("", discovery_context(options={"pause": "5s", "rooms": "a,b"}))
    assert (lab.options.pause, lab.options.rooms) == (5.0, ("a", "b"))
    with pytest.raises(ConfigError, match=r"size=3: not even; accepted: an even number"):
        scope["PairOptions"].read({"size": 3})
