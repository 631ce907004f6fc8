"""Clock faults: wall clock jumps, and monotonic clocks that do not count a suspend."""

from __future__ import annotations

import time
from collections.abc import Sequence

from braft_testing.faults.kinds.scene import Ability, Kind, Scene
from braft_testing.faults.plan import Fault

__all__ = ["KINDS"]

#: Bounds of a jump, seconds.
_LEAST_JUMP, _MOST_JUMP = 2.0, 3e8


def _clock_jump(scene: Scene, fault: Fault) -> str:
    """Set clocks forward or back, by seconds or by years, and later back."""
    order = scene.leader_first(fault) if fault.other else fault.nodes
    seconds = _LEAST_JUMP * (_MOST_JUMP / _LEAST_JUMP) ** fault.strength
    jumps = {order[0]: seconds, order[1]: -seconds} if len(order) > 1 else {order[0]: seconds}
    for node, by in jumps.items():
        interposer = scene.interposer(node)
        scene.undo.callback(interposer.set_wall_clock, 0.0)
        interposer.set_wall_clock(by)
    return ", ".join(f"node {node} by {by:+,.0f} s" for node, by in jumps.items())


def _suspend(scene: Scene, fault: Fault) -> str:
    """Suspend the machines of one node or of a majority; their monotonic clocks stop meanwhile."""
    order = scene.leader_first(fault) if fault.strength < 0.5 else fault.nodes
    victims = order[: len(order) // 2 + 1 if fault.other else 1]
    scene.undo.callback(scene.cluster.resume, *victims)
    scene.cluster.freeze(*victims)
    scene.undo.callback(_take_off_clocks, scene, victims, time.monotonic())
    return f"nodes {list(victims)}"


def _take_off_clocks(scene: Scene, victims: Sequence[int], began: float) -> None:
    seconds = time.monotonic() - began
    for node in victims:
        scene.interposer(node).suspended(seconds)


KINDS = (
    Kind("clock jump", Ability.INTERPOSE, _clock_jump),
    Kind("suspend", Ability.INTERPOSE, _suspend),
)
