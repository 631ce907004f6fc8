"""The TXT record of this node, and the contact of another node from its records. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping, Sequence

from braft_core.abc import Contact, DiscoveryContext
from braft_core.addresses import parse_host
from braft_core.errors import DecodeError
from braft_mdns.interfaces import Network
from braft_mdns.names import ServiceName

__all__ = ["contact_of", "is_foreign", "properties_of"]

_VERSION = "1"
#: A string of a TXT record is "key=value" of at most 255 bytes (RFC 6763 §6.1).
_MAX_STRING = 255
#: Maximum number of addresses that are used of one instance.
_MAX_ADDRESSES = 16


def properties_of(context: DiscoveryContext, service: ServiceName) -> dict[str, str]:
    """Return the TXT record of a node, without values that are too long; probes report those."""
    values = {
        "txtvers": _VERSION,
        "id": context.node_id,
        "cluster": context.cluster_name,
        "sub": ",".join(service.subtypes),
        "rport": str(context.raft_port),
        "dport": str(context.discovery_port),
        "hport": str(context.http_port),
    }
    return {k: v for k, v in values.items() if len(f"{k}={v}".encode()) <= _MAX_STRING}


def is_foreign(
    properties: Mapping[str, str | None], context: DiscoveryContext, service: ServiceName
) -> bool:
    """Return whether a node's record names another cluster or other subtypes.

    The bootstrap waits for every contact, so nodes of other clusters on the same network must not
    become contacts. Records of the Go original name neither, so its nodes are never foreign.
    """
    cluster = properties.get("cluster", context.cluster_name)
    subtypes = properties.get("sub")
    other = subtypes is not None and set(subtypes.split(",")) != set(
        ",".join(service.subtypes).split(",")
    )
    return cluster != context.cluster_name or other


def contact_of(
    addresses: Sequence[str],
    port: int | None,
    ip: str,
    source: str,
    networks: Collection[Network] = (),
) -> Contact | None:
    """Return the contact of an instance, preferably in the family that this node advertises.

    :param networks: the networks in which an address must be; empty for any. Multicast does not
        leave the network, so an address elsewhere may be an attempt to redirect traffic. If this
        node itself advertises an address outside them, behind NAT, any address is accepted.
    """
    if not any(ipaddress.ip_address(ip) in network for network in networks):
        networks = ()
    near = [a for a in addresses[:_MAX_ADDRESSES] if _is_usable(a, networks)]
    if not near or not port:
        return None
    version = ipaddress.ip_address(ip).version
    same = [text for text in near if ipaddress.ip_address(text).version == version]
    return Contact((same or near)[0], port, source)


def _is_usable(text: str, networks: Collection[Network]) -> bool:
    try:
        parse_host(text)
    except DecodeError:  # a multicast address, or an unspecified one
        return False
    address = ipaddress.ip_address(text)
    return not networks or any(address in network for network in networks)
