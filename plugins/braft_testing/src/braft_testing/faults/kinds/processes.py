"""Process faults: kill, stop, restart; and changes that an operator makes."""

from __future__ import annotations

from collections.abc import Sequence

from braft_core.errors import BraftError
from braft_testing.faults.cluster import NotServing
from braft_testing.faults.kinds.scene import Ability, Kind, Scene, wait_until
from braft_testing.faults.plan import Fault

__all__ = ["KINDS"]


def _kill(scene: Scene, victims: Sequence[int]) -> str:
    scene.cluster.kill(*victims)
    scene.undo.callback(scene.cluster.start, *victims)
    return f"nodes {list(victims)}"


def _kill_one(scene: Scene, fault: Fault) -> str:
    return _kill(scene, fault.nodes[:1])


def _kill_leader(scene: Scene, fault: Fault) -> str:
    return _kill(scene, scene.leader_first(fault)[:1])


def _kill_majority(scene: Scene, fault: Fault) -> str:
    return _kill(scene, fault.nodes[: len(fault.nodes) // 2 + 1])


def _power_cycle(scene: Scene, fault: Fault) -> str:
    return _kill(scene, fault.nodes)


def _pause(scene: Scene, victims: Sequence[int]) -> str:
    scene.undo.callback(scene.cluster.resume, *victims)
    scene.cluster.pause(*victims)
    return f"nodes {list(victims)}"


def _pause_some(scene: Scene, fault: Fault) -> str:
    majority = len(fault.nodes) // 2 + 1
    return _pause(scene, fault.nodes[: majority if fault.other else 1])


def _pause_leader(scene: Scene, fault: Fault) -> str:
    return _pause(scene, scene.leader_first(fault)[:1])


def _restart(scene: Scene, fault: Fault) -> str:
    victim = scene.leader_first(fault)[0] if fault.other else fault.nodes[0]
    code = scene.cluster.stop(victim)
    scene.undo.callback(scene.cluster.start, victim)
    if code:
        raise NotServing(f"node {victim} was asked to stop, and ended with exit code {code}")
    return f"node {victim}"


def _transfer(scene: Scene, fault: Fault) -> str:
    target = next(index for index in fault.nodes if index != scene.cluster.leader())
    try:
        server_id = scene.cluster.server_id(target) or ""
        scene.cluster.client(fault.nodes[0]).transfer_leadership(server_id)
    except BraftError as error:  # allowed: the operator sees the error, and nothing changed
        return f"to node {target}: {type(error).__name__}: {error}"
    return f"to node {target}"


def _membership(scene: Scene, fault: Fault) -> str:
    cluster, newcomer = scene.cluster, scene.cluster.size
    scene.undo.callback(_remove, scene, newcomer, fault.other)
    cluster.start(newcomer)
    wait_until(lambda: cluster.suffrage(newcomer) == "Voter", f"node {newcomer} is not a voter")
    return f"node {newcomer} added, removed {'while it runs' if fault.other else 'when it is dead'}"


def _remove(scene: Scene, newcomer: int, alive: bool) -> None:
    """Remove the newcomer, dead or alive; a live one may ask to rejoin until it is killed."""
    cluster = scene.cluster

    def removed() -> bool:
        server_id = cluster.server_id(newcomer)
        if server_id is not None:
            cluster.client(cluster.leader() or 0).remove_member(server_id)
        return server_id is None

    try:
        if alive:
            wait_until(removed, f"node {newcomer} is not removed")
    finally:
        cluster.kill(*(index for index in cluster.running if index == newcomer))
        cluster.forget(newcomer)
    wait_until(removed, f"node {newcomer} is not removed")


KINDS = (
    Kind("kill", Ability.PROCESSES, _kill_one),
    Kind("kill leader", Ability.PROCESSES, _kill_leader),
    Kind("kill majority", Ability.PROCESSES, _kill_majority),
    Kind("power cycle", Ability.PROCESSES, _power_cycle),
    Kind("pause", Ability.PROCESSES, _pause_some),
    Kind("pause leader", Ability.PROCESSES, _pause_leader),
    Kind("restart", Ability.PROCESSES, _restart),
    Kind("transfer", Ability.PROCESSES, _transfer),
    Kind("membership", Ability.PROCESSES, _membership),
)
