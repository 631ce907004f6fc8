"""Parse the list: ``host``, ``host:port``, ``[v6]:port``, ``:port``. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from braft_core.addresses import parse_address, parse_host
from braft_core.errors import ConfigError, DecodeError

__all__ = ["Item", "all_here", "own_host", "parse_items"]

#: As many as braft probes at once. Raft does not suit larger clusters.
MAX_ITEMS = 64
_ACCEPTED = "host, host:port, [IPv6 address]:port or :port"


class Item(NamedTuple):
    """One entry of the list. ``host`` "" is this host, ``port`` ``None`` this node's Raft port."""

    host: str
    port: int | None


def parse_items(spec: str) -> list[Item]:
    """Return the entries of a comma-separated list; empty ones are skipped, as in the Go original.

    :raises ConfigError: an entry is invalid, or the list is empty or too long.
    """
    items = [_parse(text) for part in spec.split(",") if (text := part.strip())]
    if not items:
        raise ConfigError(
            f"static: the list {spec!r} is empty; accepted: {_ACCEPTED}, separated by commas",
            setting="discovery",
            value=spec,
            accepted=_ACCEPTED,
        )
    if len(items) > MAX_ITEMS:
        accepted = f"at most {MAX_ITEMS} nodes"
        raise ConfigError(
            f"static: the list has {len(items)} nodes; accepted: {accepted}",
            setting="discovery",
            value=str(len(items)),
            accepted=accepted,
        )
    return items


def own_host(items: Sequence[Item], ports: Collection[int], is_own: Callable[[str], bool]) -> str:
    """Return the literal address of the entry that is this node, "" if no entry is.

    If every entry is a loopback address, all nodes are on this host. A node that is not in the list
    then uses the first entry.

    :param ports: the ports that an entry of this node may have; empty for any.
    """
    literal = [(_literal(item.host), item.port) for item in items]
    for address, port in literal:
        if address and is_own(address) and (port is None or not ports or port in ports):
            return address
    here = all(_is_loopback(address) for address, _ in literal)
    return literal[0][0] if here else ""


def all_here(items: Sequence[Item]) -> bool:
    """Return whether every entry is on this host: a loopback address, or no host."""
    return all(not item.host or _is_loopback(_literal(item.host)) for item in items)


def _is_loopback(address: str) -> bool:
    return bool(address) and ipaddress.ip_address(address).is_loopback


def _literal(host: str) -> str:
    """Return the address that ``host`` is; "" for a name that DNS must resolve."""
    if host.lower().removesuffix(".") == "localhost":  # always loopback, RFC 6761
        return "127.0.0.1"
    return host if _is_ip(host, 4) or _is_ip(host, 6) else ""


def _parse(text: str) -> Item:
    try:
        if text.startswith(":"):  # this host, another port
            return Item("", parse_address(f"localhost{text}").port)
        if _has_port(text):
            place = parse_address(text)
            return Item(place.host, place.port)
        return Item(parse_host(text)[0], None)
    except DecodeError as error:
        raise _bad(text, error.data["why"]) from error


def _has_port(text: str) -> bool:
    return "]:" in text if text.startswith("[") else text.count(":") == 1


def _is_ip(text: str, version: int) -> bool:
    try:
        return ipaddress.ip_address(text).version == version
    except ValueError:
        return False


def _bad(text: str, why: str) -> ConfigError:
    return ConfigError(
        f"static: {text!r:.120}: {why}; accepted: {_ACCEPTED}",
        setting="discovery",
        value=text[:120],
        accepted=_ACCEPTED,
    )
