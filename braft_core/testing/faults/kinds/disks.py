"""Faults of disks: full, slow, or without power."""

from __future__ import annotations

from braft_core.testing.faults.disks import LoopDisk
from braft_core.testing.faults.kinds.scene import Ability, Kind, Scene, struck
from braft_core.testing.faults.plan import Fault
from braft_core.testing.faults.stalling import SlowSyncs

__all__ = ["KINDS"]

_LEAST_SYNC, _MOST_SYNC = 0.02, 3.0
#: From this strength on it is the leader's disk that stalls, alone.
_STALL = 0.3


def _disk_full(scene: Scene, fault: Fault) -> str:
    victims = struck(fault)
    for node in victims:
        scene.undo.callback(scene.disk(node).free)
        scene.disk(node).fill()
    return f"nodes {list(victims)}"


def _slow_disk(scene: Scene, fault: Fault) -> str:
    """Up to a stall, after which a leader gives up its office."""
    victims = struck(fault) if fault.strength < _STALL else scene.leader_first(fault)[:1]
    seconds = _LEAST_SYNC + fault.strength * (_MOST_SYNC - _LEAST_SYNC)
    for node in victims:
        scene.undo.enter_context(SlowSyncs(scene.cluster.pid(node), seconds))
    return f"each sync of nodes {list(victims)} takes {seconds:.2f} s longer"


def _power_loss(scene: Scene, fault: Fault) -> str:
    """All at once: disks forget what was not synced, processes die.

    The nodes stand still before their disks are cut off. A sync that is under way while its file
    system is shut down may return success for what is lost, and a node that still ran then would
    acknowledge it: no disk does that in a power failure.
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
    Kind("power loss", Ability.POWER, _power_loss, ends_nodes=True),
)
