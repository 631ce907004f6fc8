"""Members declare their capabilities, and the leader agrees on the common part."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from braft_core.cluster.member_capabilities import MemberCapabilities
from braft_core.errors import Conflict, DecodeError
from braft_core.peer import JoinRequest
from braft_core.services.capabilities import Capabilities, Signature

ADDRESSES = ["10.0.0.1:15000", "10.0.0.2:15000", "10.0.0.3:15000"]


def with_services(host: Any, **services: Any) -> Capabilities:
    known: Capabilities = host.capabilities
    return replace(known, services={**known.services, **services})


OTHER = {"run": Signature(0, 0)}


def nodes(net: Any, **settings: Any) -> list[Any]:
    net.addresses = list(ADDRESSES)
    return [net.host(i, a, expect=3, **settings) for i, a in zip("abc", ADDRESSES, strict=True)]


async def boot(hosts: list[Any], wait: Any) -> Any:
    for host in hosts:
        await host.boot()
    await wait(lambda: all(h.member_of and not h.membership.waiting for h in hosts))
    return hosts[0].net.tables[hosts[0].member_of]


def test_new_nodes_agree_at_once_and_only_once(play: Any, wait: Any) -> None:
    async def scenario(net: Any) -> None:
        hosts = nodes(net)
        table = await boot(hosts, wait)
        took = await wait(lambda: table.agreed == hosts[0].capabilities)
        assert took < 0.5
        await asyncio.sleep(30)
        assert len(table.agreements) == 1

    play(scenario)


def test_what_one_member_lacks_is_not_agreed_until_it_is_upgraded(play: Any, wait: Any) -> None:
    async def scenario(net: Any) -> None:
        hosts = nodes(net)
        for host in hosts[:2]:
            host.capabilities = with_services(host, other=OTHER)
        table = await boot(hosts, wait)
        await wait(lambda: bool(table.agreements))
        assert set(table.agreed.services) == {"kv"}
        await wait(lambda: all("versions" in h.membership.notes for h in hosts), 10.0)
        assert "10.0.0.3:15000 lacks service 'other'" in hosts[0].membership.notes["versions"]
        await hosts[2].halt()
        hosts[2].capabilities = hosts[0].capabilities
        await hosts[2].boot()
        took = await wait(lambda: "other" in table.agreed.services)
        assert took < 2.0
        await wait(lambda: not any("versions" in h.membership.notes for h in hosts), 10.0)

    play(scenario)


def test_a_member_that_was_given_less_is_no_longer_counted_on(play: Any, wait: Any) -> None:
    async def scenario(net: Any) -> None:
        hosts = nodes(net)
        table = await boot(hosts, wait)
        await wait(lambda: table.agreed == hosts[0].capabilities)
        await hosts[2].halt()
        hosts[2].capabilities = replace(hosts[2].capabilities, services={})
        await hosts[2].boot()
        await wait(lambda: not table.agreed.services)

    play(scenario)


def test_the_next_leader_needs_no_word_of_a_member_that_is_down(play: Any, wait: Any) -> None:
    async def scenario(net: Any) -> None:
        hosts = nodes(net)
        table = await boot(hosts, wait)
        await wait(lambda: table.agreed == hosts[0].capabilities)
        leader = net.leader(hosts[0].member_of)
        await leader.halt()
        await wait(lambda: net.leader(table_of(hosts)) not in (None, leader))
        await asyncio.sleep(10)
        assert table.agreed == hosts[1].capabilities
        assert len(table.agreements) == 1

    def table_of(hosts: list[Any]) -> str:
        member_of: str = hosts[0].member_of
        return member_of

    play(scenario)


def test_the_feature_level_is_that_of_the_oldest_and_never_falls(play: Any, wait: Any) -> None:
    async def scenario(net: Any) -> None:
        hosts = nodes(net)
        for host in hosts[:2]:
            host.capabilities = replace(host.capabilities, level=2)
        table = await boot(hosts, wait)
        await wait(lambda: bool(table.agreements))
        assert table.agreed.level == 1
        await hosts[2].halt()
        hosts[2].capabilities = replace(hosts[2].capabilities, level=3)
        await hosts[2].boot()
        await wait(lambda: table.agreed.level == 2)
        await hosts[2].halt()
        hosts[2].capabilities = replace(hosts[2].capabilities, level=1)
        await hosts[2].boot()
        await asyncio.sleep(30)
        assert table.agreed.level == 2

    play(scenario)


def test_a_join_request_that_lacks_a_capability_is_refused_by_name(
    play: Any, wait: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(net: Any) -> None:
        hosts = nodes(net)
        table = await boot(hosts, wait)
        await wait(lambda: bool(table.agreements))
        poor = net.host("d", "10.0.0.4:15000", expect=3)
        poor.capabilities = replace(poor.capabilities, services={})
        net.addresses.append("10.0.0.4:15000")
        await poor.boot()
        await wait(lambda: "lacks service 'kv'" in poor.membership.waiting)
        assert "upgrade it" in poor.membership.waiting
        assert table.configuration.get("d") is None
        await poor.halt()
        poor.capabilities = hosts[0].capabilities
        await poor.boot()
        await wait(lambda: table.configuration.get("d") is not None)

    play(scenario)


def test_a_server_that_is_added_by_hand_is_asked_first(play: Any, wait: Any) -> None:
    async def scenario(net: Any) -> None:
        hosts = nodes(net)
        table = await boot(hosts, wait)
        await wait(lambda: bool(table.agreements))
        leader = net.leader(hosts[0].member_of).membership
        poor = net.host("d", "10.0.0.4:15000", expect=3)
        await leader.check_newcomer("d", poor.address)  # no server answers there yet
        poor.capabilities = replace(poor.capabilities, services={})
        await poor.boot(discovery=False)
        with pytest.raises(Conflict, match="lacks service 'kv'"):
            await leader.check_newcomer("d", poor.address)
        await leader.check_newcomer("e", poor.address)
        poor.capabilities = hosts[0].capabilities
        await leader.check_newcomer("d", poor.address)

    play(scenario)


def test_a_declaration_that_cannot_be_read_is_refused_at_the_door(play: Any, wait: Any) -> None:
    async def scenario(net: Any) -> None:
        hosts = nodes(net)
        table = await boot(hosts, wait)
        leader = net.leader(hosts[0].member_of)
        request = JoinRequest("e", "10.0.0.5:15000", "c", "", True, b"\xc1junk")
        with pytest.raises(Conflict, match="a declaration that this node can read"):
            await leader.membership.on_call(request)
        assert table.configuration.get("e") is None

    play(scenario)


def test_declarations_count_their_changes() -> None:
    member_capabilities = MemberCapabilities()
    one = Capabilities(1, frozenset(), frozenset(), {}, {})
    member_capabilities.learn("a", b"")
    assert (member_capabilities.version, member_capabilities.of("a")) == (0, None)
    member_capabilities.learn("a", one.encode())
    member_capabilities.learn("a", one.encode())
    assert (member_capabilities.version, member_capabilities.of("a")) == (1, one)
    with pytest.raises(DecodeError):
        member_capabilities.learn("a", b"junk")
    assert (member_capabilities.version, member_capabilities.of("a")) == (1, one)
    member_capabilities.forget_except(["a"])
    assert member_capabilities.version == 1
    member_capabilities.forget_except(["b"])
    assert (member_capabilities.version, member_capabilities.of("a")) == (2, None)
