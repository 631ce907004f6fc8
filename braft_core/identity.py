"""Where a node is: the host's address and the node's three ports; also cluster ids.

Lists interfaces and probes ports, and keeps nothing open. Server ids are in
:mod:`braft_core.compat.go_braft.server_id`.
"""

from __future__ import annotations

import ipaddress
import os
import secrets
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from types import MappingProxyType
from typing import NamedTuple

import ifaddr

from braft_core.compat.go_braft.server_id import new_ksuid
from braft_core.errors import ConfigError

__all__ = [
    "Ports",
    "default_raft_ports",
    "first_host_address",
    "host_addresses",
    "implied_ports",
    "new_cluster_id",
    "pick_ports",
    "ports_are_free",
]

#: The default Raft ports in the order they are tried.
DEFAULT_RAFT_PORTS = range(15000, 65000, 1000)
#: Prefixes of the interfaces of containers and virtual machines, which other hosts cannot reach.
_VIRTUAL = ("docker", "br-", "veth", "virbr", "cni", "flannel", "cali", "vmnet", "vboxnet")


class Ports(NamedTuple):
    """The three ports of a node."""

    raft: int
    discovery: int
    http: int


def new_cluster_id(
    random_bytes: Callable[[int], bytes] = secrets.token_bytes, now: float | None = None
) -> str:
    """Return a new id for a cluster, unique in the world.

    :param random_bytes: makes it so.
    :param now: seconds since the epoch; ``None``: the system's.
    """
    return new_ksuid(random_bytes, now)


# --------------------------------------------------------------------------------------------
# The host's address


def first_host_address(interface: str = "") -> str:
    """Return the address to advertise when none is set; stable while the interfaces are.

    Prefers, in this order: addresses that are not link-local, real interfaces to those of
    containers, IPv4 to IPv6, low interface numbers. 127.0.0.1 if there is only loopback. IPv6
    link-local addresses do not count: they are only valid with the caller's interface name.

    :param interface: take the address from this interface, which may be loopback.
    :raises ConfigError: there is no such interface, or it has no address.
    """
    adapters = list(ifaddr.get_adapters())
    if not interface:
        found = [ip for adapter in adapters for ip in adapter.ips if _is_reachable(_address(ip))]
        order = {id(ip): _rank(adapter, ip) for adapter in adapters for ip in adapter.ips}
        return str(_address(min(found, key=lambda ip: order[id(ip)]))) if found else "127.0.0.1"
    chosen = [a for a in adapters if interface in (a.name, a.nice_name)]
    candidates = [(_rank(adapter, ip), _address(ip)) for adapter in chosen for ip in adapter.ips]
    if not candidates:
        raise _no_interface(interface, adapters)
    return str(min(candidates, key=lambda pair: pair[0])[1])


def host_addresses() -> frozenset[str]:
    """Return all addresses of this host's interfaces, loopback included."""
    return frozenset(str(_address(ip)) for adapter in ifaddr.get_adapters() for ip in adapter.ips)


def _address(ip: ifaddr.IP) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    text = ip.ip if isinstance(ip.ip, str) else ip.ip[0]
    return ipaddress.ip_address(text)


