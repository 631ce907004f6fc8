"""The base classes a plugin derives from, with their calling rules.

One class per kind of plugin: :class:`Discovery`, :class:`Serializer`, :class:`Service`,
:class:`Transport`, :class:`Storage`. A plugin hands its class to braft through the hook of that
kind (``braft_core.plugin.specs``); braft chooses by the class's ``name`` and makes the instance.

Each method says which thread or task calls it and whether it may block. "The loop" is the asyncio
loop of the node, which runs in a thread of its own; what blocks there delays consensus.
"""

from braft_core.abc.discovery import Contact, Discovery, DiscoveryContext
from braft_core.abc.front_end import FrontEnd
from braft_core.abc.node import NodeAPI
from braft_core.abc.serializer import Serializer
from braft_core.abc.service import CommandContext, Service, SlicedCapture
from braft_core.abc.storage import (
    NO_SNAPSHOT,
    SnapshotName,
    SnapshotSink,
    SnapshotStore,
    Storage,
    StorageOptions,
    StoredState,
    WriteBatch,
    surplus,
)
from braft_core.abc.transport import (
    Identity,
    TLSFiles,
    Transport,
    TransportHandler,
    TransportOptions,
)
from braft_core.abc.transport_timing import TransportTiming
from braft_core.cluster_types import (
    Consistency,
    Leader,
    Member,
    Readiness,
    SnapshotBackup,
    SnapshotInfo,
    Suffrage,
)

__all__ = [
    "NO_SNAPSHOT",
    "CommandContext",
    "Consistency",
    "Contact",
    "Discovery",
    "DiscoveryContext",
    "FrontEnd",
    "Identity",
    "Leader",
    "Member",
    "NodeAPI",
    "Readiness",
    "Serializer",
    "Service",
    "SlicedCapture",
    "SnapshotBackup",
    "SnapshotInfo",
    "SnapshotName",
    "SnapshotSink",
    "SnapshotStore",
    "Storage",
    "StorageOptions",
    "StoredState",
    "Suffrage",
    "TLSFiles",
    "Transport",
    "TransportHandler",
    "TransportOptions",
    "TransportTiming",
    "WriteBatch",
    "surplus",
]
