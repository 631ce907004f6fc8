"""A node without a majority: the errors that callers get, and the number of log lines."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from braft_core import Node
from braft_core.errors import NoLeader
from braft_testing.processes import wait_for

pytestmark = pytest.mark.integration


def test_callers_hear_it_once_and_the_log_is_quiet(
    make_nodes: Callable[..., list[Node]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="braft_core")
    left, other = make_nodes(2, election_timeout="300ms")
    other.stop()
    # Wait for the final state: the node might become leader once more before it.
    wait_for(lambda: "1 of 2 voters do not answer" in left.ready()[1])
    with pytest.raises(NoLeader, match=r"^not served in time: no leader for") as caught:
        left.kv.put("m", "k", 1, timeout=2)
    assert caught.value.message.count("no leader") == 1

    def asking(level: int) -> list[str]:
        """Return its pre-vote lines since the last leader change: there may be several changes."""
        mine = [r for r in caplog.records if getattr(r, "node", "") == left.server_id]
        lost = max(n for n, r in enumerate(mine) if r.getMessage().startswith("leader "))
        since = [r for r in mine[lost:] if r.levelno == level]
        return [r.getMessage() for r in since if "pre-vote" in r.getMessage()]

    wait_for(lambda: len(asking(logging.DEBUG)) > 3)
    told = asking(logging.INFO)
    assert told
    assert len(set(told)) == len(told), "each thing is told once"
