"""Addresses and server ids as text: what counts as one, at every entrance.

An address names a place where a node listens: ``a.b.c.d:port``, ``[IPv6]:port`` or ``name:port``.
Whatever comes from outside passes here before it is stored, compared, shown or connected to: peer
calls, membership changes, discovery, settings. Connections are made from the parsed value and
never from the text, so that no text can choose another way than IP, as ``unix:`` does. Pure: looks
up nothing.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Final

from braft_core.errors import DecodeError
from braft_core.escaping import printable, shown

__all__ = [
    "ACCEPTED_ADDRESS",
    "ACCEPTED_ID",
    "Address",
    "AddressKind",
    "check_member_id",
    "check_server_id",
    "join_host_port",
    "parse_address",
    "parse_host",
    "parse_listen",
    "parse_or_none",
]

ACCEPTED_ADDRESS: Final = (
    "host:port, the host an IPv4 address, an IPv6 address in brackets or a DNS name, the port from "
    "1 to 65535"
)
ACCEPTED_HOST: Final = "a DNS name, or an IPv4 or IPv6 address"
ACCEPTED_ID: Final = "1 to 128 of the characters A-Z a-z 0-9 _ = -"

#: Longest text that is looked at: a DNS name and a port, or an IPv6 address with its scope.
_LONGEST: Final = 262
_MAX_NAME: Final = 253
#: Service names of container networks have underscores, though host names proper have none.
_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
#: What resolvers read as an IPv4 address in one of its old forms: 127.1, 0x7f000001.
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
_PORT = re.compile(r"[0-9]{1,5}")
#: Names and numbers of interfaces; Linux allows 15 characters, others more.
_SCOPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
#: The second form: an id that braft or the original made. It contains a host name, so that it may
#: be longer than ids of others; the first bytes of its map and of the map's first key are fixed.
_ID = re.compile(r"[A-Za-z0-9_=-]{1,128}|hKJJRL[A-Za-z0-9_=-]{123,250}")
_MAX_MEMBER_ID: Final = 512

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class AddressKind(Enum):
    """What the host of an address is."""

    IPV4 = "ipv4"
    IPV6 = "ipv6"
    DNS = "dns"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a node is. Made by :func:`parse_address` alone, so that every part is known to be one.

    ``host`` is canonical for an IP address, without brackets and with the scope of a link-local
    one; a DNS name is as it was given.
    """

    host: str
    port: int
    kind: AddressKind

    @property
    def ip(self) -> str:
        """The IP address without a scope, "" for a name."""
        return "" if self.kind is AddressKind.DNS else self.host.partition("%")[0]

    def __str__(self) -> str:
        return join_host_port(self.host, self.port)


