"""What a node says of itself in its TXT record, and what is read from that of another. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping, Sequence

from braft_core.abc import Contact, DiscoveryContext
from braft_core.addresses import parse_host
from braft_core.errors import DecodeError
from braft_mdns.interfaces import Network
from braft_mdns.names import ServiceName

__all__ = ["contact_of", "is_stranger", "properties_of"]

_VERSION = "1"
#: A string of a TXT record is "key=value" of at most 255 bytes (RFC 6763 §6.1).
_LONGEST = 255
#: Addresses of one instance that are looked at.
_MOST_ADDRESSES = 16


def properties_of(context: DiscoveryContext, service: ServiceName) -> dict[str, str]:
    """The TXT record of a node; what does not fit is left out, a probe tells it anyway."""
    values = {
        "txtvers": _VERSION,
        "id": context.node_id,
        "cluster": context.cluster_name,
        "sub": ",".join(service.subtypes),
        "rport": str(context.raft_port),
        "dport": str(context.discovery_port),
        "hport": str(context.http_port),
    }
    return {k: v for k, v in values.items() if len(f"{k}={v}".encode()) <= _LONGEST}


def is_stranger(
    properties: Mapping[str, str | None], context: DiscoveryContext, service: ServiceName
) -> bool:
    """Whether a node says that it belongs to another cluster, or to other subtypes.

    Forming a cluster waits for every contact, so the nodes of a neighbour cluster on the same
    network must not become contacts. The original's records say neither, so its nodes are none.
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
    """One contact of an instance: of the family that this node advertises, if there is a choice.

    :param networks: those in which an address must lie, empty for any. Multicast does not leave the
        network, so who announces an address elsewhere wants something to be sent there. A node that
        advertises such an address itself, behind NAT, takes those of others too.
    """
    if not any(ipaddress.ip_address(ip) in network for network in networks):
        networks = ()
    near = [a for a in addresses[:_MOST_ADDRESSES] if _may_be(a, networks)]
    if not near or not port:
        return None
    version = ipaddress.ip_address(ip).version
    same = [text for text in near if ipaddress.ip_address(text).version == version]
    return Contact((same or near)[0], port, source)


def _may_be(text: str, networks: Collection[Network]) -> bool:
    try:
        parse_host(text)
    except DecodeError:  # multicast, or all addresses of a host
        return False
    address = ipaddress.ip_address(text)
    return not networks or any(address in network for network in networks)
