"""Which pods are contacts, and at which port. Pure; knows nothing of the Kubernetes client."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from braft_core.abc import Contact, DiscoveryContext
from braft_core.addresses import AddressKind, parse_host
from braft_core.errors import DecodeError

__all__ = ["Pod", "contacts_of", "selector_text"]


#: Contacts that are handed on; labels that pick more pick the pods of something else.
_MOST = 1024


@dataclass(frozen=True, slots=True)
class Pod:
    """What counts of a pod."""

    name: str
    #: Its addresses, the primary one first; none while it has no network.
    addresses: tuple[str, ...]
    phase: str
    #: It was told to end and will not be back under this name's address.
    terminating: bool = False
    #: Container port names and numbers.
    ports: Mapping[str, int] = field(default_factory=dict)


def contacts_of(
    pods: Iterable[Pod], context: DiscoveryContext, portname: str, source: str
) -> list[Contact]:
    """The contacts among the pods, in order of address.

    Running ones only, as in the original. Whether a pod is *ready* is not asked: a node becomes
    ready by forming the cluster, which needs to be found first.
    """
    alive = (pod for pod in pods if pod.phase == "Running" and not pod.terminating)
    places = ((_address(pod, context.ip), _port(pod, context, portname)) for pod in alive)
    return sorted({Contact(host, port, source) for host, port in places if host and port})[:_MOST]


def selector_text(labels: Mapping[str, str]) -> str:
    """Labels as the API's ``labelSelector``."""
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))


def _address(pod: Pod, own: str) -> str:
    """Of the family that this node advertises, if the pod has both."""
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
    """Without a port name: this node's Raft port, since the pods of a service are alike.

    A port name picks the pods that declare it. Its number is where to ask, unless that is the HTTP
    port: the original's own example names ``http``, and there no probe is answered.
    """
    if not portname:
        return context.raft_port
    number = pod.ports.get(portname)
    return context.raft_port if number == context.http_port else number
