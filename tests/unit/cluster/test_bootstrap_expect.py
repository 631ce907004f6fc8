"""Which contact lists may bootstrap a cluster: one name may stand for many nodes (etcd#5909)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from braft_core.cluster.address_book import contact_at

A, B, C, D = (f"10.0.0.{i}:15000" for i in range(1, 5))
UNCLEAR = "braft.example is one name, which may stand for any number of nodes"


def shows(host: Any, *addresses: str) -> None:
    host.sees = lambda: [contact_at(address) for address in addresses]


def every(net: Any, **settings: Any) -> list[Any]:
    hosts = [net.host(i, a, **settings) for i, a in zip("abc", (A, B, C), strict=True)]
    for host in hosts:
        shows(host, host.address)
    return hosts


async def boot(*hosts: Any) -> None:
    for host in hosts:
        await host.boot()


def test_one_name_that_each_node_resolves_to_itself_makes_no_cluster(play: Any) -> None:
    async def scenario(net: Any) -> None:
        hosts = every(net, expect=0, expect_is_unclear=UNCLEAR)
        await boot(*hosts)
        await asyncio.sleep(30)
        for host in hosts:
            shows(host, A, B, C)
        await asyncio.sleep(30)
        assert not net.tables
        for host in hosts:
            assert UNCLEAR in host.membership.waiting
            assert "set BRAFT_EXPECT" in host.membership.waiting

    play(scenario)


def test_one_name_and_the_number_of_its_nodes_make_one_cluster(play: Any, wait: Any) -> None:
    async def scenario(net: Any) -> None:
        hosts = every(net, expect=3)
        await boot(*hosts)
        await asyncio.sleep(10)
        assert not net.tables
        for host in hosts:
            shows(host, A, B, C)
        await wait(lambda: all(host.member_of for host in hosts))
        assert set(net.tables) == {"cluster-1"}

    play(scenario)


def test_a_node_that_knows_the_number_waits_for_one_that_does_not(play: Any, wait: Any) -> None:
    async def scenario(net: Any) -> None:
        knows = net.host("a", A, expect=2)
        asks = net.host("b", B, expect=0, expect_is_unclear=UNCLEAR)
        shows(knows, A, B)
        shows(asks, A, B)
        await boot(knows, asks)
        await wait(lambda: f"{B} does not know" in knows.membership.waiting)
        await asks.halt()
        again = net.host("b", B, expect=2)
        shows(again, A, B)
        await boot(again)
        await wait(lambda: knows.member_of and again.member_of)

    play(scenario)


def test_a_list_of_names_that_each_node_resolves_to_itself_makes_no_cluster(play: Any) -> None:
    async def scenario(net: Any) -> None:
        hosts = every(net, expect=3, expect_is_listed=True)
        await boot(*hosts)
        await asyncio.sleep(60)
        assert not net.tables
        assert "the list has 3 entries for 1 node" in hosts[0].membership.waiting
        for host in hosts:
            shows(host, A, B, C)
        await asyncio.sleep(5)
        assert set(net.tables) == {"cluster-1"}

    play(scenario)


def twice(net: Any, host: Any, address: str) -> None:
    """Make the node reachable at another address as well."""
    net.hosts[address] = host


def test_a_node_that_stands_in_the_list_twice_counts_once(play: Any, wait: Any) -> None:
    async def scenario(net: Any) -> None:
        hosts = [net.host(i, x, expect=3, expect_is_listed=True) for i, x in (("a", A), ("b", B))]
        for host in hosts:
            shows(host, A, "[fd00::1]:15000", B)
        await boot(hosts[0])
        twice(net, hosts[0], "[fd00::1]:15000")
        await asyncio.sleep(10)
        assert not net.tables
        await boot(hosts[1])
        await wait(lambda: all(host.member_of for host in hosts))
        assert net.tables["cluster-1"].configuration.ids == ("a", "b")

    play(scenario)


def test_who_stands_in_it_twice_is_named_where_too_few_are_left(play: Any, wait: Any) -> None:
    async def scenario(net: Any) -> None:
        host = net.host("a", A, expect=2, expect_is_listed=True)
        shows(host, A, "[fd00::1]:15000")
        await boot(host)
        twice(net, host, "[fd00::1]:15000")
        expected = (
            f"the list has 2 entries for 1 node ({A} and [fd00::1]:15000 are one node); list each "
            "node once, or set BRAFT_EXPECT=1 on every node"
        )
        await wait(lambda: expected in host.membership.waiting)
        await asyncio.sleep(60)
        assert not net.tables

    play(scenario)


def test_a_node_that_is_not_in_the_list_only_joins(play: Any, wait: Any) -> None:
    async def scenario(net: Any) -> None:
        late = net.host("d", D, expect=1, expect_is_listed=True)
        shows(late, A)
        await boot(late)
        await asyncio.sleep(60)
        assert not late.member_of, "another cluster beside the one that the list names"
        assert "no entry of the list leads to this node" in late.membership.waiting
        listed = net.host("a", A, expect=1, expect_is_listed=True)
        shows(listed, A)
        await boot(listed)
        await wait(lambda: late.member_of)
        assert set(net.tables) == {"cluster-1"}

    play(scenario)


def test_an_entry_that_stands_for_several_nodes_needs_their_number(play: Any, wait: Any) -> None:
    async def scenario(net: Any) -> None:
        hosts = every(net, expect=2, expect_is_listed=True)
        for host in hosts:
            shows(host, A, B, C)
        await boot(*hosts)
        await wait(lambda: "3 nodes answer" in hosts[0].membership.waiting)
        await asyncio.sleep(30)
        assert not net.tables

    play(scenario)


@pytest.mark.parametrize("unresolved", [["host3"], []])
def test_a_name_that_does_not_resolve_is_a_missing_node(
    play: Any, wait: Any, unresolved: list[str]
) -> None:
    async def scenario(net: Any) -> None:
        hosts = [net.host(i, x, expect=3, expect_is_listed=True) for i, x in (("a", A), ("b", B))]
        for host in hosts:
            shows(host, A, B)
            await host.boot()
            host.listing.unresolved = unresolved
        await asyncio.sleep(30)
        if unresolved:
            assert not net.tables
            assert "not resolved: host3" in hosts[0].membership.waiting
        else:
            assert net.tables, "two of the three entries are one place"

    play(scenario)
