"""Server ids byte for byte as the original's, the host's address, the ports."""

from __future__ import annotations

import base64
import socket
from collections.abc import Iterator
from datetime import UTC, datetime

import ifaddr
import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ksuid import Ksuid

from braft_core import identity
from braft_core.errors import ConfigError, DecodeError
from braft_core.identity import (
    Ports,
    RaftID,
    first_host_address,
    implied_ports,
    new_raft_id,
    pick_ports,
)
from braft_core.local_nodes import free_ports

#: From the README of the original.
ORIGINAL_16000 = (
    "hKJJRLsyZ1UxVmdwM1lWcEdmNTdWSGRmMjVQbTM5b1OoSG9zdG5hbWWvYmluZ29vZGVNQlAubGFuoklQrTE5Mi4x"
    "NjguNi4yNDCkU3FpZKxJaWZmdjJ1akIwVWw"
)
ORIGINAL_15000 = (
    "hKJJRLsyZ1UxUnQ3SWJXdG5lN1l5VlhuQ0QwSnVZYVKoSG9zdG5hbWWvYmluZ29vZGVNQlAubGFuoklQrTE5Mi4x"
    "NjguNi4yNDCkU3FpZKw2WlZBZ0ZiMnh6aDc"
)
#: An older original: ports in fields of their own, several addresses, no Sqid.
OLDER = (
    "hqJJRLsyNHdtNGh1WXJaS0dmS3VBdW80OHRaeHVWTUWlUnBvcnTNOpilRHBvcnTNOpmlSHBvcnTNOpqoSG9zdG5h"
    "bWW1YnJhZnQtZDliZmY0YjliLWt6ZGhxoklQkaoxMC40Mi42Ljky"
)


@pytest.mark.parametrize(
    ("year", "shown"), [(1970, 2014), (2013, 2014), (2026, 2026), (2151, 2150), (9999, 2150)]
)
def test_any_wall_clock_makes_an_id(monkeypatch: pytest.MonkeyPatch, year: int, shown: int) -> None:
    now = datetime(year, 1, 2, tzinfo=UTC)
    monkeypatch.setattr("time.time", now.timestamp)
    monkeypatch.setattr("ksuid.ksuid.now", lambda tz: now)
    ids = {identity.new_cluster_id() for _ in range(100)}
    ids.add(new_raft_id("10.0.0.1", (15000, 15001, 15002)).id)
    assert len(ids) == 101
    assert {(len(each), Ksuid.from_base62(each).datetime.year) for each in ids} == {(27, shown)}


def test_a_host_name_that_is_no_text_makes_an_id_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "gr\udcfcn\x1b[31m\nhöst")
    made = new_raft_id("10.0.0.1", (15000, 15001, 15002))
    assert made.hostname == "gr?n?[31m?höst"
    assert identity.decode(identity.encode(made)) == made


def test_reads_the_originals_ids() -> None:
    raft_id = identity.decode(ORIGINAL_16000)
    assert raft_id == RaftID(
        "2gU1Vgp3YVpGf57VHdf25Pm39oS", "bingoodeMBP.lan", "192.168.6.240", "Iiffv2ujB0Ul"
    )
    assert raft_id.ports == Ports(16000, 16001, 16002)
    assert identity.decode(ORIGINAL_15000).ports == Ports(15000, 15001, 15002)
    assert set(raft_id.as_dict()) == {"id", "hostname", "ip", "sqid"}


@pytest.mark.parametrize("server_id", [ORIGINAL_16000, ORIGINAL_15000])
def test_writes_the_originals_bytes(server_id: str) -> None:
    assert identity.encode(identity.decode(server_id)) == server_id


def test_new_ids_differ_and_sort_by_time() -> None:
    first = new_raft_id("10.0.0.1", (15000, 15001, 15002))
    second = new_raft_id("10.0.0.1", (15000, 15001, 15002), hostname="h")
    assert first.id != second.id
    assert len(first.id) == 27
    assert (first.hostname, second.hostname) == (socket.gethostname(), "h")
    assert first.sqid == "6ZVAgFb2xzh7"
    assert identity.decode(identity.encode(first)) == first


@pytest.mark.parametrize(
    ("set_by_the_user", "implied"),
    [
        ((None, None, None), (15000, 15001, 15002)),
        ((0, 0, 0), (15000, 15001, 15002)),
        ((17000, None, None), (17000, 17001, 17002)),
        ((17000, 9, None), (17000, 9, 10)),
        ((None, 9, None), (15000, 9, 10)),
        ((None, None, 80), (15000, 15001, 80)),
        ((1, 2, 4), (1, 2, 4)),
    ],
)
def test_each_port_follows_the_one_before_unless_it_is_set(
    set_by_the_user: tuple[int | None, int | None, int | None], implied: tuple[int, int, int]
) -> None:
    assert implied_ports(*set_by_the_user) == implied


texts = st.text(max_size=80)


@given(texts, texts, texts, texts)
def test_round_trip(id_: str, hostname: str, ip: str, sqid: str) -> None:
    raft_id = RaftID(id_, hostname, ip, sqid)
    server_id = identity.encode(raft_id)
    assert "=" not in server_id
    assert identity.decode(server_id) == raft_id
    assert raft_id.ports is None or len(raft_id.ports) == 3


def packed(value: object) -> str:
    return base64.urlsafe_b64encode(msgpack.packb(value)).decode().rstrip("=")