def join_host_port(host: str, port: int) -> str:
    """Return ``host:port``, with an IPv6 host in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_address(text: object) -> Address:
    """Return the place of a node that ``text`` names.

    :raises DecodeError: it names none; ``data`` has the ``value`` and what is ``accepted``.
    """
    return _parse(text)


def parse_or_none(text: object) -> Address | None:
    """Return the place that ``text`` names, ``None`` if it names none: to show what is known."""
    try:
        return _parse(text)
    except DecodeError:
        return None


def parse_listen(text: object) -> Address:
    """Return a place to listen at: also all addresses of a family, and port 0 for a free one.

    :raises DecodeError: as :func:`parse_address`.
    """
    return _parse(text, listen=True)


def parse_host(text: object) -> tuple[str, AddressKind]:
    """Return a host alone, an IPv6 address with or without brackets, in its canonical form.

    :raises DecodeError: it is not a host, or no node can be there.
    """
    if not isinstance(text, str) or len(text) > _LONGEST:
        raise _bad(text, "not a host name", ACCEPTED_HOST, "host")
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        if ":" in bare:
            return _ipv6(bare), AddressKind.IPV6
        if bare != text:
            raise ValueError("brackets are for IPv6 addresses")
        host, kind = _ipv4_or_name(bare)
        _check_ipv4(host, kind)
    except ValueError as error:
        raise _bad(text, str(error), ACCEPTED_HOST, "host") from None
    return host, kind


def check_server_id(server_id: object) -> str:
    """Return the id of a server that asks to be let in, or is to be added.

    :raises DecodeError: it cannot be one; ``data`` has the ``value`` and what is ``accepted``.
    """
    if isinstance(server_id, str) and _ID.fullmatch(server_id):
        return server_id
    raise DecodeError(
        f"server id is {shown(server_id)}; accepted: {ACCEPTED_ID}",
        value=shown(server_id),
        accepted=ACCEPTED_ID,
    )


def check_member_id(server_id: object) -> str:
    """Return the id of a server that may be a member already.

    A cluster with servers of HashiCorp raft has members whose ids are of any form, often
    ``127.0.0.1:8300``. Requests may name such an id, but no new server joins with it.

    :raises DecodeError: it cannot be one: it is empty, too long or not printable.
    """
    text = server_id if isinstance(server_id, str) else ""
    if 0 < len(text) <= _MAX_MEMBER_ID and text.isprintable():
        return text
    accepted = f"1 to {_MAX_MEMBER_ID} printable characters"
    raise DecodeError(
        f"server id is {shown(server_id)}; accepted: {accepted}",
        value=shown(server_id),
        accepted=accepted,
    )


def _parse(text: object, *, listen: bool = False) -> Address:
    if not isinstance(text, str):
        raise _bad(text, "not a text")
    if len(text) > _LONGEST:
        raise _bad(text, f"longer than {_LONGEST} characters")
    try:
        return _parsed(text, listen)
    except ValueError as error:
        raise _bad(text, str(error)) from None


@lru_cache(maxsize=1024)
def _parsed(text: str, listen: bool) -> Address:
    """Parse an address. :raises ValueError: why it is not one; failures are not cached."""
    if not text:
        raise ValueError("it is empty")
    if not text.isascii():
        raise ValueError("a name that is not ASCII; write it in its ASCII form, xn--...")
    if not text.isprintable() or " " in text:
        raise ValueError("it contains blanks or control characters")
    for mark in "/@?#\\":
        if mark in text:
            raise ValueError(f"it contains {mark!r}; a URL or a path is no address")
    host, port = _split(text)
    number = _port(port, 0 if listen else 1)
    if text.startswith("["):
        return Address(_ipv6(host, listen=listen), number, AddressKind.IPV6)
    name, kind = _ipv4_or_name(host)
    _check_ipv4(name, kind, listen=listen)
    return Address(name, number, kind)


def _split(text: str) -> tuple[str, str]:
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket:
            raise ValueError("the bracket is not closed")
        if not rest.startswith(":"):
            raise ValueError("the port is missing")
        return host, rest[1:]
    host, colon, port = text.partition(":")
    if not colon:
        raise ValueError("the port is missing")
    if ":" in port:
        is_ipv6 = _is_ipv6(text) or _is_ipv6(text.rpartition(":")[0])
        reason = "an IPv6 address needs brackets" if is_ipv6 else "it has more than one colon"
        raise ValueError(reason)
    return host, port


def _port(text: str, lowest: int) -> int:
    if not _PORT.fullmatch(text) or not lowest <= int(text) <= 65535:
        raise ValueError(f"the port is not a number from {lowest} to 65535")
    return int(text)


def _ipv6(text: str, *, listen: bool = False) -> str:
    bare, percent, scope = text.partition("%")
    if not _is_ipv6(bare) or (percent and not _SCOPE.fullmatch(scope)):
        raise ValueError("what is in brackets is not an IPv6 address")
    address = ipaddress.IPv6Address(bare)
    if percent and not address.is_link_local:
        raise ValueError("only a link-local address has a scope")
    _check_ip(address.ipv4_mapped or address, listen=listen)
    return f"{address}{percent}{scope}"


def _ipv4_or_name(host: str) -> tuple[str, AddressKind]:
    try:
        return str(ipaddress.IPv4Address(host)), AddressKind.IPV4
    except ValueError:
        pass
    if not host:
        raise ValueError("the host is missing")
    labels = host.removesuffix(".").split(".")
    if len(host.removesuffix(".")) > _MAX_NAME:
        raise ValueError(f"the name is longer than {_MAX_NAME} characters")
    if not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("not a host name: labels have 1 to 63 letters, digits, '-' and '_'")
    if _NUMBER.fullmatch(labels[-1]):  # no name ends so, but a mistyped address does
        raise ValueError("not an IPv4 address")
    return host, AddressKind.DNS


def _check_ipv4(host: str, kind: AddressKind, *, listen: bool = False) -> None:
    if kind is AddressKind.IPV4:
        _check_ip(ipaddress.IPv4Address(host), listen=listen)


def _check_ip(address: IPAddress, *, listen: bool) -> None:
    if address.is_multicast or address == ipaddress.IPv4Address("255.255.255.255"):
        raise ValueError("a multicast or broadcast address is no node's")
    if address.is_unspecified and not listen:
        raise ValueError("it stands for every address of a host, so no other node can reach it")


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return "%" not in text


def _bad(
    text: object, why: str, accepted: str = ACCEPTED_ADDRESS, what: str = "address"
) -> DecodeError:
    return DecodeError(
        f"{what} is {shown(text)}: {printable(why)}; accepted: {accepted}",
        value=shown(text),
        accepted=accepted,
        why=why,
    )
