"""The static discovery: parsing, name resolution, and the conformance suite."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

import braft_static
from braft_core.abc import Contact, Discovery
from braft_core.errors import ConfigError, Unreachable
from braft_static import StaticDiscovery
from braft_static.items import Item, parse_items
from braft_testing.discovery import DiscoveryConformance, discovery_context

Names = dict[str, list[str]]


def static(spec: str, **context: Any) -> StaticDiscovery:
    return StaticDiscovery(spec, discovery_context(**context))


def places(discovery: Discovery) -> list[str]:
    return [str(contact) for contact in asyncio.run(discovery.discover())]


@pytest.fixture
def dns(monkeypatch: pytest.MonkeyPatch) -> Names:
    """Replace the resolver by one with only the names of the test."""
    names: Names = {}

    async def getaddrinfo(self: object, host: str, *_: Any, **__: Any) -> list[Any]:
        await asyncio.sleep(0)
        if host not in names:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        if not names[host]:
            await asyncio.sleep(60)
        return [(0, 0, 0, "", (address, 0)) for address in names[host]]

    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", getaddrinfo)
    return names


class TestConformance(DiscoveryConformance):
    bad_specs: ClassVar[dict[str, str]] = {
        "": "''",
        " , ": "' , '",
        "host1,host 2": "'host 2'",
        "host1:0": "'host1:0'",
        "host1:65536": "'host1:65536'",
        "host1:port": "'host1:port'",
        "a:b:c": "'a:b:c'",
        "a,:": "':'",
        "[fd00::1": "'[fd00::1'",
        "[fd00::1]15000": "'[fd00::1]15000'",
        "[host1]:15000": "'[host1]:15000'",
        "1.2.3.400": "'1.2.3.400'",
        "1.2.3": "'1.2.3'",
        "-a": "'-a'",
        "a..b": "'a..b'",
        "http://a": "'http://a'",
    }

    def make(self) -> Discovery:
        return static("127.0.0.1,localhost:16000,[::1]:17000", options={"resolve_timeout": 40.0})

    def make_failing(self) -> Discovery | None:
        return static("no-such-host.invalid", options={"resolve_timeout": 0.5})

    def make_with_spec(self, spec: str) -> Discovery:
        return static(spec)


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        ("10.0.0.1,10.0.0.2", ["10.0.0.1:15000", "10.0.0.2:15000"]),
        ("10.0.0.1:15001, 10.0.0.2:16001", ["10.0.0.1:15001", "10.0.0.2:16001"]),
        (":15001,:16001", ["10.9.9.9:15001", "10.9.9.9:16001"]),
        ("fd00::1,[fd00::2],[fd00::3]:9", ["[fd00::1]:15000", "[fd00::2]:15000", "[fd00::3]:9"]),
        ("10.0.0.1,10.0.0.1:15000,,10.0.0.1,", ["10.0.0.1:15000"]),
        ("[fd00:0::1],fd00::1", ["[fd00::1]:15000"]),
    ],
)
def test_contacts(spec: str, found: list[str]) -> None:
    discovery = static(spec, ip="10.9.9.9")
    assert places(discovery) == found
    assert discovery.expect == len(found)


def test_ports_default_to_this_nodes_raft_port() -> None:
    assert places(static("10.0.0.1", raft_port=11469)) == ["10.0.0.1:11469"]


def test_describes_the_list_as_written() -> None:
    assert static("a, b:15001 ,c").describe() == "static://a,b:15001,c"


def test_names_are_resolved_again(dns: Names) -> None:
    discovery = static("host1,host2")
    dns |= {"host1": ["10.0.0.1"], "host2": ["10.0.0.2"]}
    assert places(discovery) == ["10.0.0.1:15000", "10.0.0.2:15000"]
    dns["host2"] = ["10.0.0.7"]
    assert places(discovery) == ["10.0.0.1:15000", "10.0.0.7:15000"]
    assert discovery.expect == 2


def test_a_name_may_stand_for_several_nodes(dns: Names) -> None:
    dns["braft.svc"] = ["10.0.0.1", "10.0.0.2", "10.0.0.1"]
    assert places(static("braft.svc")) == ["10.0.0.1:15000", "10.0.0.2:15000"]


@pytest.mark.parametrize(
    ("spec", "expect"),
    [
        ("braft.svc", None),
        ("braft.svc:16000", None),
        ("braft.svc,braft.svc:15000", None),
        ("localhost", 1),
        ("10.0.0.1", 1),
        (":16000", 1),
        ("127.0.0.1:15000,localhost", 1),
        ("host1,host2,host3", 3),
        ("host1:15000,host1:16000", 2),
    ],
)
def test_a_single_name_does_not_say_how_many_there_are(spec: str, expect: int | None) -> None:
    discovery = static(spec)
    assert discovery.expect == expect
    assert ("braft.svc is one name" in discovery.unclear) == (expect is None)


def test_localhost_is_where_the_node_listens() -> None:
    assert places(static("localhost", ip="127.0.0.1")) == ["127.0.0.1:15000"]
    assert places(static("LOCALHOST.:16000", ip="::1")) == ["[::1]:16000"]


def test_names_that_do_not_resolve_are_reported(dns: Names) -> None:
    discovery = static("host1,gone")
    dns["host1"] = ["10.0.0.1"]
    places(discovery)
    assert list(discovery.unresolved) == ["gone"]
    dns["gone"] = ["10.0.0.2"]
    places(discovery)
    assert not discovery.unresolved


def test_names_keep_to_the_family_that_is_advertised(dns: Names) -> None:
    dns |= {"both": ["fd00::1", "10.0.0.1"], "six": ["fd00::2"]}
    assert places(static("both,six")) == ["10.0.0.1:15000", "[fd00::2]:15000"]
    assert places(static("both", ip="fd00::9")) == ["[fd00::1]:15000"]


def test_one_name_failing_is_not_fatal(dns: Names, caplog: pytest.LogCaptureFixture) -> None:
    dns["host1"] = ["10.0.0.1"]
    discovery = static("host1,gone")
    with caplog.at_level(logging.WARNING):
        assert places(discovery) == places(discovery) == ["10.0.0.1:15000"]
        assert [record.getMessage().split()[2] for record in caplog.records] == ["gone"]
        dns["gone"] = ["10.0.0.2"]
        assert len(places(discovery)) == 2
        del dns["gone"]
        places(discovery)
    assert len(caplog.records) == 2
    assert discovery.expect == 2


def test_a_resolver_that_hangs_is_asked_once_per_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    async def getaddrinfo(self: object, host: str, *_: Any, **__: Any) -> list[Any]:
        asked.append(host)
        await asyncio.Event().wait()
        return []

    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", getaddrinfo)
    options = {"resolve_timeout": 0.01}

    async def poll_twice() -> None:
        discovery = static("slow1,slow2", options=options)
        for _ in range(20):
            with pytest.raises(Unreachable):
                await discovery.discover()
        assert sorted(asked) == ["slow1", "slow2"]
        await discovery.stop()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(poll_twice())


def test_all_names_failing_raises(dns: Names) -> None:
    with pytest.raises(Unreachable, match="static://gone,lost: none of the names resolves"):
        asyncio.run(static("gone,lost").discover())


def test_a_name_that_hangs_is_skipped(dns: Names) -> None:
    dns |= {"host1": ["10.0.0.1"], "slow": []}
    discovery = static("slow,host1", options={"resolve_timeout": 0.5})
    assert places(discovery) == ["10.0.0.1:15000"]


def test_watch_polls(dns: Names) -> None:
    dns["host1"] = ["10.0.0.1"]
    discovery = static("host1", options={"poll_interval": 0.01})

    async def main() -> list[list[Contact]]:
        seen = []
        async for found in discovery.watch():
            seen.append(found)
            dns["host1"] = ["10.0.0.2"]
            if len(seen) == 2:
                break
        return seen

    seen = asyncio.run(asyncio.wait_for(main(), 40))
    assert [str(found[0]) for found in seen] == ["10.0.0.1:15000", "10.0.0.2:15000"]


@pytest.mark.parametrize(
    ("options", "path", "hint"),
    [
        ({"pol_interval": 1}, "plugins.static.pol_interval", "did you mean poll_interval?"),
        ({"zzz": 1}, "plugins.static.zzz", "resolve_timeout"),
        ({"poll_interval": 0}, "plugins.static.poll_interval=0", "longer than 0"),
        (
            {"resolve_timeout": "x"},
            "plugins.static.resolve_timeout='x'",
            "accepted: a duration above 0",
        ),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], path: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        static("a", options=options)
    assert path in caught.value.message
    assert hint in caught.value.message


def is_a_nodes(address: Any) -> bool:
    ip = getattr(address, "ipv4_mapped", None) or address
    return not (ip.is_multicast or ip.is_unspecified or str(ip) == "255.255.255.255")


hosts = st.one_of(
    st.ip_addresses(v=4).filter(is_a_nodes).map(str),
    st.from_regex(r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True),
)
ports = st.none() | st.integers(1, 65535)


def written(host: str, port: int | None) -> str:
    return host if port is None else f"{host}:{port}"


def test_a_list_has_a_limit() -> None:
    assert len(parse_items(",".join(f"h{n}" for n in range(64)))) == 64
    with pytest.raises(ConfigError, match="has 65 nodes; accepted: at most 64"):
        parse_items(",".join(f"h{n}" for n in range(65)))


@given(st.lists(st.tuples(hosts, ports), min_size=1, max_size=64))
def test_what_is_written_is_read(pairs: list[tuple[str, int | None]]) -> None:
    spec = " , ".join(written(host, port) for host, port in pairs)
    assert parse_items(spec) == [Item(host, port) for host, port in pairs]


@given(st.ip_addresses(v=6).filter(is_a_nodes), ports)
def test_ipv6_is_read(address: Any, port: int | None) -> None:
    assert parse_items(written(f"[{address}]", port)) == [Item(str(address), port)]


@given(st.text())
def test_any_text_is_read_or_refused(spec: str) -> None:
    message, expect = "", None
    try:
        expect = static(spec).expect
    except ConfigError as error:
        message = error.message
    single = "," not in spec.strip(" ,")
    assert expect or "accepted: " in message or single


def test_hook() -> None:
    hook: Callable[[], type[Discovery]] = braft_static.braft_register_discovery
    assert hook() is StaticDiscovery
    assert hasattr(hook, "braft_impl")


@pytest.mark.parametrize(
    ("spec", "needs"),
    [
        ("127.0.0.1:15000,127.0.0.2:15000", False),
        ("localhost,[::1]:15000", False),
        (":15000,:16000", False),
        ("LOCALHOST.:1", False),
        ("127.0.0.1,192.0.2.1", True),
        ("host1", True),
        (":15000,host2", True),
        ("[fd00::1]", True),
    ],
)
def test_whether_nodes_may_be_elsewhere(spec: str, needs: bool) -> None:
    assert StaticDiscovery.needs_network(spec) is needs