@pytest.mark.parametrize(
    "server_id",
    [
        "",
        "node-1",
        "a",
        "é",
        OLDER,
        ORIGINAL_16000[:-4],
        ORIGINAL_16000 + "AAAA",
        packed([1]),
        packed({"ID": "x"}),
        packed({"ID": "x", "Hostname": "h", "IP": ["1"], "Sqid": "s"}),
        packed({1: 2}),
    ],
)
def test_ids_of_others(server_id: str) -> None:
    with pytest.raises(DecodeError, match="server id"):
        identity.decode(server_id)
    assert identity.decode_or_none(server_id) is None


@given(st.text() | st.binary().map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
def test_any_text_decodes_or_is_refused(server_id: str) -> None:
    found = identity.decode_or_none(server_id)
    assert found is None or identity.decode(identity.encode(found)) == found


# ------------------------------------------------------------------------------- addresses


def adapter(index: int, name: str, *addresses: str) -> ifaddr.Adapter:
    ips = [
        ifaddr.IP((text, 0, index) if ":" in text else text, 64 if ":" in text else 24, name)
        for text in addresses
    ]
    return ifaddr.Adapter(name, name, ips, index=index)


LO = adapter(1, "lo", "127.0.0.1", "::1")
ETH0 = adapter(2, "eth0", "fe80::1", "fd00::2", "192.168.1.5")
ETH1 = adapter(3, "eth1", "10.0.0.5")
DOCKER = adapter(4, "docker0", "172.17.0.1")
V6_ONLY = adapter(5, "wg0", "fd01::1")
LOCAL = adapter(6, "usb0", "169.254.3.4")


@pytest.mark.parametrize(
    ("adapters", "interface", "address"),
    [
        ([LO, ETH0, ETH1], "", "192.168.1.5"),
        ([ETH1, DOCKER, ETH0, LO], "", "192.168.1.5"),
        ([LO, DOCKER, ETH1], "", "10.0.0.5"),
        ([LO, DOCKER], "", "172.17.0.1"),
        ([LO, LOCAL, V6_ONLY], "", "fd01::1"),
        ([LO, LOCAL], "", "169.254.3.4"),
        ([LO], "", "127.0.0.1"),
        ([LO, adapter(7, "eth2", "fe80::2")], "", "127.0.0.1"),
        ([], "", "127.0.0.1"),
        ([LO, ETH0, ETH1], "eth1", "10.0.0.5"),
        ([LO, ETH0], "lo", "127.0.0.1"),
        ([LO, V6_ONLY], "wg0", "fd01::1"),
    ],
)
def test_first_host_address(
    monkeypatch: pytest.MonkeyPatch,
    adapters: list[ifaddr.Adapter],
    interface: str,
    address: str,
) -> None:
    monkeypatch.setattr(ifaddr, "get_adapters", lambda: iter(adapters))
    assert first_host_address(interface) == address


def test_unknown_interface_lists_the_interfaces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ifaddr, "get_adapters", lambda: iter([LO, ETH0, adapter(9, "down")]))
    for name in ("eth9", "down"):
        with pytest.raises(ConfigError, match=f"'{name}'.*: eth0, lo$"):
            first_host_address(name)


def test_this_hosts_own_address() -> None:
    assert first_host_address() == first_host_address()
    with pytest.raises(ConfigError, match="lo"):
        first_host_address("no-such-interface")


# ------------------------------------------------------------------------------- ports


# Two looks at one port must see the same, so it is none of those that the system gives to whoever
# connects, anywhere on the machine, between them.


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", free_ports(1)[0])) as sock:
        yield sock.getsockname()[1]


def three_in_a_row() -> int:
    """The first of three free ports."""
    while True:
        first, second, third = free_ports(3)
        if (second, third) == (first + 1, first + 2):
            return first


def test_ports_follow_the_raft_port() -> None:
    raft = three_in_a_row()
    assert pick_ports(raft, host="127.0.0.1") == (raft, raft + 1, raft + 2)


def test_a_free_raft_port_has_followers_that_are_free() -> None:
    base = pick_ports(0, host="127.0.0.1")
    assert base == (base.raft, base.raft + 1, base.raft + 2)


def test_each_port_may_be_free() -> None:
    ports = pick_ports(0, 0, 0, host="127.0.0.1")
    assert len(set(ports)) == 3
    assert min(ports) > 0


@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_taken_port_is_named(taken: int, position: int) -> None:
    wanted: list[int | None] = [None, None, None]
    wanted[position] = taken
    label = ("BRP", "BDP", "BHP")[position]
    labels = {"rport": "BRP", "dport": "BDP", "hport": "BHP"}
    with pytest.raises(ConfigError, match=f"{label}={taken}: .*in use"):
        pick_ports(*wanted, host="127.0.0.1", labels=labels)


def test_an_address_of_another_host_is_no_free_port() -> None:
    with pytest.raises(ConfigError, match=r"192\.0\.2\.77"):
        pick_ports(15000, host="192.0.2.77")


def test_unset_ports_move_on_when_taken(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "DEFAULT_RAFT_PORT", taken)
    monkeypatch.setattr(identity, "_SEARCH_STEP", 7)
    ports = pick_ports(host="127.0.0.1")
    assert ports.raft > taken
    assert (ports.raft - taken) % 7 == 0
    assert pick_ports(host="127.0.0.1") == ports


def test_no_free_ports_at_all(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "DEFAULT_RAFT_PORT", taken)
    monkeypatch.setattr(identity, "_SEARCH_END", taken + 1)
    with pytest.raises(ConfigError, match="BRAFT_RPORT is not set"):
        pick_ports(host="127.0.0.1")
