"""Dead members among real nodes, in virtual time."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from braft_core.cluster.interface import AutopilotRules
from braft_core.peer import JoinRequest

ADDRESSES = ["10.0.0.1:15000", "10.0.0.2:15000", "10.0.0.3:15000", "10.0.0.4:15000"]
RULES = AutopilotRules()


async def cluster(net: Any, wait: Any, size: int, rules: AutopilotRules = RULES) -> list[Any]:
    net.addresses = ADDRESSES[:size]
    hosts = [
        net.host(name, address, expect=size, autopilot=rules)
        for name, address in zip("abcd", net.addresses, strict=False)
    ]
    for host in hosts:
        await host.boot()
    await wait(lambda: all(h.member_of for h in hosts) and net.leader("cluster-1") is hosts[0])
    return hosts


def voters(net: Any) -> str:
    return "".join(sorted(net.tables["cluster-1"].configuration.voters))


def test_a_dead_member_is_removed_within_ninety_seconds_and_may_rejoin(
    play: Any, wait: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    async def scenario(net: Any) -> None:
        hosts = await cluster(net, wait, 3)
        await asyncio.sleep(30)
        gone = hosts[2]
        gone.outdated = net.tables["cluster-1"].configuration
        await gone.halt()
        took = await wait(lambda: voters(net) == "ab", 90)
        assert took > 55
        (removal,) = net.tables["cluster-1"].removals
        assert (removal.server_id, removal.address, removal.voters) == ("c", ADDRESSES[2], 3)
        await asyncio.sleep(1)
        report = hosts[0].membership.autopilot
        assert report["verdict"] == "healthy"
        assert [row["id"] for row in report["removed"]] == ["c"]
        # It restarts with its data, asks to rejoin, and is a voter again without an operator.
        await gone.boot()
        await wait(lambda: net.tables["cluster-1"].configuration.get("c") is not None, 10)
        kinds = [kind for kind, server_id, _ in net.tables["cluster-1"].changes if server_id == "c"]
        assert kinds[:2] == ["remove_server", "add_nonvoter"]
        gone.outdated = None
        await wait(lambda: voters(net) == "abc", 10)
        await wait(lambda: not gone.membership.waiting, 10)
        assert gone.campaign_enabled
        assert hosts[0].membership.autopilot["removed"] == []

    play(scenario)
    said = [r.message for r in caplog.records if r.message.startswith("autopilot: ")]
    assert len(said) < 12, "changes are logged, not evaluations"
    assert any("was silent for long and was removed" in r.message for r in caplog.records)


def test_dry_run_says_what_it_would_do_and_does_nothing(
    play: Any, wait: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    async def scenario(net: Any) -> None:
        hosts = await cluster(net, wait, 3, AutopilotRules(mode="dry-run"))
        await hosts[2].halt()
        await asyncio.sleep(300)
        assert voters(net) == "abc"
        assert hosts[0].membership.autopilot["verdict"] == "remove"

    play(scenario)
    assert sum("dry-run" in r.message for r in caplog.records) == 1


@pytest.mark.parametrize("down", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_half_of_four_removes_nobody_and_one_of_four_goes(play: Any, wait: Any, down: int) -> None:
    async def scenario(net: Any) -> None:
        hosts = await cluster(net, wait, 4)
        for host in hosts[4 - down :]:
            await host.halt()
        await asyncio.sleep(600)
        assert voters(net) == ("abc" if down == 1 else "abcd")

    play(scenario)


def test_a_member_that_answers_now_and_then_stays(play: Any, wait: Any) -> None:
    async def scenario(net: Any) -> None:
        hosts = await cluster(net, wait, 3)
        for _ in range(8):
            await hosts[2].halt()
            await asyncio.sleep(50)
            await hosts[2].boot()
            await asyncio.sleep(6)
        assert voters(net) == "abc"
        assert not net.tables["cluster-1"].removals

    play(scenario)


def test_a_member_that_answers_probes_but_not_raft_stays(play: Any, wait: Any) -> None:
    async def scenario(net: Any) -> None:
        await cluster(net, wait, 3)
        net.mute["c"] = asyncio.get_running_loop().time()
        await asyncio.sleep(600)
        assert voters(net) == "abc"

    play(scenario)


@pytest.mark.parametrize("outage", [pytest.param("error", marks=pytest.mark.slow), "empty"])
def test_an_outage_of_discovery_removes_nobody(play: Any, wait: Any, outage: str) -> None:
    async def scenario(net: Any) -> None:
        await cluster(net, wait, 3)
        if outage == "error":
            net.listing_error = OSError("no answer")
        else:
            net.addresses = []
        await asyncio.sleep(600)
        assert voters(net) == "abc"

    play(scenario)


def test_a_member_whose_address_another_node_has_is_dead_and_makes_room(
    play: Any, wait: Any
) -> None:
    async def scenario(net: Any) -> None:
        hosts = await cluster(net, wait, 3)
        await hosts[2].halt()
        new = net.host("x", ADDRESSES[2], expect=3)
        await new.boot()
        await asyncio.sleep(20)
        assert "belongs to another member" in new.membership.waiting
        await wait(lambda: voters(net) == "abx", 90)

    play(scenario)


def test_one_that_was_removed_does_not_come_back_without_its_data(play: Any, wait: Any) -> None:
    async def scenario(net: Any) -> None:
        hosts = await cluster(net, wait, 3)
        await hosts[2].halt()
        await wait(lambda: voters(net) == "ab", 90)
        hosts[2].disk, hosts[2].member_of = None, ""
        await hosts[2].boot()
        await asyncio.sleep(20)
        assert not hosts[2].member_of
        assert "was removed as dead" in hosts[2].membership.waiting
        assert voters(net) == "ab"
        stranger = JoinRequest("e", "10.0.0.9:15000", "c", "", False)
        await hosts[2].call(ADDRESSES[0], stranger, 1.0)
        assert net.tables["cluster-1"].configuration.get("e") is not None

    play(scenario)


def test_the_next_leader_waits_as_long_as_the_first(play: Any, wait: Any) -> None:
    async def scenario(net: Any) -> None:
        hosts = await cluster(net, wait, 4)
        await asyncio.sleep(100)
        await hosts[0].halt()
        took = await wait(lambda: voters(net) == "bcd", 90)
        assert took > 59, "b has led for BRAFT_LEADER_STEADY"
        await hosts[3].halt()
        await asyncio.sleep(600)
        assert voters(net) == "bcd", "one of four within an hour"

    play(scenario)
