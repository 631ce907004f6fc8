"""Which address a node advertises, and where it listens, where the settings do not say.

Runs once, before the node is built; later changes are the work of
:mod:`braft_core.runtime.address_changes`. Opens nothing.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from typing import NamedTuple

from braft_core.config import Settings
from braft_core.errors import ConfigError, PluginError
from braft_core.identity import first_host_address, host_addresses, implied_ports
from braft_core.plugin.registry import Registry, parse_discovery

__all__ = ["Advertised", "advertise", "advertised_address", "chosen_discovery"]

_LOOPBACK = "127.0.0.1"
_ALL_IPV4 = "0.0.0.0"  # noqa: S104 - as ``Settings.bind_host``


class Advertised(NamedTuple):
    """The address that a node advertises, and where it listens."""

    ip: str
    #: The address to listen on.
    host: str
    #: Whether nobody named the address, so that it changes with the host's.
    follows: bool = False


def chosen_discovery(settings: Settings, registry: Registry) -> tuple[str, str] | None:
    """Return scheme and spec of the chosen discovery; what is only installed is no choice.

    :raises ConfigError: the setting names none.
    """
    if settings.discovery in ("", "none"):
        return None
    return parse_discovery(settings.discovery, registry.names("discovery"))


def advertised_address(settings: Settings, registry: Registry) -> str:
    """Return the address that other nodes are given.

    In this order: the setting ``ip``; the address of ``interface``; ``host``, if it is a single
    address; the address under which the discovery lists this node. Without any of them it is
    127.0.0.1 for a node that needs no network, else the host's first address.

    :raises ConfigError: the interface does not exist, or the discovery's list is wrong.
    """
    return advertise(settings, registry).ip


def advertise(settings: Settings, registry: Registry) -> Advertised:
    """Return :func:`advertised_address`, where to listen, and whether it follows the host's.

    If a node takes its address from the host and the host has only loopback, it listens on all
    addresses. Otherwise nobody could reach it at an address that the host gets later.

    :raises ConfigError: as :func:`advertised_address`.
    """
    named = _named(settings, registry)
    ip = named or first_host_address(settings.interface)
    bound_to_one = settings.host and not ipaddress.ip_address(settings.host).is_unspecified
    follows = not named and not bound_to_one
    none_yet = follows and not settings.interface and ipaddress.ip_address(ip).is_loopback
    host = settings.host or _ALL_IPV4 if none_yet else settings.bind_host(ip)
    return Advertised(ip, host, follows)


def _named(settings: Settings, registry: Registry) -> str:
    """Return the address that was chosen, "" if the host's is to be taken."""
    if settings.ip:
        return settings.ip
    if settings.interface:
        return ""
    if settings.host:
        every = ipaddress.ip_address(settings.host).is_unspecified
        return "" if every else settings.host
    return _by_discovery(settings, registry)


def _by_discovery(settings: Settings, registry: Registry) -> str:
    """Return the address that the discovery implies, "" for the host's.

    Nobody on another machine is to find a node that needs no network, or to reach it.
    """
    try:
        chosen = chosen_discovery(settings, registry)
        if chosen is None:
            return _LOOPBACK
        discovery = registry.get("discovery", chosen[0])
    except (ConfigError, PluginError):
        return _LOOPBACK  # reported where the discovery is made
    ports: Collection[int] = ()
    if settings.rport:
        ports = implied_ports(settings.rport, settings.dport, settings.hport)[:2]
    own = discovery.own_address(chosen[1], ports, _is_own)
    return own or ("" if discovery.needs_network(chosen[1]) else _LOOPBACK)


def _is_own(address: str) -> bool:
    return ipaddress.ip_address(address).is_loopback or address in host_addresses()
