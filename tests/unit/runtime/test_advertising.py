"""Default advertised address, listening addresses and discovery of a node."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

import pytest

from braft_core import Node
from braft_core.config import Settings
from braft_core.identity import first_host_address, host_addresses
from braft_core.local_nodes import free_ports
from braft_core.plugin.manager import Plugins
from braft_core.plugin.registry import Registry
from braft_core.runtime import advertising
from braft_core.runtime.advertising import advertise, advertised_address

pytest.importorskip("braft_static")

LOOPBACK = "127.0.0.1:15000,127.0.0.1:16000,127.0.0.1:17000"


def advertised(**given: Any) -> str:
    return advertised_address(Settings.load(environ={}, kwargs=given), Registry(Plugins.load()))


@pytest.mark.parametrize(
    "given",
    [
        {"discovery": LOOPBACK, "rport": 16000},
        {"discovery": LOOPBACK},
        {"discovery": LOOPBACK, "rport": 18000},
        {"discovery": "localhost:15000,localhost:16000", "rport": 15000},
        {"discovery": "127.0.0.1:15001,192.0.2.1:15001", "rport": 15000},
        {"discovery": "static::15000,:16000", "rport": 15000},
        {"discovery": "none"},
        {"discovery": "nosuch:x"},
        {},
    ],
    ids=[
        "listed",
        "any port",
        "not listed",
        "names of it",
        "discovery port",
        "ports of this host",
        "chosen to be none",
        "not installed",
        "nothing set",
    ],
)
def test_a_node_that_others_reach_on_this_host_alone_advertises_loopback(
    given: Mapping[str, Any],
) -> None:
    assert advertised(**given) == "127.0.0.1"


def test_the_own_entry_of_a_list_is_what_others_are_given() -> None:
    last = sorted(host_addresses())[-1]
    written = f"[{last}]" if ":" in last else last
    assert advertised(discovery=f"192.0.2.1,{written}", rport=15000) == last
    assert advertised(discovery=f"192.0.2.1,{written}:16000", rport=16000) == last
    assert advertised(discovery=f"192.0.2.1,{written}:15000") == last


@pytest.mark.parametrize(
    "given",
    [
        {"discovery": "192.0.2.1,192.0.2.2"},
        {"discovery": "127.0.0.1:16000,192.0.2.1:16000", "rport": 15000},
        {"discovery": "host1,host2"},
        {"discovery": "static::15000,host2"},
        {"host": "0.0.0.0"},
    ],
    ids=["others", "another port", "names", "this host and a name", "every interface"],
)
def test_any_other_node_advertises_the_address_of_the_host(given: Mapping[str, Any]) -> None:
    assert advertised(**given) == first_host_address()


def test_what_is_set_comes_first() -> None:
    assert advertised(discovery=LOOPBACK, ip="192.0.2.7") == "192.0.2.7"
    assert advertised(discovery=LOOPBACK, interface="lo") == "127.0.0.1"
    assert advertised(host="192.0.2.8") == "192.0.2.8", "nobody reaches it anywhere else"


def test_a_list_of_loopback_addresses_listens_on_loopback_alone(tmp_path: Any) -> None:
    raft, discovery, http, other = free_ports(4)
    listed = f"127.0.0.1:{raft},127.0.0.1:{other}"
    ports: dict[str, Any] = {"rport": raft, "dport": discovery, "hport": http}
    with Node(discovery=listed, data_dir=str(tmp_path / "d"), **ports) as node:
        assert node.address == f"127.0.0.1:{raft}"
        for port in (raft, discovery, http):
            with socket.socket() as sock:
                # A socket on all interfaces would make this port be in use here as well.
                sock.bind(("127.0.0.2", port))


def test_an_embedded_node_without_settings_finds_nobody(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No installed discovery is used unless it is chosen."""
    monkeypatch.chdir(tmp_path)
    with Node(http=False, data_dir=":memory:", rport=0, dport=0) as node:
        node.wait_ready(40)
        assert node.cluster_view()["discovery"] == "none"
        assert node.address.startswith("127.0.0.1:")


@pytest.mark.parametrize(
    ("given", "first", "expected"),
    [
        ({"discovery": "192.0.2.1"}, "192.0.2.9", ("192.0.2.9", "0.0.0.0", True)),
        ({"discovery": "192.0.2.1"}, "127.0.0.1", ("127.0.0.1", "0.0.0.0", True)),
        ({"discovery": "192.0.2.1", "host": "::"}, "127.0.0.1", ("127.0.0.1", "::", True)),
        ({"discovery": "mdns"}, "192.0.2.9", ("192.0.2.9", "0.0.0.0", True)),
        ({"discovery": "mdns"}, "fd00::9", ("fd00::9", "::", True)),
        ({"discovery": "k8s"}, "192.0.2.9", ("192.0.2.9", "0.0.0.0", True)),
        ({"discovery": "none"}, "192.0.2.9", ("127.0.0.1", "127.0.0.1", False)),
        ({"ip": "192.0.2.7"}, "", ("192.0.2.7", "0.0.0.0", False)),
        ({"discovery": "192.0.2.1", "ip": "127.0.0.1"}, "", ("127.0.0.1", "127.0.0.1", False)),
        ({"discovery": "192.0.2.1", "host": "127.0.0.5"}, "", ("127.0.0.5", "127.0.0.5", False)),
        ({"interface": "lo"}, "127.0.0.1", ("127.0.0.1", "127.0.0.1", True)),
        ({"interface": "eth0"}, "192.0.2.9", ("192.0.2.9", "0.0.0.0", True)),
        (
            {"interface": "eth0", "host": "192.0.2.8"},
            "192.0.2.9",
            ("192.0.2.9", "192.0.2.8", False),
        ),
        ({}, "192.0.2.9", ("127.0.0.1", "127.0.0.1", False)),
    ],
    ids=[
        "the host's",
        "the host has none yet",
        "none yet, and told where to listen",
        "mDNS",
        "mDNS on IPv6",
        "Kubernetes",
        "chosen to be none",
        "an address set",
        "set",
        "bound to one",
        "loopback chosen",
        "of an interface",
        "of an interface, but bound to one",
        "nothing set",
    ],
)
def test_an_address_that_nobody_named_changes_with_the_hosts(
    given: Mapping[str, Any],
    first: str,
    expected: tuple[str, str, bool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The node listens so that it can be reached at the next address, too."""
    monkeypatch.setattr(advertising, "first_host_address", lambda interface="": first)
    settings = Settings.load(environ={}, kwargs=given)
    assert advertise(settings, Registry(Plugins.load())) == expected
