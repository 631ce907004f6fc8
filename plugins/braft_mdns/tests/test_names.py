"""Service names, TXT records and options, without a network."""

from __future__ import annotations

import asyncio
from typing import Any

import ifaddr
import pytest
from zeroconf import InterfaceChoice, IPVersion

import braft_mdns
from braft_core.abc import Contact
from braft_core.errors import ConfigError, Unreachable
from braft_mdns.discovery import MdnsDiscovery
from braft_mdns.interfaces import choose_interfaces, ip_version
from braft_mdns.names import ServiceName, host_name, instance_label
from braft_mdns.records import contact_of, is_foreign, properties_of
from braft_testing.discovery import discovery_context

SERVICE = ServiceName.parse("_braft._tcp,_windows")


@pytest.mark.parametrize(
    ("text", "type_", "subtypes"),
    [
        ("_braft._tcp,_windows", "_braft._tcp.local.", ("_windows._sub._braft._tcp.local.",)),
        ("_braft._tcp", "_braft._tcp.local.", ()),
        ("_a-1._udp", "_a-1._udp.local.", ()),
        ("_http._tcp.", "_http._tcp.local.", ()),
        ("_http._tcp.local.", "_http._tcp.local.", ()),
        (
            " _b._tcp , _x,y,,_x ",
            "_b._tcp.local.",
            ("_x._sub._b._tcp.local.", "y._sub._b._tcp.local."),
        ),
    ],
)
def test_service_names(text: str, type_: str, subtypes: tuple[str, ...]) -> None:
    service = ServiceName.parse(text)
    assert (service.type, service.subtype_types) == (type_, subtypes)
    assert ServiceName.parse(str(service)) == service


BAD_NAMES = {
    "": "''",
    "braft": "'braft'",
    "braft._tcp": "'braft._tcp'",
    "_braft": "'_braft'",
    "_braft._sctp": "'_braft._sctp'",
    "_a--b._tcp": "'_a--b._tcp'",
    "_-a._tcp": "'_-a._tcp'",
    "_123._tcp": "'_123._tcp'",
    "_sixteenletters16._tcp": "'_sixteenletters16._tcp'",
    "_a._tcp,_x y": "'_x y'",
}


