"""A member that is removed while it runs, and one whose place is taken by a newcomer."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from braft_core import Node
from braft_core.errors import NotReady
from braft_core.testing.processes import wait_for

pytestmark = pytest.mark.integration


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

    def is_told() -> bool:
        ready, why = gone.ready()
        return not ready and "was removed from cluster" in why

    wait_for(is_told)
    assert leader.address in gone.ready()[1]
    assert "start it with an empty data directory" in gone.ready()[1]
    assert leader.ready() == other.ready() == (True, "")
    assert "was removed" in gone.details()["error"]

    gone.stop()
    again = Node(gone.settings)
    with again:
        wait_for(lambda: "was removed from cluster" in again.ready()[1])
        with pytest.raises(NotReady, match="was removed from cluster"):
            again.wait_ready(1)
        term = again.details()["term"]
        caplog.clear()
        with pytest.raises(NotReady):
            again.wait_ready(2)
        assert again.details()["term"] == term
        lines = [r.getMessage() for r in caplog.records if "pre-vote" in r.getMessage()]
        assert not lines, "it campaigns no more"
