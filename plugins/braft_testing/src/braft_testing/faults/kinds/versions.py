"""Mixed versions: downgrade some nodes to an older version, and upgrade them again.

The older version is braft without the service ``distribute``.
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
    """Downgrade one node or a majority, one after the other, the leader first or not.

    Meanwhile commands of the missing service must be rejected with the reason; after the upgrade
    they must succeed. The clients do not use that service and continue all the time.
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
        raise NotServing(f"node {node} was asked to stop, and ended with exit code {code}")
    # A process that is stopped while it still starts exits at once, with another exit code.
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
    """Set the items; return the code of the error, "" for none."""
    url = f"{scene.cluster.places[node].url}/distribute"
    try:
        answer = httpx.post(url, json=_ITEMS, timeout=_ANSWER_SECONDS, trust_env=False)
        return "" if answer.is_success else str(answer.json().get("code"))
    except (httpx.HTTPError, ValueError) as error:
        return type(error).__name__


KINDS = (Kind("mixed versions", Ability.PROCESSES, _mixed_versions),)
