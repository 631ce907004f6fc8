"""A leader's data directory is deleted: the other members go on and nothing is lost."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from braft_core import Node
from braft_core.errors import BraftError
from braft_testing.processes import PATIENCE, wait_for

if TYPE_CHECKING:
    from tests.integration.conftest import MakeNodes

pytestmark = pytest.mark.integration


def test_the_leader_without_its_directory_acknowledges_nothing_and_is_replaced(
    make_nodes: MakeNodes, leader_of: Callable[[list[Node]], Node]
) -> None:
    nodes = make_nodes(3)
    leader = leader_of(nodes)
    others = [node for node in nodes if node is not leader]
    for number in range(20):
        leader.kv.put("m", f"before-{number}", number)
    shutil.rmtree(Path(str(leader.settings.data_dir)))
    acknowledged = []
    for number in range(20):
        try:
            leader.kv.put("m", f"after-{number}", number, timeout=2)
        except BraftError:
            continue
        acknowledged.append(number)
    assert acknowledged == []
    ready, why = leader.ready()
    assert not ready
    assert "was deleted or renamed while the node was using it" in why
    wait_for(
        lambda: {n.leader and n.leader.id for n in others} <= {n.server_id for n in others},
        PATIENCE,
        what="one of the others leads",
    )
    for node in others:
        assert [node.kv.get("m", f"before-{n}") for n in range(20)] == list(range(20))
