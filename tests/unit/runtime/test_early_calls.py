"""Calls from other threads while the node is still starting."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from braft_core import Node
from braft_core.errors import ConfigError, Stopped
from braft_core.runtime.lifecycle import NodeThreads
from braft_core.runtime.server import Server
from braft_testing.processes import PATIENCE


def make() -> Node:
    return Node(discovery="none", data_dir=":memory:", ip="127.0.0.1", rport=0, http=False)


@pytest.fixture
def early(monkeypatch: pytest.MonkeyPatch) -> list[Future[Any]]:
    """Submit a command before any part of the node runs."""
    calls: list[Future[Any]] = []
    start = NodeThreads.start

    def start_later(host: NodeThreads) -> None:
        with ThreadPoolExecutor(1) as pool:
            calls.append(pool.submit(host._node.kv.put, "m", "k", 1))
            while not (calls[0].done() or host.sessions.shared._waiting):
                time.sleep(0.001)
            start(host)

    monkeypatch.setattr(NodeThreads, "start", start_later)
    return calls


def test_a_command_that_comes_during_the_start_is_served(early: list[Future[Any]]) -> None:
    with make() as node:
        assert early[0].result(PATIENCE) > 0
        assert node.kv.get("m", "k") == 1
        node.kv.put("m", "k", 2)


def test_a_command_that_comes_during_a_start_that_fails_is_refused(
    early: list[Future[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(server: Server) -> None:
        raise ConfigError("no such port")

    monkeypatch.setattr(Server, "start", fail)
    with pytest.raises(ConfigError):
        make().start()
    error = early[0].exception(PATIENCE)
    assert isinstance(error, Stopped)
