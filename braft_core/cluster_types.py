"""What a node reports of its cluster: members, leader, readiness, snapshots."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

__all__ = [
    "Consistency",
    "Leader",
    "Member",
    "Readiness",
    "SnapshotBackup",
    "SnapshotInfo",
    "Suffrage",
]

#: How fresh a read must be, see :meth:`braft_core.Node.query`.
Consistency = Literal["linearizable", "lease", "stale"]
#: Whether a member votes. ``Staging``: it will, once it has caught up.
Suffrage = Literal["Voter", "Nonvoter", "Staging"]


class Leader(NamedTuple):
    """The leader that a node knows."""

    id: str
    address: str


class Readiness(NamedTuple):
    """Whether a node can serve requests now."""

    ready: bool
    #: Why it cannot; empty if it can.
    reason: str


@dataclass(frozen=True, slots=True)
class Member:
    """One server of the configuration."""

    id: str
    address: str
    suffrage: Suffrage
    #: Whether this node takes it for the leader.
    leader: bool


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """One snapshot of a node."""

    id: str
    #: Index and term of the last log entry that it covers.
    index: int
    term: int
    #: Bytes of its contents.
    size: int
    #: Server ids of its configuration.
    members: tuple[str, ...]


class SnapshotBackup(NamedTuple):
    """A snapshot, and the bytes of a file that ``braft snapshot restore`` takes."""

    info: SnapshotInfo
    cluster_name: str
    cluster_id: str
    #: Reads nothing before it is iterated, by any one thread.
    chunks: Iterator[bytes]
