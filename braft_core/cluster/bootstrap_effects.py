"""What the bootstrap machine asks its driver to do. Plain values, no behaviour.

Each effect is asked once; the driver reports the outcome by the machine's method named here, also
when it is a failure or a timeout, and the machine decides about another attempt.
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
    """Ask who answers there → ``probe_answered`` or ``probe_failed``."""

    contact: Contact


@dataclass(frozen=True, slots=True)
class StoreRecord:
    """Make the record durable, in the order asked → ``stored``; on failure ask again later."""

    record: BootstrapRecord


@dataclass(frozen=True, slots=True)
class SendProposal:
    """Send ``request`` to that node → ``proposal_answered`` or ``proposal_failed``.

    An empty configuration in the request asks the node to show what it accepted.
    """

    server_id: str
    address: str
    request: BootstrapProposal


@dataclass(frozen=True, slots=True)
class StartCluster:
    """Every member promised: start Raft from ``configuration`` → ``became_member``."""

    cluster_id: str
    configuration: Configuration


@dataclass(frozen=True, slots=True)
class SendJoinRequest:
    """Send a JoinRequest to that address → ``became_member`` or ``join_failed``."""

    address: str
    cluster_id: str


Effect = ListDiscovery | Probe | StoreRecord | SendProposal | StartCluster | SendJoinRequest
