"""One cluster of braft servers and a HashiCorp raft server, on loopback.

Each scenario is a Raft exchange in one direction or both; see ``conftest.py`` for the servers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

pytestmark = [
    pytest.mark.integration,
    pytest.mark.optional,
    pytest.mark.xdist_group("hashicorp"),
]

Play = Callable[[Callable[[Any], Awaitable[None]]], None]

COMMANDS = [f"command-{number}".encode() for number in range(20)]


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait for the condition; fail after 30 s."""
    deadline = asyncio.get_running_loop().time() + 30
    while not await condition():
        assert asyncio.get_running_loop().time() < deadline, f"not within 30 s: {what}"
        await asyncio.sleep(0.05)


async def holds(server: Any, commands: list[bytes]) -> bool:
    """Return whether a braft server has applied exactly these commands."""
    return bool(server.applied == commands)


async def from_go(go: Any, commands: list[bytes]) -> None:
    for command in commands:
        await go.ask("apply", f'"{command.decode()}"')


async def led_by_go(mixed: Any, *others: Any) -> Any:
    """Return a HashiCorp server that bootstrapped a cluster with those, and leads it."""
    go = await mixed.go("go")
    members = [word for server in (go, *others) for word in (server.id, server.address)]
    await go.ask("bootstrap", *members)
    await until(go.leads, "the HashiCorp server is elected by braft servers")
    return go


async def led_by_braft(mixed: Any) -> tuple[Any, Any]:
    """Return a braft server that leads a cluster of itself and a HashiCorp server."""
    go = await mixed.go("go")
    a = await mixed.bootstrapped("a", go)
    await until(lambda: leads(a), "the braft server is elected by a HashiCorp server")
    return a, go


async def leads(server: Any) -> bool:
    return bool(server.leads)


def propose(server: Any, commands: list[bytes]) -> None:
    server.core.propose(commands)
    server.flush()


def test_a_hashicorp_leader_is_elected_and_followed(play: Play) -> None:
    async def scenario(mixed: Any) -> None:
        a, b = await mixed.braft("a"), await mixed.braft("b")
        go = await led_by_go(mixed, a, b)
        await from_go(go, COMMANDS)
        for follower in (a, b):
            await until(partial(holds, follower, COMMANDS), "all commands are applied")
            assert set(follower.core.configuration.ids) == {"go", "a", "b"}
            assert {"RequestPreVote", "RequestVote"} <= set(follower.received)

    play(scenario)


def test_braft_servers_go_on_when_a_hashicorp_leader_is_killed(play: Play) -> None:
    async def scenario(mixed: Any) -> None:
        a, b = await mixed.braft("a"), await mixed.braft("b")
        go = await led_by_go(mixed, a, b)
        await from_go(go, COMMANDS[:5])
        mixed.processes[0].kill()

        async def one_leads() -> bool:
            return bool(a.leads or b.leads)

        await until(one_leads, "a braft server leads")
        propose(a if a.leads else b, COMMANDS[5:])
        for server in (a, b):
            await until(partial(holds, server, COMMANDS), "all commands are applied")

    play(scenario)


def test_a_braft_leader_is_elected_and_followed(play: Play) -> None:
    async def scenario(mixed: Any) -> None:
        a, go = await led_by_braft(mixed)
        propose(a, COMMANDS)

        async def caught_up() -> bool:
            return bool(await go.applied() == COMMANDS)

        await until(caught_up, "the HashiCorp server applies all commands")
        status = await go.ask("status")
        assert (status["leader"], status["leader_address"]) == ("a", a.address)
        assert "RequestVoteResponse" in a.received
        assert "RequestPreVoteResponse" in a.received

    play(scenario)


def test_leadership_is_handed_over_both_ways(play: Play) -> None:
    async def scenario(mixed: Any) -> None:
        a, go = await led_by_braft(mixed)
        propose(a, COMMANDS[:5])

        async def leads_and_holds() -> bool:
            return bool(a.leads and await holds(a, COMMANDS[:5]))

        await until(leads_and_holds, "the commands are committed")
        a.core.transfer_leadership("go")
        a.flush()
        await until(go.leads, "the HashiCorp server takes over")
        await from_go(go, COMMANDS[5:])
        await until(lambda: holds(a, COMMANDS), "the braft server follows")
        await go.ask("transfer", "a", a.address)
        await until(lambda: leads(a), "the braft server takes over")

    play(scenario)


def test_a_snapshot_of_a_hashicorp_leader_is_installed(play: Play) -> None:
    async def scenario(mixed: Any) -> None:
        go = await led_by_go(mixed)
        await from_go(go, COMMANDS)
        await go.ask("snapshot")
        b = await mixed.braft("b")
        await go.ask("add", b.id, b.address)
        await until(lambda: holds(b, COMMANDS), "the braft server has the state")
        assert "InstallSnapshot" in b.received
        assert set(b.core.configuration.ids) == {"go", "b"}

    play(scenario)


def test_a_snapshot_of_a_braft_leader_is_installed(play: Play) -> None:
    async def scenario(mixed: Any) -> None:
        a = await mixed.bootstrapped("a")
        await until(lambda: leads(a), "it elects itself")
        propose(a, COMMANDS)
        await until(lambda: holds(a, COMMANDS), "the commands are committed")
        a.compact()
        go = await mixed.go("go")
        a.core.change_membership("add_nonvoter", "go", go.address)
        a.flush()

        async def restored() -> bool:
            return bool(await go.applied() == COMMANDS)

        await until(restored, "the HashiCorp server has the state")
        assert "InstallSnapshotResponse" in a.received

    play(scenario)
