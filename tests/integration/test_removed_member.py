"""A member that is removed while it runs, and one whose address a new node takes over."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from braft_core import Node
from braft_core.errors import NotReady
from braft_testing.processes import wait_for

pytestmark = pytest.mark.integration


def _refused(node: Node) -> str:
    """Return the error message of ``wait_ready``."""
    with pytest.raises(NotReady) as refused:
        node.wait_ready(1)
    return refused.value.message


def test_a_removed_member_says_so_and_falls_silent_also_after_a_restart(
    make_nodes: Callable[..., list[Node]],
    leader_of: Callable[[list[Node]], Node],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="braft_core")
    nodes = make_nodes(3)
    leader = leader_of(nodes)
    gone, other = (node for node in nodes if node is not leader)
    assert leader.ready() == other.ready() == gone.ready() == (True, "")
    leader.remove_member(gone.server_id, timeout=20)

    words = ("was removed from cluster", leader.address, "start it with an empty data directory")

    def is_told() -> bool:
        """Read all words from one message: after a late answer the node asks again 1 s later."""
        ready, why = gone.ready()
        return not ready and all(word in why for word in words)

    wait_for(is_told)
    wait_for(lambda: "was removed" in gone.details()["error"])
    wait_for(lambda: leader.ready() == other.ready() == (True, ""), what="the others serve")

    gone.stop()
    again = Node(gone.settings)
    with again:
        wait_for(lambda: "was removed from cluster" in again.ready()[1])
        wait_for(lambda: "was removed from cluster" in _refused(again), what="callers are told")
        term = again.details()["term"]
        caplog.clear()
        with pytest.raises(NotReady):
            again.wait_ready(2)
        assert again.details()["term"] == term
        lines = [r.getMessage() for r in caplog.records if "pre-vote" in r.getMessage()]
        assert not lines, "it campaigns no more"
