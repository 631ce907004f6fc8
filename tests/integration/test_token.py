"""One token for the cluster, and what a node with another one says."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from braft_core import Node
from braft_core.errors import AccessDenied
from braft_core.testing.processes import PATIENCE, wait_for

pytestmark = pytest.mark.integration

TOKEN = "s3cret-s3cret-s3cret"


def test_nodes_of_one_token_form_and_serve(
    make_nodes: Callable[..., list[Node]], leader_of: Callable[[list[Node]], Node]
) -> None:
    nodes = make_nodes(2, token=TOKEN)
    follower = next(node for node in nodes if node is not leader_of(nodes))
    follower.kv.put("m", "k", 1)
    assert follower.kv.get("m", "k") == 1
    assert not any("error" in entry for entry in follower.cluster_view(PATIENCE)["nodes"])


def test_a_node_of_another_token_names_the_cause(
    make_nodes: Callable[..., list[Node]],
) -> None:
    nodes = make_nodes(
        2, start=False, token=lambda number: TOKEN if number else "other-other-other-other"
    )
    with nodes[0], nodes[1]:
        for node, other in (nodes, nodes[::-1]):
            wait_for(lambda node=node: "refuses the token" in node.ready()[1])  # type: ignore[misc]
            assert other.address in node.ready()[1]
            assert TOKEN not in node.ready()[1]


def test_a_follower_whose_token_was_changed_says_so_to_its_callers(
    make_nodes: Callable[..., list[Node]], leader_of: Callable[[list[Node]], Node]
) -> None:
    nodes = make_nodes(3, token=TOKEN)
    follower = next(node for node in nodes if node is not leader_of(nodes))
    follower.stop()
    with Node(follower.settings.model_copy(update={"token": None})) as again:
        again.wait_ready(40)
        assert not again.is_leader
        with pytest.raises(AccessDenied, match="BRAFT_TOKEN"):
            again.kv.put("m", "k", 1, timeout=40)
