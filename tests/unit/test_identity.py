"""The host's address and the ports."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import ifaddr
import pytest

from braft_core import identity
from braft_core.errors import ConfigError
from braft_core.identity import (
    first_host_address,
    implied_ports,
    pick_ports,
)
from braft_core.local_nodes import free_ports
from braft_testing.processes import free_base_port


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


# Two checks of one port must agree, so the port is outside the range that the system assigns to
# outgoing connections.


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", free_ports(1)[0])) as sock:
        yield sock.getsockname()[1]


def test_ports_follow_the_raft_port() -> None:
    raft = free_base_port()
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
    monkeypatch.setattr(identity, "DEFAULT_RAFT_PORTS", range(taken, 65000, 7))
    ports = pick_ports(host="127.0.0.1")
    assert ports.raft > taken
    assert (ports.raft - taken) % 7 == 0
    assert pick_ports(host="127.0.0.1") == ports


def test_no_free_ports_at_all(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "DEFAULT_RAFT_PORTS", range(taken, taken + 1, 1000))
    with pytest.raises(ConfigError, match="BRAFT_RPORT is not set"):
        pick_ports(host="127.0.0.1")