def _is_reachable(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return not address.is_loopback and not (address.version == 6 and address.is_link_local)


def _rank(adapter: ifaddr.Adapter, ip: ifaddr.IP) -> tuple[bool, bool, bool, int, int]:
    address = _address(ip)
    return (
        address.is_link_local,
        adapter.nice_name.startswith(_VIRTUAL),
        address.version == 6,
        adapter.index or 0,
        int(address),
    )


def _no_interface(interface: str, adapters: list[ifaddr.Adapter]) -> ConfigError:
    usable = sorted({adapter.nice_name for adapter in adapters if adapter.ips})
    accepted = f"an interface with an address: {', '.join(usable) or 'this host has none'}"
    return ConfigError(
        f"interface {interface!r} does not exist or has no address; accepted: {accepted}",
        setting="interface",
        value=interface,
        accepted=accepted,
    )


# --------------------------------------------------------------------------------------------
# Ports

_LABELS: Mapping[str, str] = MappingProxyType(
    {"rport": "BRAFT_RPORT", "dport": "BRAFT_DPORT", "hport": "BRAFT_HPORT"}
)


def default_raft_ports(after: int = 0) -> range:
    """Return the default Raft ports in the order they are tried, from above ``after``."""
    ports = DEFAULT_RAFT_PORTS
    return range(max(ports.start, after + ports.step), ports.stop, ports.step)


def implied_ports(rport: int | None, dport: int | None, hport: int | None) -> Ports:
    """Return the ports that follow from these settings, whether they are free or not."""
    raft = rport or DEFAULT_RAFT_PORTS.start
    discovery = dport or raft + 1
    return Ports(raft, discovery, hport or discovery + 1)


def pick_ports(
    rport: int | None = None,
    dport: int | None = None,
    hport: int | None = None,
    *,
    host: str = "",
    labels: Mapping[str, str] = _LABELS,
    after: int = 0,
) -> Ports:
    """Choose the ports. ``None``: the default (15000 or higher, rport + 1, dport + 1); 0: any free.

    A second node of a host takes 16000, a third 17000, and again after a restart, because the data
    directory is named after the port. Another process may take a port before the node binds it, so
    callers handle errors of the bind, too.

    :param host: address the node will listen on; "" for all.
    :param labels: names of the settings for errors, ``Settings.label`` of each.
    :param after: a default Raft port is above this one.
    :raises ConfigError: a port that was set, or follows from one that was, is taken.
    """
    if rport:
        return _fixed_ports(rport, dport, hport, host, labels)
    bases = _free_bases(host) if rport == 0 else default_raft_ports(after)
    for name, port in (("dport", dport), ("hport", hport)):
        if port:
            _must_be_free(labels[name], port, host)
    for base in bases:
        ports = _follow(base, dport, hport, host)
        if len(set(ports)) == 3 and ports_are_free(ports, host):
            return ports
    raise ConfigError(
        f"{labels['rport']} is not set and no three free ports were found from "
        f"{DEFAULT_RAFT_PORTS.start} on; accepted: a free port",
        setting=labels["rport"],
    )


def _fixed_ports(
    rport: int, dport: int | None, hport: int | None, host: str, labels: Mapping[str, str]
) -> Ports:
    ports = _follow(rport, dport, hport, host)
    given = (rport, dport, hport)
    for name, port, asked in zip(("rport", "dport", "hport"), ports, given, strict=True):
        _must_be_free(labels[name], port, host, implied=asked is None)
    return ports


def _follow(rport: int, dport: int | None, hport: int | None, host: str) -> Ports:
    discovery = _free_port(host) if dport == 0 else dport or rport + 1
    http = _free_port(host) if hport == 0 else hport or discovery + 1
    return Ports(rport, discovery, http)


def _free_bases(host: str) -> Iterator[int]:
    """Yield free ports; several, because the next two must be free as well."""
    for _ in range(100):
        base = _free_port(host)
        if base <= 65533:
            yield base


def _free_port(host: str) -> int:
    with _socket(host) as sock:
        sock.bind((host, 0))
        port: int = sock.getsockname()[1]
        return port


def _must_be_free(label: str, port: int, host: str, *, implied: bool = False) -> None:
    try:
        with _socket(host) as sock:
            sock.bind((host, port))
    except (OSError, OverflowError) as error:
        named = f"{label} (not set, so {port})" if implied else f"{label}={port}"
        raise ConfigError(
            f"{named}: cannot listen on {host or 'any address'}: {error}{_held_by(port)}; "
            "accepted: a free port of this host",
            setting=label,
            value=str(port),
            accepted="a free port of this host",
        ) from error


def _held_by(port: int) -> str:
    """Return which process listens on a port, as far as this user may see it."""
    import psutil  # imported late: it is slow, and only errors need it

    try:
        listening = [
            connection.pid
            for connection in psutil.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
        ]
        pid = next((pid for pid in listening if pid), None)
        return f" (held by process {pid}, {psutil.Process(pid).name()})" if pid else ""
    except (psutil.Error, OSError):
        return ""


def ports_are_free(ports: Ports, host: str) -> bool:
    """Return whether a node could listen on all of these ports now."""
    with ExitStack() as stack:
        try:
            for port in ports:
                stack.enter_context(_socket(host)).bind((host, port))
        except (OSError, OverflowError):
            return False
        return True


def _socket(host: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    # A port in TIME_WAIT is free for a node that restarts. On Windows the option would instead
    # let two listeners share a port.
    if os.name == "posix":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return sock
