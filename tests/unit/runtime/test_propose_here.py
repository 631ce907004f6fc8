"""Commands that only a leader may append: never forwarded, never proposed again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from braft_core import Node, StateMachineService, command, query
from braft_core.abc import CommandContext
from braft_core.errors import BraftError, NotLeader, NotSupported, OutcomeUnknown
from braft_core.runtime.core_requests import propose_here
from braft_core.services.envelope import encode_command
from braft_testing.internals import internals
from braft_testing.memory_cluster import MemoryCluster
from braft_testing.processes import PATIENCE


class Terms(StateMachineService):
    """Remembers the term that a command was proposed for, and the one it was appended in."""

    name = "terms"

    def __init__(self) -> None:
        self.seen: list[list[int]] = []

    @command
    def note(self, context: CommandContext, term: int) -> int:
        """Note a proposal."""
        self.seen.append([term, context.term])
        return context.term

    @query
    def all(self) -> list[list[int]]:
        """Return all notes."""
        return self.seen

    def dump(self) -> Any:
        return self.seen

    def load(self, value: Any) -> None:
        self.seen = value


def term_of(node: Node) -> int:
    """Return the node's current term."""
    return internals(node).server.running().core.current_term


def propose(node: Node, term: int, name: str = "note") -> Any:
    """Propose a note on this very node; return the answer, or the error."""
    inside = internals(node)
    serializer = inside.server.components.serializer

    async def ask() -> Any:
        data = encode_command(serializer, "terms", name, [term])
        try:
            return await propose_here(inside.server.running().driver, data, term, PATIENCE)
        except BraftError as error:
            return error

    return inside.loop.run(ask(), 2 * PATIENCE)


def test_a_leader_appends_in_its_own_term_only() -> None:
    with MemoryCluster(1, services=[Terms]) as cluster:
        node = cluster.node(cluster.leader())
        node.execute("terms", "note", 0)  # waits until the members have agreed on the command
        term = term_of(node)
        assert propose(node, term) == term
        for other in (term - 1, term + 1):
            refused = propose(node, other)
            assert isinstance(refused, NotLeader)
            assert f"term {other}" in refused.message
        assert isinstance(propose(node, term, "forget"), NotSupported)
        assert node.query("terms", "all") == [[0, term], [term, term]]


def test_a_follower_forwards_nothing() -> None:
    with MemoryCluster(3, services=[Terms]) as cluster:
        leader = cluster.leader()
        cluster.node(leader).execute("terms", "note", 0)
        term = term_of(cluster.node(leader))
        for follower in cluster.followers_of(leader):
            assert isinstance(propose(cluster.node(follower), term), NotLeader)
        assert [note[0] for note in cluster.node(leader).query("terms", "all")] == [0]


def test_a_deposed_leader_does_not_propose_again() -> None:
    with MemoryCluster(3, services=[Terms]) as cluster:
        old = cluster.leader()
        node, inside = cluster.node(old), internals(cluster.node(old))
        node.execute("terms", "note", 0)
        term = term_of(node)
        serializer = inside.server.components.serializer

        async def begin() -> asyncio.Future[Any]:
            driver = inside.server.running().driver
            data = encode_command(serializer, "terms", "note", [term])
            asked = propose_here(driver, data, term, 10 * PATIENCE)
            await asyncio.sleep(0)
            return asked

        cluster.isolate(old)
        asked = inside.loop.run(begin(), PATIENCE)
        new = cluster.leader(cluster.followers_of(old))
        assert cluster.node(new).execute("terms", "note", -1)
        cluster.heal()

        async def end() -> BaseException | None:
            await asyncio.wait([asked])
            return asked.exception()

        outcome = inside.loop.run(end(), 2 * PATIENCE)
        assert isinstance(outcome, NotLeader | OutcomeUnknown)
        cluster.wait_ready()
        assert [note[0] for note in cluster.node(old).query("terms", "all")] == [0, -1]


@pytest.mark.parametrize("late", [False, True])
def test_a_caller_that_left_ends_nothing(late: bool) -> None:
    with MemoryCluster(1, services=[Terms]) as cluster:
        node = cluster.node(0)
        node.execute("terms", "note", 0)
        inside, term = internals(node), term_of(node)
        serializer = inside.server.components.serializer

        async def leave() -> None:
            driver = inside.server.running().driver
            data = encode_command(serializer, "terms", "note", [term])
            asked = propose_here(driver, data, term, PATIENCE)
            if late:
                await asyncio.sleep(0)
            asked.cancel()

        inside.loop.run(leave(), PATIENCE)
        assert propose(node, term) == term
