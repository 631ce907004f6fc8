"""In normal operation a cluster logs nothing that requires action."""

from __future__ import annotations

import logging

import pytest

from braft_testing.memory_cluster import MemoryCluster

ROOM = "braft_core"


def messages(caplog: pytest.LogCaptureFixture, start: str) -> list[str]:
    found = [r for r in caplog.records if r.name.startswith(ROOM)]
    return [r.getMessage() for r in found if r.getMessage().startswith(start)]


def test_a_start_an_election_and_a_stop_warn_of_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, ROOM)
    with MemoryCluster(3) as cluster:
        # A node is ready a moment before it says so, and not while its leader changes.
        cluster.wait_for(lambda: len(messages(caplog, "ready")) == 3, what="all say it")
        cluster.node(0).kv.put("m", "k", 1)
        leader = cluster.leader()
        cluster.node(leader).transfer_leadership()
        cluster.wait_for(lambda: cluster.leader() != leader, what="another node leads")
        cluster.node(leader).kv.put("m", "k", 2)
    assert len(messages(caplog, "ready")) == 3
    troubles = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert troubles == []
    assert len(messages(caplog, "stopping")) == 3
    assert len(messages(caplog, "stopped")) == 3


def test_a_leader_that_dies_is_replaced_without_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with MemoryCluster(3) as cluster:
        leader = cluster.leader()
        caplog.set_level(logging.WARNING, ROOM)
        cluster.stop(leader)
        others = [index for index in range(3) if index != leader]
        cluster.leader(among=others)
        assert caplog.records == []
