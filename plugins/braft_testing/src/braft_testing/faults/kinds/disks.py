"""Disk faults: full, slow, without power, or emptied while a node runs."""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from pathlib import Path

from braft_core.errors import BraftError
from braft_testing.faults.disks import LoopDisk
from braft_testing.faults.kinds.scene import Ability, Kind, Scene, struck, wait_until
from braft_testing.faults.plan import Fault
from braft_testing.faults.stalling import SlowSyncs

__all__ = ["KINDS"]

_LEAST_SYNC, _MOST_SYNC = 0.02, 3.0
#: From this strength on only the leader's disk stalls.
_STALL = 0.3
#: Each longer than an election timeout.
_LEAST_SLOW, _MOST_SLOW = 1.2, 2.5
_SLOW_ANSWER = 20.0


def _disk_full(scene: Scene, fault: Fault) -> str:
    victims = struck(fault)
    for node in victims:
        scene.undo.callback(scene.disk(node).free)
        scene.disk(node).fill()
    return f"nodes {list(victims)}"


def _slow_disk(scene: Scene, fault: Fault) -> str:
    """Slow a disk down, up to a stall, after which a leader steps down."""
    victims = struck(fault) if fault.strength < _STALL else scene.leader_first(fault)[:1]
    seconds = _LEAST_SYNC + fault.strength * (_MOST_SYNC - _LEAST_SYNC)
    for node in victims:
        scene.undo.enter_context(SlowSyncs(scene.cluster.pid(node), seconds))
    return f"each sync of nodes {list(victims)} takes {seconds:.2f} s longer"


def _slow_syncs(scene: Scene, fault: Fault) -> str:
    """Let every sync take longer than an election timeout, at the leader or everywhere.

    In the second case all nodes are restarted, and must elect a leader and commit a write despite
    the slow disks.
    """
    seconds = _LEAST_SLOW + fault.strength * (_MOST_SLOW - _LEAST_SLOW)
    victims = fault.nodes if fault.other else scene.leader_first(fault)[:1]
    for node in victims:
        scene.undo.callback(scene.interposer(node).slow_syncs, 0.0)
        scene.interposer(node).slow_syncs(seconds)
    detail = f"each sync of nodes {list(victims)} takes {seconds:.2f} s longer"
    if not fault.other:
        return detail
    began = time.monotonic()
    scene.cluster.kill(*fault.nodes)
    scene.cluster.start(*fault.nodes)
    wait_until(
        lambda: any(_takes_a_write(scene, node) for node in fault.nodes),
        f"no node takes a write with syncs of {seconds:.2f} s",
        scene.slow_write_seconds,
    )
    return f"{detail}; all restarted, a write after {time.monotonic() - began:.1f} s"


def _takes_a_write(scene: Scene, node: int) -> bool:
    with suppress(BraftError):
        return scene.cluster.client(node, _SLOW_ANSWER).kv_put("service", "slow", node) > 0
    return False


def _removed_directory(scene: Scene, fault: Fault) -> str:
    """Delete the data directory under a node; it must exit, and a new node replaces it.

    As docs/operations.md describes: start it again, and remove the old member.
    """
    victim = (scene.leader_first(fault) if fault.other else fault.nodes)[0]
    server_id = scene.cluster.server_id(victim)
    scene.undo.callback(_replace, scene, victim, server_id)
    data = scene.cluster.places[victim].data
    # The node may create files while they are removed.
    wait_until(lambda: _is_removed(data), f"{data} is not removed")
    began = time.monotonic()
    wait_until(
        lambda: victim not in scene.cluster.running,
        f"node {victim} does not end although its directory is gone",
        scene.notice_seconds,
    )
    return f"of node {victim}, which ended after {time.monotonic() - began:.1f} s"


def _is_removed(data: Path) -> bool:
    shutil.rmtree(data, ignore_errors=True)
    return not data.exists()


def _replace(scene: Scene, node: int, server_id: str | None) -> None:
    """Start a node with an empty directory, in place of the old member."""
    cluster = scene.cluster
    cluster.kill(node)
    cluster.forget(node)
    cluster.start(node)

    def removed() -> bool:
        if not any(member.id == server_id for member in cluster.membership()):
            return True
        cluster.client(cluster.leader() or 0).remove_member(server_id or "")
        return False

    wait_until(removed, f"node {node} as it was is not removed")
    wait_until(lambda: cluster.suffrage(node) == "Voter", f"node {node} is not a voter again")


def _power_loss(scene: Scene, fault: Fault) -> str:
    """Lose power: disks lose what was not synced, and processes die.

    The nodes are stopped before their disks are shut down. A sync in progress at that time may
    return success for lost data, and a node still running would acknowledge it. No disk does that
    in a power failure.
    """
    disks = [disk for node in fault.nodes if isinstance(disk := scene.disk(node), LoopDisk)]
    scene.cluster.freeze(*fault.nodes)
    for disk in disks:
        disk.cut_power()
    scene.cluster.kill(*fault.nodes)
    scene.undo.callback(scene.cluster.start, *fault.nodes)
    for disk in disks:
        disk.unmount()
        disk.mount()
    return "all nodes, and what their disks had not synced"


KINDS = (
    Kind("disk full", Ability.DISK, _disk_full),
    Kind("slow disk", Ability.SLOW, _slow_disk),
    Kind("slow syncs", Ability.INTERPOSE, _slow_syncs),
    Kind("removed directory", Ability.PROCESSES, _removed_directory, ends_nodes=True),
    Kind("power loss", Ability.POWER, _power_loss, ends_nodes=True),
)
