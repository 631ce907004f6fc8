"""Nodes of different versions: some are put back to an older one, and upgraded again.

The older version is braft without the service ``distribute``, which braft is with.
"""

from __future__ import annotations

import httpx

from braft_testing.faults.cluster import NotServing
from braft_testing.faults.kinds.scene import Ability, Kind, Scene, wait_until
from braft_testing.faults.plan import Fault

__all__ = ["KINDS"]

_OLDER = {"services": "kv"}
_ITEMS = ["a", "b", "c"]
_ANSWER_SECONDS = 5.0


def _mixed_versions(scene: Scene, fault: Fault) -> str:
    """Put one node or a majority back, one after the other, the leader first or not.

    What they lack must be refused while they are there, with the reason, and taken once they are
    upgraded; the clients, who use nothing of it, go on meanwhile.
    """
    order = scene.leader_first(fault) if fault.strength < 0.5 else list(fault.nodes)
    victims = order[: len(order) // 2 + 1 if fault.other else 1]
    newer = order[-1]
    scene.undo.callback(_upgraded, scene, newer)
    for node in victims:
        _restart(scene, node, _OLDER)
        scene.undo.callback(_restart, scene, node, {})
    wait_until(
        lambda: _distribute(scene, newer) == "not_supported",
        f"node {newer} does not refuse what nodes {victims} lack",
    )
    return f"nodes {victims} without the service distribute"


def _restart(scene: Scene, node: int, settings: dict[str, str]) -> None:
    code = scene.cluster.stop(node)
    scene.cluster.start(node, **settings)
    if code:
        raise NotServing(f"node {node} was told to stop, and ended with exit code {code}")
    # A process that is stopped while it still starts ends at once, with another exit code.
    wait_until(lambda: _answers(scene, node), f"node {node} does not answer")


def _answers(scene: Scene, node: int) -> bool:
    try:
        url = f"{scene.cluster.places[node].url}/livez"
        httpx.get(url, timeout=_ANSWER_SECONDS, trust_env=False)
    except httpx.HTTPError:
        return False
    return True


def _upgraded(scene: Scene, node: int) -> None:
    wait_until(
        lambda: _distribute(scene, node) == "",
        f"node {node} does not distribute though all nodes can",
    )


def _distribute(scene: Scene, node: int) -> str:
    """Set the items; returns the code of the error, "" for none."""
    url = f"{scene.cluster.places[node].url}/distribute"
    try:
        answer = httpx.post(url, json=_ITEMS, timeout=_ANSWER_SECONDS, trust_env=False)
        return "" if answer.is_success else str(answer.json().get("code"))
    except (httpx.HTTPError, ValueError) as error:
        return type(error).__name__


KINDS = (Kind("mixed versions", Ability.PROCESSES, _mixed_versions),)
