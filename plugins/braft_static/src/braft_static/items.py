"""Reading the list: ``host``, ``host:port``, ``[v6]:port``, ``:port``. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from braft_core.errors import ConfigError

__all__ = ["Item", "all_here", "own_host", "parse_items"]

_ACCEPTED = "host, host:port, [IPv6 address]:port or :port"
_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")


class Item(NamedTuple):
    """One entry of the list. ``host`` "" is this host, ``port`` ``None`` this node's Raft port."""

    host: str
    port: int | None


def parse_items(spec: str) -> list[Item]:
    """The entries of a comma-separated list; empty ones are skipped, as in the original.

    :raises ConfigError: naming the entry that is none, or that there is no entry.
    """
    items = [_parse(text) for part in spec.split(",") if (text := part.strip())]
    if not items:
        raise ConfigError(
            f"static: the list {spec!r} names no node; accepted: {_ACCEPTED}, separated by commas",
            setting="discovery",
            value=spec,
            accepted=_ACCEPTED,
        )
    return items


def own_host(items: Sequence[Item], ports: Collection[int], is_own: Callable[[str], bool]) -> str:
    """Return the literal address of the entry that is this node, "" if there is none.

    If every entry is a loopback address, all nodes are on this host: then the first one serves
    also a node that is not in the list.

    :param ports: those that an entry of this node may name; empty for any.
    """
    literal = [(_literal(item.host), item.port) for item in items]
    for address, port in literal:
        if address and is_own(address) and (port is None or not ports or port in ports):
            return address
    here = all(_is_loopback(address) for address, _ in literal)
    return literal[0][0] if here else ""


def all_here(items: Sequence[Item]) -> bool:
    """Return whether every entry is surely this machine: a loopback address or no host at all."""
    return all(not item.host or _is_loopback(_literal(item.host)) for item in items)


def _is_loopback(address: str) -> bool:
    return bool(address) and ipaddress.ip_address(address).is_loopback


def _literal(host: str) -> str:
    """Return the address that ``host`` is; "" for a name that DNS must resolve."""
    if host.lower().removesuffix(".") == "localhost":  # it always is, RFC 6761
        return "127.0.0.1"
    return host if _is_ip(host, 4) or _is_ip(host, 6) else ""


def _parse(text: str) -> Item:
    if text.startswith("["):
        inside, closed, rest = text[1:].partition("]")
        if not closed or (rest and not rest.startswith(":")):
            raise _bad(text, "the bracket is not closed")
        if not _is_ip(inside, 6):
            raise _bad(text, "brackets are for IPv6 addresses")
        return Item(_canonical(inside), _port(text, rest[1:]) if rest else None)
    if _is_ip(text, 6):
        return Item(_canonical(text), None)
    host, colon, port = text.partition(":")
    if host:
        _check_host(text, host)
    elif not colon:
        raise _bad(text, "no host")
    return Item(host, _port(text, port) if colon else None)


def _port(text: str, port: str) -> int:
    if not (port.isascii() and port.isdecimal() and 1 <= int(port) <= 65535):
        raise _bad(text, "the port is not a number from 1 to 65535")
    return int(port)


def _check_host(text: str, host: str) -> None:
    if _is_ip(host, 4):
        return
    labels = host.removesuffix(".").split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise _bad(text, "not a host name")
    if labels[-1].isdecimal():  # a name never ends so, but a mistyped IPv4 address does
        raise _bad(text, "not an IPv4 address")


def _is_ip(text: str, version: int) -> bool:
    try:
        return ipaddress.ip_address(text).version == version
    except ValueError:
        return False


def _canonical(text: str) -> str:
    return str(ipaddress.ip_address(text))


def _bad(text: str, why: str) -> ConfigError:
    return ConfigError(
        f"static: {text!r}: {why}; accepted: {_ACCEPTED}",
        setting="discovery",
        value=text,
        accepted=_ACCEPTED,
    )
