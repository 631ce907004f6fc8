"""Clusters whose every sync takes longer than the election timeout all the time still serve."""

from __future__ import annotations

import pytest

from braft_core.raft.types import Role
from braft_testing.simulation.edits import Edits
from braft_testing.simulation.plan import FAULTS
from braft_testing.simulation.world import World

pytestmark = pytest.mark.timeout(1200)  # computing only, on a busy machine too

#: The default settings of nodes, on a good network.
CONFIG = {
    "heartbeat_interval": 0.1,
    "election_timeout": 1.0,
    "election_jitter": 0.5,
    "lost_leader_jitter": 0.03,
    "request_timeout": 0.5,
    "lease_reads": False,
    "max_append_entries": 2048,
    "max_append_bytes": 1 << 20,
    "max_inflight_messages": 8,
}
PLAN = {
    "bootstrap": False,
    "autopilot": None,
    "versions": (),
    "clients": 1,
    "uneven_syncs": False,
    "sync_latency": 0.002,
    "delay": 0.001,
    "jitter": 0.001,
    "loss": 0.0,
    "duplication": 0.0,
    "reordering": 0.0,
    "late_wake": 0.0,
}


def seconds_until_a_leader_serves(seed: int, syncs: list[float]) -> float:
    count = {"servers": len(syncs), "initial_voters": len(syncs)}
    edits = Edits(without=frozenset(FAULTS), plan=PLAN | count, config=CONFIG)
    world = World(seed, edits=edits)
    world.sync_latencies.permanent.update(zip(world.server_ids, syncs, strict=True))
    for server in world.servers.values():
        server.start()
    while world.scheduler.now < 300.0:
        world.scheduler.run_until(world.scheduler.now + 0.1)
        for server in world.servers.values():
            core, applied = server.process.core, server.process.frontend.applied
            if core.role is Role.LEADER and applied == core.commit_index > 1:
                return world.scheduler.now
    raise AssertionError(f"seed {seed}: no leader serves after {world.scheduler.now:.0f} s")


@pytest.mark.parametrize(
    ("syncs", "most"),
    [
        ([1.5], 4.0),
        ([2.5], 6.0),
        ([1.5] * 3, 8.0),
        ([2.5] * 3, 12.0),
        ([2.5] * 5, 24.0),  # one of the seeds has a split vote, which costs a second election
        ([0.002, 2.5, 2.5], 12.0),
        ([0.002, 0.002, 2.5, 2.5, 2.5], 16.0),
    ],
    ids=str,
)
def test_restarted_servers_elect_a_leader_that_serves(syncs: list[float], most: float) -> None:
    assert max(seconds_until_a_leader_serves(seed, syncs) for seed in range(20)) < most
