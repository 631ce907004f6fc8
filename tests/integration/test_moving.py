"""A node's host changes its address; real transports on addresses of loopback."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from braft_core import Node
from braft_testing.processes import PATIENCE, wait_for

if TYPE_CHECKING:
    from tests.integration.conftest import MakeNodes

pytestmark = pytest.mark.integration

ELSEWHERE = "127.0.0.99"


@pytest.mark.parametrize("leads", [True, False], ids=["the leader", "a follower"])
@pytest.mark.parametrize("transport", ["grpc", "tcp"])
def test_a_member_that_moves_serves_and_is_served_where_it_is(
    transport: str,
    leads: bool,
    make_nodes: MakeNodes,
    leader_of: Callable[[list[Node]], Node],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if transport == "tcp":
        pytest.importorskip("braft_tcp")
    nodes = make_nodes(3, host="0.0.0.0", transport=transport, http=False)
    leader = leader_of(nodes)
    moving = leader if leads else next(node for node in nodes if node is not leader)
    staying = next(node for node in nodes if node is not moving)
    staying.kv.put("m", "k", 0)
    host = moving._host
    assert host is not None
    host._loop.loop.call_soon_threadsafe(host._server.move, ELSEWHERE)
    port = moving.address.rpartition(":")[2]
    expected = f"{ELSEWHERE}:{port}"
    for node in nodes:
        wait_for(
            lambda node=node: expected in {m.address for m in node.members()},  # type: ignore[misc]
            PATIENCE,
            "the configuration has it",
        )
    assert moving.address == expected
    assert moving.details()["address"] == expected
    for number, node in enumerate(nodes, 1):
        node.kv.put("m", "k", number)
        assert [other.kv.get("m", "k") for other in nodes] == [number] * 3
    assert not any(node.notes() for node in nodes)
