"""Choose the interfaces of the host on which multicast is sent and received."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import NamedTuple

import ifaddr
from zeroconf import InterfaceChoice, IPVersion

from braft_core.errors import ConfigError

__all__ = ["Chosen", "Network", "choose_interfaces", "ip_version"]

Interfaces = list[str] | InterfaceChoice
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Chosen(NamedTuple):
    """The interfaces to use, in the form that zeroconf takes, and their state."""

    interfaces: Interfaces
    #: Index and addresses of each; the index differs if an interface was recreated.
    found: tuple[tuple[int | None, tuple[str, ...]], ...]
    #: The networks of the interfaces.
    networks: tuple[Network, ...] = ()


def choose_interfaces(ip: str, interface: str) -> Chosen:
    """Return the interface of that name, else the one with the advertised address.

    Behind NAT no interface has the advertised address; then all interfaces are used.

    :raises ConfigError: there is no interface of that name, or it has no address.
    """
    adapters = list(ifaddr.get_adapters())
    if interface:
        chosen = [a for a in adapters if interface in (a.name, a.nice_name)]
    else:
        chosen = [a for a in adapters if ip in _texts(a)]
    addresses = [text for adapter in chosen for text in _usable(adapter)]
    if addresses:
        return Chosen(addresses, _found(chosen), _networks(chosen))
    if interface:
        known = sorted({adapter.nice_name for adapter in adapters if adapter.ips})
        raise ConfigError(
            f"mdns: interface {interface!r} does not exist or has no address; accepted: "
            + ", ".join(known),
            setting="interface",
            value=interface,
        )
    return Chosen(InterfaceChoice.All, _found(adapters), _networks(adapters))


def _found(adapters: Iterable[ifaddr.Adapter]) -> tuple[tuple[int | None, tuple[str, ...]], ...]:
    return tuple((adapter.index, tuple(_texts(adapter))) for adapter in adapters)


def _networks(adapters: Iterable[ifaddr.Adapter]) -> tuple[Network, ...]:
    return tuple(
        ipaddress.ip_network(f"{_text(ip)}/{ip.network_prefix}", strict=False)
        for adapter in adapters
        for ip in adapter.ips
    )


def ip_version(chosen: Interfaces) -> IPVersion | None:
    """Return the address families to use; ``None`` if the addresses decide.

    On a host without IPv6, "all interfaces" must not open IPv6 sockets.
    """
    if isinstance(chosen, list):
        return None
    everything = [text for adapter in ifaddr.get_adapters() for text in _texts(adapter)]
    six = any(":" in text and text != "::1" for text in everything)
    return IPVersion.All if six else IPVersion.V4Only


def _texts(adapter: ifaddr.Adapter) -> list[str]:
    return [_text(ip) for ip in adapter.ips]


def _text(ip: ifaddr.IP) -> str:
    return ip.ip if isinstance(ip.ip, str) else ip.ip[0]


def _usable(adapter: ifaddr.Adapter) -> list[str]:
    """Return all IPv4 addresses, and one IPv6 address, as IPv6 multicast is per interface.

    Leaves out IPv6 loopback, which has no multicast.
    """
    texts = _texts(adapter)
    four = [text for text in texts if ":" not in text]
    six = [text for text in texts if ":" in text and not ipaddress.ip_address(text).is_loopback]
    return four + six[:1]
