"""I/O that the bootstrap rules request. Plain values, no behaviour.

Each effect is requested once. Its executor reports the outcome, also a failure or a timeout, by the
method of :class:`.bootstrap.Bootstrap` that is named here; the rules decide about a retry.
"""

from __future__ import annotations

from dataclasses import dataclass

from braft_core.abc import Contact
from braft_core.cluster.bootstrap_record import BootstrapRecord
from braft_core.peer import BootstrapProposal
from braft_core.raft.types import Configuration

__all__ = [
    "Effect",
    "ListDiscovery",
    "Probe",
    "SendJoinRequest",
    "SendProposal",
    "StartCluster",
    "StoreRecord",
]


@dataclass(frozen=True, slots=True)
class ListDiscovery:
    """List discovery → ``contacts_listed`` or ``listing_failed``."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Probe that contact → ``probe_answered`` or ``probe_failed``."""

    contact: Contact


@dataclass(frozen=True, slots=True)
class StoreRecord:
    """Make the record durable, in the requested order → ``stored`` or ``failed``."""

    record: BootstrapRecord


@dataclass(frozen=True, slots=True)
class SendProposal:
    """Send ``request`` to that node → ``proposal_answered``.

    An empty configuration in the request asks which proposal the node has accepted.
    """

    server_id: str
    address: str
    request: BootstrapProposal


@dataclass(frozen=True, slots=True)
class StartCluster:
    """Start Raft from ``configuration``, which every member accepted → ``became_member``."""

    cluster_id: str
    configuration: Configuration


@dataclass(frozen=True, slots=True)
class SendJoinRequest:
    """Send a JoinRequest to that address → ``became_member`` or ``join_failed``."""

    address: str
    cluster_id: str


Effect = ListDiscovery | Probe | StoreRecord | SendProposal | StartCluster | SendJoinRequest
