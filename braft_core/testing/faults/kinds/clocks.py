"""Faults of clocks."""

from __future__ import annotations

from braft_core.testing.faults.kinds.scene import Ability, Kind, Scene
from braft_core.testing.faults.plan import Fault

__all__ = ["KINDS"]

#: Seconds.
_LEAST_JUMP, _MOST_JUMP = 2.0, 3e8


def _clock_jump(scene: Scene, fault: Fault) -> str:
    """Forward or back, by seconds or by years, and later back to where it was."""
    order = scene.leader_first(fault) if fault.other else fault.nodes
    seconds = _LEAST_JUMP * (_MOST_JUMP / _LEAST_JUMP) ** fault.strength
    jumps = {order[0]: seconds, order[1]: -seconds} if len(order) > 1 else {order[0]: seconds}
    for node, by in jumps.items():
        clock = scene.clock(node)
        scene.undo.callback(clock.set, 0.0)
        clock.set(by)
    return ", ".join(f"node {node} by {by:+,.0f} s" for node, by in jumps.items())


KINDS = (Kind("clock jump", Ability.CLOCK, _clock_jump),)
