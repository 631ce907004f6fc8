"""Which pods are contacts, and at which port. Pure; must not know the Kubernetes client."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from braft_core.abc import Contact, DiscoveryContext
from braft_core.addresses import AddressKind, parse_host
from braft_core.errors import DecodeError

__all__ = ["Pod", "contacts_of", "selector_text"]


#: Maximum number of contacts; labels that match more also match the pods of something else.
_MAX_CONTACTS = 1024


@dataclass(frozen=True, slots=True)
class Pod:
    """The relevant part of a pod."""

    name: str
    #: Its addresses, the primary one first; none while it has no network.
    addresses: tuple[str, ...]
    phase: str
    #: The pod is being deleted.
    terminating: bool = False
    #: Container port names and numbers.
    ports: Mapping[str, int] = field(default_factory=dict)


def contacts_of(
    pods: Iterable[Pod], context: DiscoveryContext, portname: str, source: str
) -> list[Contact]:
    """Return the contacts of the running pods, in order of address.

    Running pods only, as in the Go original. They need not be *ready*: a node becomes ready when
    its cluster has formed, for which it must be found first.
    """
    alive = (pod for pod in pods if pod.phase == "Running" and not pod.terminating)
    places = ((_address(pod, context.ip), _port(pod, context, portname)) for pod in alive)
    return sorted({Contact(host, port, source) for host, port in places if host and port})[
        :_MAX_CONTACTS
    ]


def selector_text(labels: Mapping[str, str]) -> str:
    """Return labels as the API's ``labelSelector``."""
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))


def _address(pod: Pod, own: str) -> str:
    """Return a pod's address, in the family that this node advertises if the pod has both."""
    version = ipaddress.ip_address(own).version
    known = [text for text in pod.addresses if _is_address(text)]
    same = [text for text in known if ipaddress.ip_address(text).version == version]
    return next(iter(same or known), "")


def _is_address(text: str) -> bool:
    try:
        return parse_host(text)[1] is not AddressKind.DNS
    except DecodeError:
        return False


def _port(pod: Pod, context: DiscoveryContext, portname: str) -> int | None:
    """Return the named port of a pod; without a port name, this node's Raft port.

    Pods that do not declare the named port are no contacts. If the named port is the HTTP port, as
    in the example of the Go original, the contact has the Raft port, which answers probes.
    """
    if not portname:
        return context.raft_port
    number = pod.ports.get(portname)
    return context.raft_port if number == context.http_port else number