@pytest.mark.parametrize(("text", "part"), BAD_NAMES.items())
def test_bad_service_names(text: str, part: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ServiceName.parse(text)
    assert part in caught.value.message


def test_the_spec_goes_before_the_setting() -> None:
    context = discovery_context(options={"service": "_set._tcp"})
    assert MdnsDiscovery("", context).describe() == "mdns://_set._tcp"
    assert MdnsDiscovery("_spec._tcp,_a", context).describe() == "mdns://_spec._tcp,_a"
    assert MdnsDiscovery("", discovery_context()).describe() == "mdns://_braft._tcp,_windows"


def test_instance_is_the_beginning_of_the_id_as_in_the_original() -> None:
    node_id = "hKJJRLsyZ1UxVmdwM1lWcEdmNTdWSGRmMjVQbTM5b1Oo"
    assert instance_label(node_id) == "hKJJRLsyZ1UxVmdwM1lWcEdmNTd"
    assert instance_label("a.b") == "a-b"
    assert instance_label("") == "braft"
    assert host_name(node_id) != host_name(node_id + "x")


def test_txt_record() -> None:
    assert properties_of(discovery_context(node_id="n"), SERVICE) == {
        "txtvers": "1",
        "id": "n",
        "cluster": "braft",
        "sub": "_windows",
        "rport": "15000",
        "dport": "15001",
        "hport": "15002",
    }
    assert "id" not in properties_of(discovery_context(node_id="n" * 300), SERVICE)


@pytest.mark.parametrize(
    ("properties", "foreign"),
    [
        ({}, False),
        ({"txtv": "0", "lo": "1", "la": "2"}, False),
        ({"cluster": "braft", "sub": "_windows"}, False),
        ({"cluster": "other", "sub": "_windows"}, True),
        ({"cluster": "braft", "sub": "_demo"}, True),
        ({"cluster": "braft", "sub": ""}, True),
        ({"cluster": None}, True),
    ],
)
def test_hostile_peers(properties: dict[str, str | None], foreign: bool) -> None:
    assert is_foreign(properties, discovery_context(), SERVICE) is foreign


def test_own_record_is_not_foreign() -> None:
    for text in ("_a._tcp", "_a._tcp,_x", "_a._tcp,_x,_y"):
        service = ServiceName.parse(text)
        context = discovery_context(cluster_name="blue")
        assert not is_foreign(properties_of(context, service), context, service)


@pytest.mark.parametrize(
    ("addresses", "port", "ip", "host"),
    [
        (["10.0.0.1", "fd00::1"], 1, "10.0.0.9", "10.0.0.1"),
        (["10.0.0.1", "fd00::1"], 1, "fd00::9", "fd00::1"),
        (["fd00::1"], 1, "10.0.0.9", "fd00::1"),
        (["fe80::1%2"], 1, "fd00::9", "fe80::1%2"),
        ([], 1, "10.0.0.9", None),
        (["10.0.0.1"], None, "10.0.0.9", None),
        (["10.0.0.1"], 0, "10.0.0.9", None),
    ],
)
def test_contact(addresses: list[str], port: int | None, ip: str, host: str | None) -> None:
    expected = Contact(host, 1, "mdns") if host else None
    assert contact_of(addresses, port, ip, "mdns") == expected


@pytest.mark.parametrize(
    ("options", "path", "hint"),
    [
        ({"servce": "x"}, "plugins.mdns.servce", "did you mean service?"),
        ({"zzz": 1}, "plugins.mdns.zzz", "resolve_timeout"),
        ({"refresh": 0}, "plugins.mdns.refresh=0", "longer than 0"),
        ({"service": 5}, "plugins.mdns.service=5", "not a text"),
        ({"service": "x"}, "'x'", "_name._tcp"),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], path: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        MdnsDiscovery("", discovery_context(options=options))
    assert path in caught.value.message
    assert hint in caught.value.message


def adapter(index: int, name: str, *addresses: str) -> ifaddr.Adapter:
    ips = [
        ifaddr.IP((text, 0, index) if ":" in text else text, 64 if ":" in text else 24, name)
        for text in addresses
    ]
    return ifaddr.Adapter(name, name, ips, index=index)


LO = adapter(1, "lo", "127.0.0.1", "::1")
ETH0 = adapter(2, "eth0", "10.0.0.1", "fe80::1", "fd00::1")
ETH1 = adapter(3, "eth1", "10.1.0.1", "10.1.0.2")


@pytest.mark.parametrize(
    ("ip", "interface", "chosen"),
    [
        ("10.0.0.1", "", ["10.0.0.1", "fe80::1"]),
        ("fd00::1", "", ["10.0.0.1", "fe80::1"]),
        ("10.1.0.2", "", ["10.1.0.1", "10.1.0.2"]),
        ("127.0.0.1", "", ["127.0.0.1"]),
        ("10.0.0.1", "eth1", ["10.1.0.1", "10.1.0.2"]),
        ("203.0.113.9", "", InterfaceChoice.All),
    ],
)
def test_interfaces(monkeypatch: pytest.MonkeyPatch, ip: str, interface: str, chosen: Any) -> None:
    monkeypatch.setattr(ifaddr, "get_adapters", lambda: iter([LO, ETH0, ETH1]))
    assert choose_interfaces(ip, interface).interfaces == chosen


def test_families(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ip_version(["10.0.0.1"]) is None
    for adapters, version in (([LO, ETH1], IPVersion.V4Only), ([LO, ETH0], IPVersion.All)):
        monkeypatch.setattr(ifaddr, "get_adapters", lambda found=adapters: iter(found))
        assert ip_version(InterfaceChoice.All) is version


def test_unknown_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ifaddr, "get_adapters", lambda: iter([LO, ETH0]))
    discovery = MdnsDiscovery("", discovery_context(interface="eth7"))
    with pytest.raises(ConfigError, match=r"'eth7'.*: eth0, lo$"):
        asyncio.run(discovery.start())


def test_discover_before_start_raises() -> None:
    with pytest.raises(Unreachable, match="not started"):
        asyncio.run(MdnsDiscovery("", discovery_context()).discover())


def test_hook() -> None:
    assert braft_mdns.braft_register_discovery() is MdnsDiscovery
    assert hasattr(braft_mdns.braft_register_discovery, "braft_impl")
